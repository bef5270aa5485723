"""The tables of the detection benchmark, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.detection.alarms import Stops, stops
from benchmarks.detection.false_alarms import false_alarms
from benchmarks.detection.observed import Observed, observe
from qcheck.baselines import Baseline, read_answers
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.views import VIEWS
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Suite

__all__ = ["false_alarm_table", "power_table"]

ALPHA, STREAMS, LIMIT = 0.01, 1000, 1500
FRACTIONS = (1.0, 0.1, 0.05, 0.01)
# By candidate, whose answers nobody recorded: the recorded variant that it is, on another engine.
FOUR_BITS = {"q4_k_m-torch": "q4_k_m", "q4_0-torch": "q4_0", "int4-bf16": "int4", "nf4-bf16": "nf4"}
SIX_BITS = {"q6_k-torch": "q6_k", "fp8-bf16": "fp8"}
EIGHT_BITS = {"q8_0-torch": "q8_0", "int8-bf16": "int8"}
OTHER = {"other-model": "other-model"}


@dataclass(frozen=True, slots=True)
class Row:
    """What is given, what deviates, whether it is recorded, and the medians and 90 % quantiles asked for."""

    given: str
    view: str
    deviation: str
    candidates: dict[str, str]
    recorded: bool
    asked: tuple[str, ...] = ()


ROWS = (
    Row("top 20, recorded", "full", "4-bit", FOUR_BITS, True, ("3 / 4", "20 / 50", "40 / 110", "300 / 700")),
    Row("top 20, recorded", "full", "fp8, Q6_K", SIX_BITS, True, ("4 / 7", "30 / 75", "65 / 160", "450 / 1000")),
    Row("top 20, recorded", "full", "8-bit", EIGHT_BITS, True, ("8 / 20",)),
    Row("top 20, not recorded", "full", "4-bit", FOUR_BITS, False, ("3 / 5", "30 / 75", "60 / 130", "350 / 800")),
    Row("top 20, not recorded", "full", "fp8, Q6_K", SIX_BITS, False, ("4 / 8", "45 / 110", "110 / 250")),
    Row("top 20, not recorded", "full", "other model", OTHER, False, ("3 / 4", "25 / 60", "50 / 110", "350 / 800")),
    Row("top 5, recorded", "top5", "4-bit", FOUR_BITS, True, ("4 / 8", "45 / 110", "90 / 200")),
    Row("top 5, recorded", "top5", "fp8, Q6_K", SIX_BITS, True),
    Row("top 20 on a grid of 1/16, recorded", "step16", "4-bit", FOUR_BITS, True),
    Row("top 20 on a grid of 1/16, recorded", "step16", "fp8, Q6_K", SIX_BITS, True),
    Row("top 20 on a grid of 1/8, recorded", "step8", "4-bit", FOUR_BITS, True),
    Row("top 20 on a grid of 1/8, recorded", "step8", "fp8, Q6_K", SIX_BITS, True),
    Row("top 5 on a grid of 1/8, recorded", "top5-step8", "4-bit", FOUR_BITS, True),
)


def power_table(baseline: Baseline, bank: Bank) -> str:
    """Requests until *deviates*: median and 90 % quantile, by what is given, what deviates, and how often."""
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    kinds = {name: d.kind for name, d in deployments_of(bank.model).items()}
    honest = [name for name, kind in kinds.items() if kind == "held-out"]
    answers = {name: bank.answers(name) for name in kinds if kinds[name] in ("held-out", "unrecorded")}
    for d in baseline.manifest.deployments:
        if d.role == "variant":
            answers[d.name] = dict(read_answers(baseline.folder, d.answers))
    envelope = freeze(baseline.table, ALPHA)
    lines = [
        "| given | deviation | streams | 100 % of requests | 10 % | 5 % | 1 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for view in VIEWS:
        rows = [row for row in ROWS if row.view == view.name]
        names = dict.fromkeys([*honest, *(c for row in rows for c in row.candidates)])
        seen = {name: answers[name] for name in names}
        observed = observe(baseline, baseline.table.noise_unit, bank.probes, seen, view)
        for row in rows:
            cells = [_cell(row, i, observed, envelope, honest) for i in range(len(FRACTIONS))]
            lines.append(f"| {row.given} | {row.deviation} | {STREAMS} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row, index: int, observed: Observed, envelope: Envelope, honest: Sequence[str]) -> str:
    """One fraction's median / 90 % quantile with the median's confidence interval, and what was asked for."""
    rng, found = np.random.default_rng(index), []
    for candidate, variant in row.candidates.items():
        known = [v for v in observed.variants if row.recorded or v != variant]
        share = STREAMS // len(row.candidates)
        found.append(stops(observed, envelope, honest, candidate, FRACTIONS[index], known, rng, share, LIMIT))
    pooled = Stops(np.concatenate([f.requests for f in found]), found[0].limit)
    low, high = pooled.interval(0.5)
    text = f"{_count(pooled.quantile(0.5))} / {_count(pooled.quantile(0.9))} [{_count(low)}, {_count(high)}]"
    return text + (f" (asked {row.asked[index]})" if index < len(row.asked) else "")


def _count(requests: int | None) -> str:
    return "–" if requests is None else str(requests)


def false_alarm_table(baseline: Baseline, suite: Suite) -> str:
    """Alarms of honest deployments that were left out of the envelope."""
    lines = ["| left out | mean size | alarms | of streams |", "|---|---|---|---|"]
    for f in false_alarms(baseline, suite, baseline.names(baseline.directed), ALPHA):
        lines.append(f"| {f.name} | {f.size:.2f} | {f.alarms} | {f.streams} |")
    return "\n".join(lines)
