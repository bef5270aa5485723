"""From recorded answers of honest deployments and variants to the table of tail counts.

Every honest deployment is scored against the *others*, as a provider would be; its scores are multiplied by the
noise factor, for kernels that nobody recorded. Thresholds are chosen on the selection fold, tail events counted on
the calibration fold, stratum by stratum, and the evaluation fold, on which providers are judged, is not looked at.
Where answers are graded the one event is a loss, and what the noise factor multiplies is its bound (`envelope`).

A deep calibration adds answers of the honest deployments to further prompts of the suite's strata, tens of thousands
of them: a bound on n answers is never below about 1/n. Directions need the variants' answers too and stay with the
suite's own folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.errors import BaselineError
from qcheck.evidence.answers import is_right, losses
from qcheck.evidence.observable import graded
from qcheck.evidence.scoring import EQUAL, align, score
from qcheck.jsonio import significant
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import LOSS, SIZE, CalibrationTable, TailCount, TailEvent

__all__ = ["NOISE_FACTOR", "Block", "calibrate"]

NOISE_FACTOR = 1.5
# Thresholds: a quantile that honest answers pass now and then, their largest score, and twice that.
QUANTILE, MULTIPLES = 0.985, (1.0, 2.0)
MIN_CLUSTERS = 100
# A direction needs two references when one honest deployment is left out, and is not looked at below a hundredth.
DIRECTION_REFERENCES, DIRECTION_FLOOR = 3, 0.01
KL = "kl"
LOST = 0.5  # a threshold between the two scores that an answer's loss can have

Answers = Mapping[int, Mapping[str, Answer]]  # by deployment index, by probe id
# By deployment name: a row per probe, columns loss, or size, a direction per variant, and kl.
Scores = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Block:
    """Further prompts, of clusters that stand nowhere else, and every honest deployment's answers to them."""

    probes: Sequence[Probe]
    answers: Answers


def calibrate(
    baseline: Baseline,
    suite: Suite,
    on_progress: Callable[[str], None] = lambda _: None,
    further: Iterable[Block] = (),
) -> CalibrationTable | None:
    """The table for a baseline whose calibration answers are at hand; None with fewer than two honest deployments.

    `further` blocks are taken one at a time, so that they need not all be in memory.

    Raises BaselineError where calibration answers are missing or too few, or a block's clusters are not new.
    """
    if len(baseline.references) < 2:
        return None
    answers = _calibration_answers(baseline)
    on_progress(f"scoring {len(answers)} deployments")
    scores = _scores_of(suite)(baseline, answers, suite.probes, baseline.variants)
    chosen, counted = _folds(suite, next(iter(scores.values())).index)
    honest = {n: NOISE_FACTOR * scores[n] for n in baseline.names(baseline.references)}
    variants = {n: scores[n] for n in baseline.names(baseline.variants)}
    directions = variants if len(honest) >= DIRECTION_REFERENCES else ()
    kinds = (LOSS,) if graded(suite) else (SIZE, *directions)
    events = [
        TailEvent(score=kind, threshold=threshold, counts=_counts(kind, threshold, counted, honest, variants))
        for kind in kinds
        for threshold in _thresholds(kind, [frame.loc[chosen, kind] for frame in honest.values()])
    ]
    for number, block in enumerate(_new(further, suite), 1):
        on_progress(f"counting block {number}: {len(block.probes)} further prompts")
        events = _deepened(events, baseline, suite, block)
    if graded(suite):
        return CalibrationTable(
            noise_factor=NOISE_FACTOR, noise_rms=None, envelope_kl=None, variant_kl={}, events=events
        )

    def mean_kl(frame: pd.DataFrame) -> float:
        return float(frame.loc[counted.index, KL].mean())

    return CalibrationTable(
        noise_factor=NOISE_FACTOR,
        noise_rms=significant(max(float(np.sqrt((f.loc[counted.index, SIZE] ** 2).mean())) for f in honest.values())),
        envelope_kl=significant(max(NOISE_FACTOR * mean_kl(frame) for frame in honest.values())),
        variant_kl={name: significant(mean_kl(frame)) for name, frame in variants.items()},
        events=events,
    )


def _new(further: Iterable[Block], suite: Suite) -> Iterator[Block]:
    """The blocks, each once its clusters are known to stand neither in the suite nor in an earlier one."""
    seen = {p.cluster for p in suite.probes}
    for number, block in enumerate(further, 1):
        clusters = {p.cluster for p in block.probes}
        if repeated := seen & clusters:
            raise BaselineError(
                f"block {number} of further prompts repeats {len(repeated)} clusters of the suite or an earlier block, "
                f"{min(repeated)} among them; a cluster counts once: leave those prompts out."
            )
        seen |= clusters
        yield block


def _folds(suite: Suite, answered: pd.Index[str]) -> tuple[pd.Index[str], pd.DataFrame]:
    """Of the answered probes those that thresholds are chosen on, and fold, stratum and cluster of the counted ones.

    Raises BaselineError where there are too few for a stratum that providers are asked in.
    """
    columns = ["fold", "stratum", "cluster"]
    probes = pd.DataFrame({p.id: (p.fold, p.stratum, p.cluster) for p in suite.probes}, columns).T.loc[answered]
    chosen, counted = probes.index[probes.fold == "selection"], probes[probes.fold == "calibration"]
    totals = counted.groupby("stratum").cluster.nunique()
    fewest, stratum = min((int(totals.get(s, 0)), s) for s in {p.stratum for p in suite.fold("evaluation")})
    if fewest < MIN_CLUSTERS:
        raise BaselineError(
            f"only {fewest} calibration clusters of the stratum {stratum} have answers from every deployment; at least "
            f"{MIN_CLUSTERS} are needed to bound anything: record the missing ones, or give the suite more."
        )
    if chosen.empty:
        raise BaselineError("no selection probe has answers from every deployment; record the missing ones.")
    return chosen, counted


def _calibration_answers(baseline: Baseline) -> Answers:
    answers = {}
    for index in (*baseline.references, *baseline.variants):
        kept = baseline.calibration_answers(index)
        if kept is None:
            name = baseline.manifest.deployments[index].name
            raise BaselineError(f"the calibration answers of {name} are not in {baseline.folder}; record it again.")
        answers[index] = kept
    return answers


def _thresholds(kind: str, honest: Sequence[pd.Series[float]]) -> list[float]:
    """Three rising thresholds from the honest deployments' scores of one kind on the selection fold; one for losses."""
    if kind == LOSS:
        return [LOST]
    usual = max(float(values.quantile(QUANTILE)) for values in honest)
    largest = max(float(values.max()) for values in honest)
    floor = EQUAL if kind == SIZE else DIRECTION_FLOOR
    return [significant(max(value, floor)) for value in (usual, *(m * largest for m in MULTIPLES))]


def _counts(
    kind: str, threshold: float, probes: pd.DataFrame, honest: Scores, variants: Scores
) -> dict[str, TailCount]:
    """The counts of `score > threshold` by stratum. A cluster shows it if any honest answer or all of a variant do."""
    over = pd.DataFrame({n: frame.loc[probes.index, kind] > threshold for n, frame in {**honest, **variants}.items()})
    counts = {}
    for stratum, rows in over.groupby(probes.stratum):
        grouped = rows.groupby(probes.cluster[rows.index])
        some, every = grouped[list(honest)].any(), grouped[list(variants)].all()
        counts[str(stratum)] = TailCount(
            clusters=len(some),
            honest={str(n): int(c) for n, c in some.sum().items()},
            honest_any=int(some.any(axis=1).sum()),
            variant_clusters=len(some),
            shown={str(n): int(c) for n, c in every.sum().items()},
        )
    return counts


def _deepened(events: list[TailEvent], baseline: Baseline, suite: Suite, block: Block) -> list[TailEvent]:
    """The events, those of size or loss with the block's honest answers counted too."""
    kind = LOSS if graded(suite) else SIZE
    scores = _scores_of(suite)(baseline, block.answers, block.probes, ())
    honest = {name: NOISE_FACTOR * frame for name, frame in scores.items()}
    probes = pd.DataFrame({p.id: (p.stratum, p.cluster) for p in block.probes}, ["stratum", "cluster"]).T
    answered = probes.loc[next(iter(honest.values())).index]

    def deepened(event: TailEvent) -> TailEvent:
        counts = dict(event.counts)
        for stratum, added in _counts(kind, event.threshold, answered, honest, {}).items():
            old = counts[stratum]
            counts[stratum] = old.model_copy(
                update={
                    "clusters": old.clusters + added.clusters,
                    "honest": {n: c + added.honest[n] for n, c in old.honest.items()},
                    "honest_any": old.honest_any + added.honest_any,
                }
            )
        return event.model_copy(update={"counts": counts})

    return [deepened(event) if event.score == kind else event for event in events]


def _scores_of(suite: Suite) -> Callable[[Baseline, Answers, Sequence[Probe], Sequence[int]], Scores]:
    """What scores each deployment against all the other honest ones, on the probes that all have answered."""
    return _loss_scores if graded(suite) else _logprob_scores


def _loss_scores(baseline: Baseline, answers: Answers, probes: Sequence[Probe], _: Sequence[int]) -> Scores:
    shared = [p for p in probes if all(p.id in kept for kept in answers.values())]
    ids = [p.id for p in shared]
    right = pd.DataFrame({i: [is_right(kept[p.id], p) for p in shared] for i, kept in answers.items()}, ids, dtype=bool)
    lost = losses(right, baseline.references).astype(float)
    names = baseline.names(list(answers))
    return {name: lost[[index]].set_axis([LOSS], axis=1) for index, name in zip(answers, names, strict=True)}


def _logprob_scores(baseline: Baseline, answers: Answers, probes: Sequence[Probe], variants: Sequence[int]) -> Scores:
    order = list(answers)
    rows: dict[int, dict[str, tuple[float, ...]]] = {index: {} for index in order}
    directions = [order.index(v) for v in variants]
    ids = [p.id for p in probes]
    for probe_id in ids:
        if any(probe_id not in kept for kept in answers.values()):
            continue
        reference = ProbeReference(tuple((kept[probe_id],) for kept in answers.values()))
        for index, kept in answers.items():
            others = [order.index(r) for r in baseline.references if r != index]
            if alignment := align(kept[probe_id], reference, others):
                s = score(alignment, others, directions)
                rows[index][probe_id] = (s.size, *s.directions, s.kl)
    shared = [i for i in ids if all(i in mine for mine in rows.values())]
    columns = [SIZE, *baseline.names(variants), KL]
    return {
        baseline.manifest.deployments[index].name: pd.DataFrame.from_dict(mine, "index", columns=columns).loc[shared]
        for index, mine in rows.items()
    }
