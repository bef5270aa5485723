"""What the detection benchmark measures: what a provider gives, what deviates, and how many of its requests."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

__all__ = ["FOUR_BITS", "FRACTIONS", "ON_GRIDS", "ROWS", "TOP_5", "TOP_20", "Row", "plainest"]

FRACTIONS = (1.0, 0.1, 0.05, 0.01)
# By candidate, whose answers nobody recorded: the recorded variant that it is, on another engine.
FOUR_BITS = {"q4_k_m-torch": "q4_k_m", "q4_0-torch": "q4_0", "int4-bf16": "int4", "nf4-bf16": "nf4"}
SIX_BITS = {"q6_k-torch": "q6_k", "fp8-bf16": "fp8"}
EIGHT_BITS = {"q8_0-torch": "q8_0", "int8-bf16": "int8"}
OTHER = {"other-model": "other-model"}
HIDDEN = {"hidden prompt": "honest"}  # the deployment that is asked behind one, which is no variant
# Formats that nothing was tuned on: they stand in no other row.
UNUSED = {name: name for name in ("q5_k_m", "q3_k_m", "q2_k", "pruned", "kv-q4_0")}
CACHE = {"kv-q8_0": "kv-q8_0"}
RECORDED = "top 20, recorded"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What is given, what deviates, whether it is recorded, and the medians and 90 % quantiles asked for."""

    given: str
    view: str
    deviation: str
    candidates: Mapping[str, str]
    recorded: bool
    asked: tuple[str, ...] = ()

    def of(self, answers: Container[str]) -> dict[str, str]:
        """The candidates that are there: not every lab model has another model of its family."""
        return {candidate: variant for candidate, variant in self.candidates.items() if candidate in answers}


TOP_20 = (
    Row(RECORDED, "full", "4-bit", FOUR_BITS, True, ("3 / 4", "20 / 50", "40 / 110", "300 / 700")),
    Row(RECORDED, "full", "fp8, Q6_K", SIX_BITS, True, ("4 / 7", "30 / 75", "65 / 160", "450 / 1000")),
    Row(RECORDED, "full", "8-bit", EIGHT_BITS, True, ("8 / 20",)),
    Row("top 20, not recorded", "full", "4-bit", FOUR_BITS, False, ("3 / 5", "30 / 75", "60 / 130", "350 / 800")),
    Row("top 20, not recorded", "full", "fp8, Q6_K", SIX_BITS, False, ("4 / 8", "45 / 110", "110 / 250")),
    Row("top 20, not recorded", "full", "other model", OTHER, False, ("3 / 4", "25 / 60", "50 / 110", "350 / 800")),
)
PROMPTED = replace(TOP_20[-1], deviation="hidden prompt", candidates=HIDDEN)
TOP_5 = (
    Row("top 5, recorded", "top5", "4-bit", FOUR_BITS, True, ("4 / 8", "45 / 110", "90 / 200")),
    Row("top 5, recorded", "top5", "fp8, Q6_K", SIX_BITS, True),
)


def _rounded(rows: Iterable[Row], view: str, step: str) -> Iterator[Row]:
    """The same rows where values are multiples of a step: the same figures are asked for."""
    for row in rows:
        given, comma, known = row.given.partition(", ")
        yield replace(row, given=f"{given} on a grid of {step}{comma}{known}", view=view)


ON_GRIDS = (
    *_rounded(TOP_20, "step16", "1/16"),
    *_rounded(TOP_20, "step8", "1/8"),
    *_rounded(TOP_5, "top5-step8", "1/8"),
)
ROWS = (  # of each deviation those first in which most is given
    *TOP_20,
    PROMPTED,
    *TOP_5,
    *ON_GRIDS,
    Row("top 20, not recorded", "full", "Q5_K_M, Q3_K_M, Q2_K, pruned, Q4_0 cache", UNUSED, False),
    Row("top 20, not recorded", "full", "Q8_0 cache", CACHE, False),
)


def plainest(answers: Container[str]) -> list[Row]:
    """Of each deviation that figures are asked for and there are answers of, the row in which most is given."""
    rows: dict[str, Row] = {}
    for row in ROWS:
        if row.asked and row.of(answers):
            rows.setdefault(row.deviation, row)
    return list(rows.values())
