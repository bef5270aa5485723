"""From recorded answers of honest deployments and variants to the table of tail counts.

Every honest deployment is scored against the *others*, as a provider would be; its scores are multiplied by the
noise factor, for kernels that nobody recorded. Thresholds are chosen on the selection fold, tail events counted on
the calibration fold, and the evaluation fold, on which providers are judged, is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from qcheck.baselines import SIZE, Answer, Baseline, CalibrationTable, ProbeReference, TailEvent
from qcheck.errors import BaselineError
from qcheck.evidence.scoring import EQUAL, align, score
from qcheck.jsonio import significant
from qcheck.suites import Suite

__all__ = ["NOISE_FACTOR", "calibrate"]

NOISE_FACTOR = 1.5
# Thresholds: a quantile that honest answers pass now and then, their largest score, and twice that.
QUANTILE, MULTIPLES = 0.985, (1.0, 2.0)
MIN_CLUSTERS = 100
# A direction needs two references when one honest deployment is left out, and is not looked at below a hundredth.
DIRECTION_REFERENCES, DIRECTION_FLOOR = 3, 0.01
KL = "kl"


def calibrate(
    baseline: Baseline, suite: Suite, on_progress: Callable[[str], None] = lambda _: None
) -> CalibrationTable | None:
    """The table for a baseline whose calibration answers are at hand; None with fewer than two honest deployments.

    Raises BaselineError where calibration answers are missing or too few.
    """
    if len(baseline.references) < 2:
        return None
    answers = {}
    for index in (*baseline.references, *baseline.variants):
        kept = baseline.calibration_answers(index)
        if kept is None:
            name = baseline.manifest.deployments[index].name
            raise BaselineError(f"the calibration answers of {name} are not in {baseline.folder}; record it again.")
        answers[index] = kept
    scores = {}
    for index in answers:
        on_progress(f"calibrating {baseline.manifest.deployments[index].name}")
        scores[index] = _scores(baseline, answers, index)
    shared = sorted(set.intersection(*(set(s.index) for s in scores.values())))
    fold = pd.Series({p.id: p.fold for p in suite.probes})[shared]
    cluster = pd.Series({p.id: p.cluster for p in suite.probes})[shared]
    chosen, counted = fold.index[fold == "selection"], fold.index[fold == "calibration"]
    clusters = cluster[counted]
    total = int(clusters.nunique())
    if total < MIN_CLUSTERS or chosen.empty:
        raise BaselineError(
            f"only {total} calibration clusters have answers from every deployment; at least {MIN_CLUSTERS} are "
            "needed to bound anything: record the missing ones."
        )
    names = {i: baseline.manifest.deployments[i].name for i in answers}
    widened = {names[r]: NOISE_FACTOR * scores[r] for r in baseline.references}
    variants = {names[v]: scores[v] for v in baseline.variants}

    def over(frame: pd.DataFrame, kind: str, threshold: float) -> pd.Series[bool]:
        above: pd.Series[bool] = frame.loc[counted, kind] > threshold
        return above

    events = []
    for kind in (SIZE, *(variants if len(widened) >= DIRECTION_REFERENCES else ())):
        usual = max(float(frame.loc[chosen, kind].quantile(QUANTILE)) for frame in widened.values())
        largest = max(float(frame.loc[chosen, kind].max()) for frame in widened.values())
        for value in (usual, *(m * largest for m in MULTIPLES)):
            threshold = significant(max(value, EQUAL if kind == SIZE else DIRECTION_FLOOR))
            honest = pd.DataFrame({name: over(frame, kind, threshold) for name, frame in widened.items()})
            by_cluster = honest.groupby(clusters).any()
            shown = pd.DataFrame({name: over(frame, kind, threshold) for name, frame in variants.items()})
            events.append(
                TailEvent(
                    score=kind,
                    threshold=threshold,
                    honest={str(name): int(n) for name, n in by_cluster.sum().items()},
                    honest_any=int(by_cluster.any(axis=1).sum()),
                    shown={str(name): int(n) for name, n in shown.groupby(clusters).all().sum().items()},
                )
            )
    noise = max(float(np.sqrt((frame.loc[counted, SIZE] ** 2).mean())) for frame in widened.values())
    envelope = max(NOISE_FACTOR * float(frame.loc[counted, KL].mean()) for frame in widened.values())
    return CalibrationTable(
        noise_factor=NOISE_FACTOR,
        clusters=total,
        noise_rms=significant(noise),
        envelope_kl=significant(envelope),
        variant_kl={name: significant(float(frame.loc[counted, KL].mean())) for name, frame in variants.items()},
        events=events,
    )


def _scores(baseline: Baseline, answers: Mapping[int, Mapping[str, Answer]], index: int) -> pd.DataFrame:
    """One deployment's scores against all the others: a row per probe, columns size, a direction per variant, kl."""
    order = list(answers)
    references: Sequence[int] = [order.index(r) for r in baseline.references if r != index]
    variants = [order.index(v) for v in baseline.variants]
    rows = {}
    for probe_id, answer in answers[index].items():
        if any(probe_id not in kept for kept in answers.values()):
            continue
        alignment = align(answer, ProbeReference(tuple((kept[probe_id],) for kept in answers.values())))
        if alignment is not None:
            s = score(alignment, references, variants)
            rows[probe_id] = (s.size, *s.directions, s.kl)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[SIZE, *baseline.names(baseline.variants), KL])
