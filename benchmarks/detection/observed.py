"""What the answers of lab deployments show beside a recorded baseline: scores by probe, made once and drawn from often.

Answers of deployments that the baseline does not know come from a bank (`qcheck.lab.bank`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.alignment import align, shifted
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.scoring import Yardstick, score_each
from qcheck.evidence.views import View, value_step
from qcheck.suites import Probe
from qcheck.tailcounts import DIRECTION, SIZE, STEADY, Score

__all__ = ["Observed", "observe"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Observed:
    """Scores in one view.

    strata: (probes,) names. variants: names of those that are looked for. The others by deployment: sizes and steady
    (probes,), the least that the values may have shown before they were rounded, directions (probes, values, variants)
    for each of the values that they may have been, and full (probes,), whether an answer shows as much as was recorded.
    One that does not is no evidence.
    """

    view: str
    strata: NDArray[np.str_]
    variants: tuple[str, ...]
    sizes: dict[str, Array]
    steady: dict[str, Array]
    directions: dict[str, Array]
    full: dict[str, NDArray[np.bool_]]

    def scores(self, deployment: str, known: Sequence[str]) -> dict[Score, Array]:
        """(probes,) of each score, as seen by somebody who has recorded the variants `known`."""
        columns = [self.variants.index(v) for v in known]
        direction = self.directions[deployment][..., columns].max(axis=-1, initial=-np.inf).min(axis=1)
        return {SIZE: self.sizes[deployment], STEADY: self.steady[deployment], DIRECTION: direction}

    def hits(self, deployment: str, envelope: Envelope, known: Sequence[str]) -> NDArray[np.bool_]:
        """(probes, events): which tail events its answers show."""
        scores, levels = self.scores(deployment, known), envelope.levels[self.view]
        over = np.stack([scores[level.score] > level.threshold for level in levels], axis=1)
        return over & self.full[deployment][:, None]

    def bounds(self, envelope: Envelope) -> Array:
        """(probes, events): their null bounds."""
        levels = envelope.levels[self.view]
        return np.array([[level.null_bounds[stratum] for level in levels] for stratum in self.strata])


def observe(
    baseline: Baseline,
    yardstick: Yardstick,
    probes: Sequence[Probe],
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    view: View,
) -> Observed:
    """The scores of deployments' first answers, as far as the baseline has recorded the probe, as
    `qcheck.evidence.logprobs` has them.

    answers: by deployment, by probe id, by repeat.
    """
    recorded = {p.id: reference for p in probes if (reference := baseline.probe(p.id))}
    strata = np.array([p.stratum for p in probes if p.id in recorded])
    values = 3 if view.step else 1
    nothing = (0.0, 0.0, np.full((values, len(baseline.directed)), -np.inf), False)
    sizes, steady, directions, full = {}, {}, {}, {}
    for name, kept in answers.items():
        rows = []
        for probe_id, reference in recorded.items():
            answer = view.of(kept[probe_id][0])
            alignment = align(answer, reference, baseline.references, view.tokens)
            if alignment is None:
                rows.append(nothing)
                continue
            half = value_step(answer.positions) / 2 if view.step else 0.0
            may_be = [shifted(alignment, nats) for nats in (0.0, half, -half)[:values]]
            beside, measure = [baseline.references] * values, yardstick.on_grid(view.step)
            found = score_each(may_be, beside, baseline.directed, measure, [1.0] * values)
            least = min(s.size for s in found), min(s.steady for s in found)
            rows.append((*least, np.stack([s.directions for s in found]), alignment.full))
        sizes[name], steady[name], directions[name], full[name] = map(np.array, zip(*rows, strict=True))
    return Observed(view.name, strata, baseline.names(baseline.directed), sizes, steady, directions, full)
