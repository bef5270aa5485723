"""What the plan promises beside what streams of real answers need: `python -m benchmarks plan_medians`.

Medians of requests until *deviates*, by the plan (`qcheck.jobs.estimate`, from calibration counts alone) and measured
on answers to the evaluation probes, which the plan has not seen: the recorded variants' own, and those of the same
weights on another engine, which nobody recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from benchmarks.detection import bank
from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import count
from benchmarks.detection.observed import Observed, observe
from qcheck.baselines import Baseline, load_baseline, read_answers
from qcheck.evidence.again import fewest
from qcheck.evidence.envelope import freeze
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.estimate import estimate
from qcheck.jobs.reference import Reference
from qcheck.lab.catalog import deployments_of
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.suites import Suite, load_suite, shipped_folder

__all__ = ["comparison", "planned", "report"]

MODEL, ALPHA, STREAMS, WITHIN = "lab-tiny", 0.01, 1000, 1.5
NOWHERE = Endpoint("provider", "nowhere", "http://127.0.0.1:9/v1", "m", None)

Medians = Mapping[tuple[str, float], int | None]  # by variant and share of the requests


def report() -> str:
    """The table for the shipped baseline."""
    suite = load_suite("logprobs")
    baseline = load_baseline(shipped_folder("baselines") / MODEL)
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    kinds = {name: d.kind for name, d in deployments_of(MODEL).items()}
    kept = bank(baseline, suite, suite.fold("evaluation"))
    answers = {name: kept.answers(name) for name, kind in kinds.items() if kind in ("held-out", "unrecorded")}
    for index in baseline.variants:
        entry = baseline.manifest.deployments[index]
        answers[entry.name] = dict(read_answers(baseline.folder, entry.answers))
    observed = observe(baseline, Yardstick.of(baseline), kept.probes, answers, VIEWS[0])
    honest = [name for name, kind in kinds.items() if kind == "held-out"]
    # Of one that nobody recorded: what it is on another engine, q4_k_m for q4_k_m-torch.
    twins = {name: name.rpartition("-")[0] for name, kind in kinds.items() if kind == "unrecorded"}
    return comparison(baseline, observed, planned(baseline, suite), honest, twins)


def planned(baseline: Baseline, suite: Suite) -> Medians:
    """The plan's medians for one provider that may be asked all probes."""
    model = get_model(baseline.manifest.model)
    settings = Settings(seed=0, alpha=ALPHA)
    manifest = make_manifest("plan", datetime.now(UTC), model, [NOWHERE], [(suite, Reference(baseline))], settings)
    return {(d.variant, d.fraction): d.median_requests for d in estimate(manifest, manifest.load_panels()).detectable}


def comparison(
    baseline: Baseline, observed: Observed, medians: Medians, honest: Sequence[str], twins: Mapping[str, str]
) -> str:
    """The table: a row per deployment, a column per share of its requests.

    honest: those that answer the other requests. twins: by deployment, the recorded variant that it is elsewhere.
    """
    assert baseline.table is not None
    envelope, known, limit = freeze(baseline.table, ALPHA), observed.variants, len(observed.strata)
    fractions = sorted({fraction for _, fraction in medians}, reverse=True)
    lines = [
        f"| answers of | recorded as | {' | '.join(f'{f:.0%} of requests' for f in fractions)} |",
        "|---|---|" + "---|" * len(fractions),
    ]
    own: list[bool] = []
    other: list[bool] = []
    for candidate, variant in {**{name: name for name in known}, **twins}.items():
        cells = []
        for index, fraction in enumerate(fractions):
            rng = np.random.default_rng(index)
            found = stops(observed, envelope, honest, candidate, fraction, known, rng, STREAMS, limit, again=fewest)
            plan, median, (low, high) = medians[variant, fraction], found.quantile(0.5), found.interval(0.5)
            text = f"{count(plan)} / {count(median)} [{count(low)}, {count(high)}]"
            if plan is not None and median is not None:
                good = 1 / WITHIN <= plan / median <= WITHIN
                (own if candidate == variant else other).append(good)
                text = text if good else f"**{text}**"
            elif plan is not median:
                text += f", {found.share:.0%} decided"
            cells.append(text)
        lines.append(f"| {candidate} | {variant} | {' | '.join(cells)} |")
    said = (
        f"Plan / measured median of {STREAMS} streams, its 95 % confidence interval in brackets; –: half of them are "
        f"undecided after all {limit} probes. Within a factor of {WITHIN}, where both are known: {sum(own)} of "
        f"{len(own)} for the deployments that were recorded, {sum(other)} of {len(other)} for the same weights on "
        "another engine (bold: not within it)."
    )
    return "\n".join([*lines, "", said])
