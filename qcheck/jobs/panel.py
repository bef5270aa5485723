"""One suite of a run with what its answers are compared with, and the order in which several of them are asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.observable import evidence_of
from qcheck.suites import Probe, Suite

__all__ = ["Group", "Panel", "sample"]

# How many requests a suite gets before it is the next one's turn, in multiples of those that a faithful provider is
# expected to need there: its stray tail events cost some more.
TURN = 2


@dataclass(frozen=True, slots=True)
class Panel:
    """A suite, the recorded reference of its probes, if there is one, and its envelope, if one is known.

    weight: of the suite's e-value in the average over those of the run. references, variants: the names of live
    deployments that score the texts of its answers, and of those among them that are looked for.
    """

    suite: Suite
    baseline: Baseline | None
    envelope: Envelope | None
    weight: float
    references: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()

    @property
    def scorers(self) -> tuple[str, ...]:
        """Who scores its texts."""
        return (*self.references, *self.variants)

    def requests_expected(self, tolerance: float) -> int | None:
        """How many requests a faithful provider needs for *consistent*; None where none do, or nobody knows."""
        if self.envelope is None or not evidence_of(self.suite).shows_agreement:
            return None
        return self.envelope.requests_expected(tolerance)


Group = tuple[Panel, Sequence[Probe]]  # probes that are asked in random order, of one panel


def sample(panels: Sequence[Panel], tolerance: float, seed: int) -> list[Group]:
    """The evaluation probes of one run, those of the first group to be asked first.

    The suite that shows a faithful provider to be consistent with the fewest requests comes first, as it finds most
    deviations with the fewest, too. But it may find none: a provider that withholds log-probabilities is met by the
    suites that come after. So each has a turn that should decide, and what is left over follows in the same order.
    """
    expected = [panel.requests_expected(tolerance) for panel in panels]
    first: list[Group] = []
    rest: list[Group] = []
    rng = random.Random(seed)  # noqa: S311  (a sample, no secret)
    for panel, requests in sorted(zip(panels, expected, strict=True), key=lambda pair: (pair[1] is None, pair[1] or 0)):
        left = TURN * requests if requests is not None and len(panels) > 1 else len(panel.suite.probes)
        for probes in _by_stratum(panel, seed):
            mixed = probes if left >= len(probes) else rng.sample(probes, len(probes))
            first.append((panel, mixed[:left]))
            rest.append((panel, mixed[left:]))
            left = max(0, left - len(probes))
    return [(panel, probes) for panel, probes in (*first, *rest) if probes]


def _by_stratum(panel: Panel, seed: int) -> list[tuple[Probe, ...]]:
    """The probes of one suite, those of the stratum first whose null bounds rest on most clusters.

    A request costs the same in every stratum, and proves more where honest answers have been counted more often.
    Without counts all are one group.
    """
    probes, baseline = panel.suite.draw("evaluation", seed), panel.baseline
    if baseline is None:
        return [probes]
    probes = tuple(p for p in probes if baseline.has(p.id))  # answers to others could be compared with nothing
    if baseline.table is None:
        return [probes]
    clusters = baseline.table.clusters
    strata = sorted({p.stratum for p in probes}, key=lambda s: (-clusters.get(s, 0), s))
    return [tuple(p for p in probes if p.stratum == s) for s in strata]
