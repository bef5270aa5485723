"""What an endpoint withholds, and what that costs: in requests until a deviation shows, as a plan estimates them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qcheck.evidence.observable import evidence_of
from qcheck.evidence.views import VIEWS, view_beyond
from qcheck.jobs.known import KnownOffer
from qcheck.jobs.panel import Panel, sample
from qcheck.jobs.reach import Reach, simulated
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import Endpoint
from qcheck.tailcounts import FULL
from qcheck.verdict import Rules, percent

__all__ = ["withheld"]

LOGPROBS = "logprobs"
TAIL_UNKNOWN = (
    "nobody knows whether it cuts the tail of what it draws from, or penalises words: so likely words alone, and none "
    "that was said before, are told apart, which costs most of what texts show; where it does neither, `plain_samples` "
    "in qcheck.toml says so"
)


def withheld(
    endpoint: Endpoint,
    offer: KnownOffer | None,
    judged_by: Sequence[Panel],
    full: Panel | None,
    rules: Rules,
    seed: int,
) -> tuple[str, ...]:
    """What `endpoint` does not give of log-probabilities, or say of its samples, each with its cost, in words.

    judged_by: its suites. full: the suite of log-probabilities with its reference, None where there is none.
    """
    return tuple(_withheld(endpoint, offer, judged_by, _Costs(full, rules, seed)))


def _withheld(endpoint: Endpoint, offer: KnownOffer | None, judged_by: Sequence[Panel], costs: _Costs) -> Iterator[str]:
    if why := lost_observables(endpoint).get(LOGPROBS):
        others = [panel for panel in judged_by if evidence_of(panel.suite).name != LOGPROBS]
        yield f"no log-probabilities are compared ({why}){costs.of_all(others)}"
    elif offer and offer.listed:
        yield from costs.of_some(offer.listed, offer.lattice)
    if endpoint.dialect.plain_samples is None and any(panel.suite.scored for panel in judged_by):
        yield TAIL_UNKNOWN


class _Costs:
    """How soon a share of the resolution, the tolerance, would show: in full answers, and in what there is of them."""

    def __init__(self, full: Panel | None, rules: Rules, seed: int) -> None:
        self._full, self._rules, self._seed = full, rules, seed
        rests = simulated(full) if full else None
        self._variant = rests[1].resolution if rests else None
        self._unit = (rests[0].noise_unit if rests else None) or 0.0

    def of_all(self, others: Sequence[Panel]) -> str:
        """What it costs that none are given, where a provider is judged by `others` instead."""
        if self._full is None or self._variant is None:
            return "; what that costs is not known: no baseline of them tells"
        words = f": with them {self._share(self._variant)} would show after {self._soon(self._full, self._variant)}"
        return words + "".join(map(self._of_other, others)) if others else f"{words}, now not at all"

    def _of_other(self, panel: Panel) -> str:
        """How soon the same would show in the answers to another suite, or its own resolution where that is unknown."""
        name, rests = evidence_of(panel.suite).name.replace("_", " "), simulated(panel)
        if rests is None:
            return f", in its {name} nobody knows when"
        variant = self._variant if self._variant in rests[0].variants else rests[1].resolution
        if variant is None:
            return f", in its {name} not at all"
        what = "" if variant == self._variant else f" {self._share(variant)}"
        return f", in its {name}{what} after {self._soon(panel, variant)}"

    def of_some(self, listed: int, step: float) -> Iterator[str]:
        """What it costs that so many tokens are listed, on a grid of `step` nats; nothing where no more is compared."""
        if self._full is None or self._variant is None:
            return
        wanted = self._full.suite.manifest.top_logprobs
        view = view_beyond(VIEWS[0], listed if listed < wanted else None, step, self._unit)
        if view is VIEWS[0]:
            return
        lists = f"{listed} tokens are listed at a position instead of {wanted}" if listed < wanted else ""
        grid = f"log-probabilities lie on a grid of {step:g} nats" if step and (view is None or view.step) else ""
        shown = f"after {self._soon(self._full, self._variant, view.name)}" if view else "not at all"
        what = ", and ".join(filter(None, (lists, grid)))
        whole = self._soon(self._full, self._variant)
        yield f"{what}: with all of them {self._share(self._variant)} would show after {whole}, as it is {shown}"

    def _share(self, variant: str) -> str:
        return f"a {percent(self._rules.tolerance)} share of {variant}"

    def _soon(self, panel: Panel, variant: str, view: str = FULL) -> str:
        tolerance = self._rules.tolerance
        asked = [(p, probe) for p, probes in sample([panel], tolerance, self._seed) for probe in probes]
        median = Reach(asked, self._rules.log_threshold, view).median_requests(variant, tolerance)
        return f"more than the suite's {len(asked)} requests" if median is None else f"about {median} requests"
