"""How often an honest deployment that the reference does not know is accused, looked at after every request.

Each honest deployment in turn is taken out of the baseline; the envelope is made of the others alone, and the one left
out is the provider. Streams come in blocks; in each the clusters are dealt anew to those that thresholds are chosen on
and those that events are counted on. What is resampled from stream to stream is the order of the probes, so that the
streams of one deployment ask the same thousand answers again and again: their alarms are those of one evaluation fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.detection.alarms import stops
from benchmarks.detection.observed import observe
from qcheck.baselines import Baseline, read_answers
from qcheck.evidence.calibration import tail_events
from qcheck.evidence.envelope import freeze
from qcheck.evidence.leave_one_out import NOISE_FACTOR, LeaveOneOut, Scores, noise_unit
from qcheck.evidence.views import VIEWS
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import DIRECTION, SIZE, CalibrationTable

__all__ = ["LeftOut", "false_alarms"]

BLOCKS, STREAMS, REQUESTS = 10, 200, 1000
SELECTION_SHARE = 0.23  # as in the shipped suite


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A deployment left out: alarms among streams, and its mean size beside the others, in units of the noise."""

    name: str
    alarms: int
    streams: int
    size: float


def false_alarms(baseline: Baseline, suite: Suite, variants: Sequence[str], alpha: float) -> Iterator[LeftOut]:
    """Every honest deployment left out in turn, asked in streams of its recorded evaluation answers.

    The baseline's calibration answers must be at hand. variants: those whose directions are looked for.
    """
    names = [d.name for d in baseline.manifest.deployments]
    calibration = {name: baseline.calibration_answers(i) or {} for i, name in enumerate(names)}
    honest = baseline.names(baseline.references)
    for name in honest:
        others = _without(baseline, name, variants)
        answers = {i: calibration[d.name] for i, d in enumerate(others.manifest.deployments)}
        probes = [p for p in suite.probes if all(p.id in kept for kept in answers.values())]
        unit = noise_unit(others, answers, [p.id for p in probes if p.fold == "selection"])
        leave_one_out = LeaveOneOut(others, suite, unit)
        scores = leave_one_out(answers, probes, others.variants, VIEWS[0], others.references)
        recorded = read_answers(baseline.folder, baseline.manifest.deployments[names.index(name)].answers)
        observed = observe(others, unit, suite.fold("evaluation"), {name: recorded}, VIEWS[0])
        rng, alarms = np.random.default_rng(names.index(name)), 0
        for _ in range(BLOCKS):
            envelope = freeze(_redrawn(leave_one_out, probes, scores, rng), alpha)
            found = stops(observed, envelope, [name], name, 0.0, variants, rng, STREAMS, REQUESTS)
            alarms += int((found.requests <= found.limit).sum())
        yield LeftOut(name, alarms, BLOCKS * STREAMS, float(observed.sizes[name].mean()))


def _without(baseline: Baseline, name: str, variants: Sequence[str]) -> Baseline:
    """The baseline without a deployment, and with some of the variants only."""
    kept = [
        d for d in baseline.manifest.deployments if d.name != name and (d.role == "reference" or d.name in variants)
    ]
    manifest = baseline.manifest.model_copy(update={"deployments": kept})
    return Baseline(baseline.name, baseline.folder, manifest, baseline.hash, None)


def _redrawn(
    leave_one_out: LeaveOneOut, probes: Sequence[Probe], scores: Scores, rng: np.random.Generator
) -> CalibrationTable:
    """The table where other clusters are for choosing thresholds and for counting."""
    rows = pd.DataFrame({p.id: (p.stratum, p.cluster) for p in probes}, ["stratum", "cluster"]).T
    chosen = pd.Series(False, rows.index)
    for _, stratum in rows.groupby("stratum"):
        clusters = rng.permutation(stratum.cluster.unique())
        chosen |= rows.cluster.isin(clusters[: round(SELECTION_SHARE * len(clusters))])
    names = leave_one_out.baseline.names(leave_one_out.baseline.variants)
    # What variants show themselves matters for *consistent* alone.
    unseen = dict.fromkeys(names, pd.DataFrame(0.0, rows.index, [SIZE, DIRECTION]))
    events = tail_events(leave_one_out, VIEWS[0], {**scores, **unseen}, rows.index[chosen], rows[~chosen])
    return CalibrationTable(
        noise_factor=NOISE_FACTOR,
        noise_unit=leave_one_out.unit,
        noise_rms=0.0,
        envelope_kl=0.0,
        variant_kl=dict.fromkeys(names, 0.0),
        events=events,
    )
