"""Which probes a run asks, and which of them first."""

from __future__ import annotations

from qcheck.baselines import Baseline
from qcheck.suites import Probe, Suite

__all__ = ["sample"]


def sample(suite: Suite, baseline: Baseline | None, seed: int) -> list[tuple[Probe, ...]]:
    """The evaluation probes of one run, stratum by stratum: those first whose null bounds rest on most clusters.

    A request costs the same in every stratum, and proves more where honest answers have been counted more often.
    Without counts all are one group.
    """
    probes = suite.draw("evaluation", seed)
    if baseline is None or baseline.table is None:
        return [probes]
    clusters = baseline.table.clusters
    strata = sorted({p.stratum for p in probes}, key=lambda s: (-clusters.get(s, 0), s))
    return [tuple(p for p in probes if p.stratum == s) for s in strata]
