"""The order in which requests are sent: seeded, random over probes, interleaved over providers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PlanItem", "make_plan"]


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One request to come. `seq` counts from 0 within its provider; `repeat` counts askings of the same probe."""

    provider: str
    seq: int
    probe_id: str
    repeat: int = 0


def make_plan(
    providers: Sequence[str], groups: Sequence[Sequence[str]], seed: int, repeats: int = 1
) -> tuple[PlanItem, ...]:
    """All requests of a run, in order. groups: the probes' ids, those of the first group asked first.

    Every provider gets the probes of a group in the same random order, so that any two can be compared on what both
    have answered; within a round the providers' order is random, so that none is always asked first.
    """
    rng = np.random.default_rng(seed)
    order = [
        (probe, repeat)
        for repeat in range(repeats)
        for group in groups
        for probe in rng.permutation(np.asarray(group, dtype=object))
    ]
    return tuple(
        PlanItem(providers[i], seq, str(probe), repeat)
        for seq, (probe, repeat) in enumerate(order)
        for i in rng.permutation(len(providers))
    )
