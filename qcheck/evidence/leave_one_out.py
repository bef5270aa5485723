"""Scores of recorded deployments, each beside the *other* honest ones, as a provider would be scored.

Scores of honest deployments are multiplied by the noise factor, for kernels that nobody recorded; but for losses, which
are 0 or 1: what it multiplies there is their bound (`envelope`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.errors import BaselineError
from qcheck.evidence.alignment import align
from qcheck.evidence.answers import is_right, losses
from qcheck.evidence.greedy import flip_scores
from qcheck.evidence.observable import graded
from qcheck.evidence.scoring import EQUAL, NOISE_FACTOR, Yardstick, most_of, score_each
from qcheck.evidence.views import VIEWS, View
from qcheck.jsonio import significant
from qcheck.stats.deviation import pair_sums, root_mean, spread
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import DIRECTION, FLIP, LOSS, SIZE, STEADY, Score

__all__ = ["DISTANCE", "KL", "Answers", "LeaveOneOut", "Scores", "usual_noise", "yardstick_of"]

NEAR = 5.0  # noise units: variants that usually deviate by more move every probe, and tell nothing of a single one
DISTANCE, KL = "distance", "kl"
COLUMNS = [SIZE, STEADY, DIRECTION, DISTANCE, KL]

Answers = Mapping[int, Mapping[str, Answer]]  # by deployment index, by probe id
Scores = Mapping[str, pd.DataFrame]  # by deployment name: a row per probe, a column per score, and distance and KL


def yardstick_of(
    baseline: Baseline, suite: Suite, answers: Answers, probe_ids: Sequence[str], variants: Sequence[int]
) -> Yardstick:
    """What deviations are measured by, from what everybody answered to some probes; jumps are those of `variants`.

    Raises BaselineError where there are no log-probabilities.
    """
    unit = usual_noise(baseline, answers, probe_ids)
    if unit is None:
        raise BaselineError("no selection probe has log-probabilities from every deployment; record them again.")
    usual = _usual_deviations(baseline, answers, probe_ids, variants, unit)
    return Yardstick(unit, usual, most_of(suite.manifest.max_tokens))


def usual_noise(baseline: Baseline, answers: Answers, probe_ids: Iterable[str]) -> float | None:
    """The usual noise of a probe in nats: the median over probes of the largest deviation between two references.

    None where no probe has log-probabilities from all of them.
    """
    kept = [answers[r] for r in baseline.references]
    everyone = range(len(kept))
    alignments = []
    for probe_id in probe_ids:
        reference = ProbeReference(tuple((mine[probe_id],) for mine in kept))
        alignments.append(align(kept[0][probe_id], reference, everyone))
    noises = [spread(a.recorded, a.recorded_floor) for a in alignments if a]
    return significant(max(float(np.median(noises)), EQUAL)) if noises else None


def _usual_deviations(
    baseline: Baseline, answers: Answers, probe_ids: Iterable[str], variants: Sequence[int], unit: float
) -> dict[int, float]:
    """By which each of the variants that stay near the envelope usually deviates, nats: the median over the probes.

    It is measured from the reference that is farthest, at the path of the first one. unit: of the noise, nats.
    """
    indices = (*baseline.references, *variants)
    rows, r = range(len(indices)), len(baseline.references)
    found = []
    for probe_id in probe_ids:
        recorded = ProbeReference(tuple((answers[i][probe_id],) for i in indices))
        if a := align(answers[indices[0]][probe_id], recorded, rows[:r]):
            sums = pair_sums(a.recorded, a.recorded_floor, a.positions)
            apart = root_mean(*(s.sum(axis=-1) for s in sums))
            found.append(apart[:r, r:].max(axis=0))
    medians = np.median(found, axis=0) if found else np.full(len(variants), np.inf)
    return {v: significant(max(float(m), EQUAL)) for v, m in zip(variants, medians, strict=True) if m <= NEAR * unit}


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Scores each deployment against all the other honest ones, the honest ones' scores with the noise factor.

    yardstick: None where texts are compared. Where a variant has not answered, its jumps are not known, and honest
    scores come out larger, to the safe side.
    """

    baseline: Baseline
    suite: Suite
    yardstick: Yardstick | None

    @property
    def watched(self) -> Score:
        """The score whose events show whatever deviates."""
        if self.yardstick is not None:
            return SIZE
        return LOSS if graded(self.suite) else FLIP

    @property
    def views(self) -> tuple[View, ...]:
        """The views that answers are scored in, the fullest first."""
        return VIEWS[:1] if self.yardstick is None else VIEWS

    def __call__(
        self,
        answers: Answers,
        probes: Sequence[Probe],
        variants: Sequence[int],
        view: View,
        whose: Container[int] | None = None,
    ) -> Scores:
        """Scores on probes that all in `answers` have answered.

        variants: indices of the recorded deviations whose directions are looked for. whose: indices of the deployments
        that are scored where log-probabilities are; all unless given.
        """
        if self.yardstick is not None:
            return self._log_probabilities(answers, probes, variants, view, self.yardstick, whose)
        return self._losses(answers, probes) if graded(self.suite) else self._flips(answers, probes)

    def _losses(self, answers: Answers, probes: Sequence[Probe]) -> Scores:
        ids = [p.id for p in probes]
        rows = {i: [is_right(kept[p.id], p) for p in probes] for i, kept in answers.items()}
        lost = losses(pd.DataFrame(rows, ids, dtype=bool), self.baseline.references).astype(float)
        names = self.baseline.names(list(answers))
        return {name: lost[[index]].set_axis([LOSS], axis=1) for index, name in zip(answers, names, strict=True)}

    def _flips(self, answers: Answers, probes: Sequence[Probe]) -> Scores:
        scores = flip_scores(self.baseline, answers, probes)
        honest = set(self.baseline.names(self.baseline.references))
        return {name: (NOISE_FACTOR if name in honest else 1.0) * frame for name, frame in scores.items()}

    def _log_probabilities(
        self,
        answers: Answers,
        probes: Sequence[Probe],
        variants: Sequence[int],
        view: View,
        yardstick: Yardstick,
        whose: Container[int] | None,
    ) -> Scores:
        order, references = list(answers), self.baseline.references
        everyone = [order.index(r) for r in references]
        directions = [order.index(v) for v in variants]
        usual = {order.index(v): nats for v, nats in yardstick.usual.items() if v in answers}
        yardstick = replace(yardstick.on_grid(view.step), usual=usual)
        rows: dict[int, list[tuple[float, ...]]] = {i: [] for i in order if whose is None or i in whose}
        for probe in probes:
            reference = ProbeReference(tuple((kept[probe.id],) for kept in answers.values()))
            seen = {i: align(view.of(answers[i][probe.id]), reference, everyone, view.tokens) for i in rows}
            aligned = {i: a for i, a in seen.items() if a}
            others = [[r for r in everyone if order[r] != i] for i in aligned]
            factors = [NOISE_FACTOR if i in references else 1.0 for i in aligned]
            scores = score_each(list(aligned.values()), others, directions, yardstick, factors)
            found = {i: (*s.named.values(), s.distance, s.kl) for i, s in zip(aligned, scores, strict=True)}
            for index, mine in rows.items():
                mine.append(found.get(index, (0.0,) * len(COLUMNS)))  # nothing listed: no deviation is seen
        ids, names = [p.id for p in probes], self.baseline.names(list(rows))
        return {name: pd.DataFrame(mine, ids, COLUMNS) for name, mine in zip(names, rows.values(), strict=True)}
