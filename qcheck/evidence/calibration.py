"""From recorded answers of honest deployments and variants to the table of tail counts.

Every honest deployment is scored against the *others*, as a provider would be; its scores are multiplied by the
noise factor, for kernels that nobody recorded. Thresholds are chosen on the selection fold, tail events counted on
the calibration fold, and the evaluation fold, on which providers are judged, is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from qcheck.baselines import SIZE, Answer, Baseline, CalibrationTable, ProbeReference, TailEvent
from qcheck.errors import BaselineError
from qcheck.evidence.scoring import align, score
from qcheck.jsonio import significant
from qcheck.suites import Suite

__all__ = ["NOISE_FACTOR", "calibrate"]

NOISE_FACTOR = 1.5
# Thresholds: a quantile that honest answers pass now and then, their largest score, and twice that.
QUANTILE, MULTIPLES = 0.985, (1.0, 2.0)
MIN_CLUSTERS = 100

# Scores of one deployment: probe id -> (size, *directions, kl).
Table = dict[str, np.ndarray]


def calibrate(
    baseline: Baseline, suite: Suite, on_progress: Callable[[str], None] = lambda _: None
) -> CalibrationTable | None:
    """The table for a baseline whose calibration answers are at hand; None with fewer than two honest deployments.

    Raises BaselineError where calibration answers are missing or too few.
    """
    references, variants = baseline.references, baseline.variants
    if len(references) < 2:
        return None
    answers = {}
    for index in (*references, *variants):
        kept = baseline.calibration_answers(index)
        if kept is None:
            name = baseline.manifest.deployments[index].name
            raise BaselineError(f"the calibration answers of {name} are not in {baseline.folder}; record it again.")
        answers[index] = kept
    scores = {}
    for index in (*references, *variants):
        on_progress(f"calibrating {baseline.manifest.deployments[index].name}")
        scores[index] = _scores(answers, index, [r for r in references if r != index], variants)
    clusters = {p.id: p.cluster for p in suite.fold("calibration")}
    complete = set.intersection(*(set(t) for t in scores.values()))
    counted = sorted(complete & clusters.keys())
    chosen = sorted(complete & {p.id for p in suite.fold("selection")})
    total = len({clusters[p] for p in counted})
    if total < MIN_CLUSTERS or not chosen:
        raise BaselineError(
            f"only {total} calibration clusters have answers from every deployment; at least {MIN_CLUSTERS} are "
            "needed to bound anything: record the missing ones."
        )

    def column(index: int, probes: Sequence[str], at: int, factor: float) -> np.ndarray:
        return factor * np.array([scores[index][p][at] for p in probes])

    def count(index: int, at: int, threshold: float, factor: float) -> int:
        over = column(index, counted, at, factor) > threshold
        return len({clusters[p] for p, hit in zip(counted, over, strict=True) if hit})

    names = dict(zip((*references, *variants), baseline.names((*references, *variants)), strict=True))
    events = []
    for at, kind in enumerate((SIZE, *(names[v] for v in variants))):
        worst = [column(r, chosen, at, NOISE_FACTOR) for r in references]
        top = max(float(w.max()) for w in worst)
        for threshold in (max(float(np.quantile(w, QUANTILE)) for w in worst), *(m * top for m in MULTIPLES)):
            level = significant(max(threshold, 1e-6))
            events.append(
                TailEvent(
                    score=kind,
                    threshold=level,
                    honest={names[r]: count(r, at, level, NOISE_FACTOR) for r in references},
                    shown={names[v]: count(v, at, level, 1.0) for v in variants},
                )
            )
    noise = max(float(np.sqrt((column(r, counted, 0, NOISE_FACTOR) ** 2).mean())) for r in references)
    envelope = max(float(column(r, counted, -1, NOISE_FACTOR**2).mean()) for r in references)
    return CalibrationTable(
        noise_factor=NOISE_FACTOR,
        clusters=total,
        noise_rms=significant(noise),
        envelope_kl=significant(envelope),
        variant_kl={names[v]: significant(float(column(v, counted, -1, 1.0).mean())) for v in variants},
        events=events,
    )


def _scores(
    answers: Mapping[int, Mapping[str, Answer]], index: int, references: Sequence[int], variants: Sequence[int]
) -> Table:
    order = sorted(answers)
    table: Table = {}
    for probe_id, answer in answers[index].items():
        if any(probe_id not in answers[i] for i in order):
            continue
        recorded = ProbeReference(tuple((answers[i][probe_id],) for i in order))
        alignment = align(answer, recorded)
        if alignment is None:
            continue
        s = score(alignment, [order.index(r) for r in references], [order.index(v) for v in variants])
        table[probe_id] = np.array([s.size, *s.directions, s.kl])
    return table
