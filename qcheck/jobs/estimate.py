"""What a run will cost and what it could detect, before the first request."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from qcheck.baselines import Baseline
from qcheck.errors import ConfigurationError
from qcheck.evidence.again import fewest
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.margin import MARGIN_SHARE
from qcheck.evidence.observable import evidence_of
from qcheck.jobs.discover import Discovery
from qcheck.jobs.inquiry import LONG
from qcheck.jobs.manifest import ProviderEntry, RunManifest
from qcheck.jobs.panel import Panel, sample
from qcheck.jobs.reach import Reach
from qcheck.jobs.seen import PROMPT
from qcheck.records import size_bytes
from qcheck.stats.counted import HITS
from qcheck.stats.power import could_reject
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import FLIP, FULL, LOSS, SIZE, CalibrationTable, Score
from qcheck.verdict import MIN_DEVIATING, UNPINNED

__all__ = ["DISCOVERY", "Detectable", "Estimate", "ProviderEstimate", "estimate"]

FRACTIONS = (1.0, 0.1, 0.05, 0.01)
BYTES_PER_TOKEN = 3.5  # of natural prompts, where no baseline says how many tokens they have
TEMPLATE_TOKENS = 10
# How a deviation that nobody recorded is seen, by the score that shows whatever deviates.
SEEN_BY: Mapping[Score, str] = {SIZE: "their size and steadiness", FLIP: "other texts", LOSS: "wrong answers"}
PROMPT_TOKENS = round(TEMPLATE_TOKENS + len(PROMPT) / BYTES_PER_TOKEN)
DISCOVERY = "discovery"
SECONDS_PER_REQUEST = 1.5  # a hosted endpoint's usual time for a few tokens; for the estimate of minutes only


@dataclass(frozen=True, slots=True)
class ProviderEstimate:
    """One provider's share of one suite, or of what is asked to find out what it offers (`DISCOVERY`).

    lost: what of the suite's observables it cannot show, and why. requests_expected: what a faithful provider that
    gives all that is observed is asked until it is *consistent*; None if unknown. Tokens and dollars are for
    `requests_max`, the most that may be sent: an estimate, which retries are not part of, nor what is asked again of
    who is suspected at the plan's end. unpinned: whether it sends requests on to upstreams that it chooses. role:
    "provider", "reference" or "variant".
    """

    name: str
    role: str
    suite: str
    requests_max: int
    requests_expected: int | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    minutes: float
    lost: Mapping[str, str] = field(default_factory=dict)
    unpinned: bool = False


@dataclass(frozen=True, slots=True)
class Detectable:
    """Estimated median number of requests to `deviates`; None where the requests allowed would not do.

    suites: those that are asked, in words.
    """

    variant: str
    fraction: float
    median_requests: int | None
    suites: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan in numbers. `detectability` says in words how far they reach.

    requests_max: the most for all together. unjudged: who is asked no suite, and why. found: whose offer is known from
    which day. thinking: how a thinking model is kept from it. withheld: what is known not to be given, and what that
    costs.
    """

    providers: tuple[ProviderEstimate, ...]
    requests_max: int
    observables: tuple[str, ...]
    could_reject: bool
    detectable: tuple[Detectable, ...]
    detectability: str
    unjudged: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, str] = field(default_factory=dict)
    thinking: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def estimate(
    manifest: RunManifest,
    panels: Sequence[Panel],
    discovery: Mapping[str, Discovery] = MappingProxyType({}),
    *,
    detectability: bool = True,
) -> Estimate:
    """The plan of a run; sends nothing. `detectability` is simulated, which takes seconds.

    discovery: what it takes to find out what each provider offers, by name. Raises ConfigurationError where that takes
    more requests to somebody who is to score texts than are allowed, so that no text could be scored.
    """
    unasked = {entry.name: why for entry in manifest.planned if (why := manifest.unasked(entry))}
    taking_part = [entry for entry in manifest.planned if entry.name not in unasked]
    orders = {
        suites: [(p, probe) for p, probes in sample(chosen, manifest.tolerance, manifest.seed) for probe in probes]
        for suites in dict.fromkeys(map(manifest.suites_of, taking_part))
        if (chosen := [panel for panel in panels if panel.suite.name in suites])
    }
    shares, total, texts = list[ProviderEstimate](), 0, list[Sequence[tuple[Panel, Probe]]]()
    for entry in manifest.planned:
        before, limit = discovery.get(entry.name, Discovery(0, 0, 0.0)), manifest.most_requests(entry)
        left = None if limit is None else max(0, limit - before.fewest)
        asked = orders.get(manifest.suites_of(entry), [])[:left]
        mine = list(_finding_out(entry, before, limit, manifest))
        if entry in taking_part:
            mine += _shares(entry, panels, asked, manifest)
            texts.append(asked)
        most = sum(share.requests_max for share in mine)
        total += most if limit is None else min(limit, most)
        shares += mine
    for entry in manifest.scorers:
        before, limit = discovery.get(entry.name, Discovery(0, 0, 0.0)), manifest.most_requests(entry)
        if taking_part and limit is not None and limit < before.fewest:
            raise ConfigurationError(
                f"--max-requests {limit} is too few to find out whether {entry.name} can score texts, which takes "
                f"{before.fewest} requests to it: allow {before.fewest} or more."
            )
        mine = list(_finding_out(entry, before, limit, manifest))
        scored = [text for asked in texts for text in asked[:limit]]  # for each provider as many as are allowed
        mine += [_scoring(entry, panel, scored, manifest) for panel in panels if scored]
        total += sum(share.requests_max for share in mine)
        shares += mine
    used = [panel for panel in panels if any(panel.suite.name in suites for suites in orders)]
    plan = Estimate(
        providers=tuple(shares),
        requests_max=total,
        observables=tuple(dict.fromkeys(o for panel in used for o in panel.suite.manifest.observes)),
        could_reject=True,
        detectable=(),
        detectability=f"nothing: {UNPINNED}",
        unjudged={name: why for name, why in unasked.items() if name in manifest.names},
        found={e.name: e.offer.day for e in manifest.everyone if e.offer},
        thinking={name: before.thinking for name, before in discovery.items() if before.thinking},
        withheld={e.name: e.withheld for e in manifest.providers},
    )
    least = min((before.fewest for before in discovery.values()), default=0)
    again = int(fewest(1.0)) if any(evidence_of(panel.suite).asks_again for panel in used) else 0
    allowed = math.inf if manifest.limits.max_requests is None else max(0, manifest.limits.max_requests - least)
    answers = None if math.isinf(allowed) else max(0, int(allowed) - again)
    reaches = [Reach(asked[:answers], manifest.rules.log_threshold, most=allowed) for asked in orders.values()]
    if manifest.dated or not any(reach.tables for reach in reaches):
        enough = all(_enough(asked[:answers], manifest) for asked in orders.values())
        return replace(
            plan, could_reject=enough, detectability=plan.detectability if manifest.dated else _unknown(used)
        )
    detectable = tuple(
        Detectable(variant, fraction, reach.median_requests(variant, fraction), ", ".join(reach.tables))
        for reach in (reaches if detectability else ())
        for variant in dict.fromkeys(v for table in reach.tables.values() for v in table.variants)
        for fraction in FRACTIONS
    )
    tables = {name: table for reach in reaches for name, table in reach.tables.items()}
    basis = "; ".join(_basis(table) + (f" ({name})" if len(used) > 1 else "") for name, table in tables.items())
    seen_by = " or ".join(dict.fromkeys(SEEN_BY[table.events[0].score] for table in tables.values()))
    return replace(
        plan,
        could_reject=all(reach.could_reject for reach in reaches if reach.tables),
        detectable=detectable,
        detectability=f"estimated by simulation from {basis}, for variants as they were recorded: the same format on "
        f"another engine may deviate less; kinds that nobody recorded are seen by {seen_by} alone",
    )


def _enough(asked: Sequence[tuple[Panel, Probe]], manifest: RunManifest) -> bool:
    """Whether so many answers could lead to *deviates*, where nothing that was counted says so."""
    bounds, strata = np.full((1, 1, len(HITS)), MARGIN_SHARE), np.zeros(len(asked), np.intp)
    if any(panel.envelope is None and evidence_of(panel.suite) is LogprobEvidence for panel, _ in asked):
        return could_reject(bounds, strata, [1.0], manifest.rules.log_threshold)  # as `MarginEvidence` bets
    return len(asked) >= MIN_DEVIATING


def _unknown(panels: Sequence[Panel]) -> str:
    """Why nothing is said of what could be detected."""
    if any(panel.references for panel in panels):
        return "scored text shows deviations alone, and never agreement; how soon is not simulated"
    if any(panel.baseline and panel.baseline.table and panel.envelope for panel in panels):
        return "samples of text show strong deviations alone, and never agreement; how soon is not simulated"
    return "detectability unknown: no baseline"


def _basis(table: CalibrationTable) -> str:
    """On how many calibration clusters null bounds rest, and on how many what variants show, in words."""
    seen, counts = table.seen(FULL), table.events[0].counts.values()
    deep, own = sum(table.clusters.values()), sum(count.variant_clusters for count in counts)
    least = min(seen, key=lambda event: sum(count.clusters for count in event.counts.values()))
    shallow = sum(count.clusters for count in least.counts.values())
    but = f", {shallow} for {least.score}" if shallow < deep else ""
    return f"{deep} calibration clusters{but}" + ("" if deep == own else f", and {own} for what variants show")


def _expected(asked: Sequence[str], needed: Mapping[str, int | None]) -> Counter[str] | None:
    """How many requests to each suite it takes until the first of them shows a faithful provider to be consistent.

    asked: the suite of each request, in order. needed: requests that it takes in each alone. None where none can.
    """
    answered = Counter[str]()
    for suite in asked:
        answered[suite] += 1
        if answered[suite] == needed[suite]:
            return answered
    return None


def _prompt_tokens(probes: Sequence[Probe], suite: Suite, baseline: Baseline | None) -> float:
    """Mean prompt tokens of a probe: as recorded on a sample, else from its bytes."""
    sample = probes[:: max(1, len(probes) // 40)]
    if baseline and baseline.references:
        counts = [r.prompt_tokens(baseline.references) for p in sample if (r := baseline.probe(p.id))]
        known = [c for c in counts if c is not None]
        if known:
            return sum(known) / len(known)
    sizes = [size_bytes(p.messages, suite.tools(p)) for p in sample]
    return TEMPLATE_TOKENS + sum(sizes) / len(sizes) / BYTES_PER_TOKEN


def _finding_out(
    entry: ProviderEntry, discovery: Discovery, limit: int | None, manifest: RunManifest
) -> Iterator[ProviderEstimate]:
    """What it takes to find out what an endpoint offers, if anything."""
    if discovery.most:
        most = discovery.most if limit is None else min(limit, discovery.most)
        yield ProviderEstimate(
            name=entry.name,
            role=_role(entry, manifest),
            suite=DISCOVERY,
            requests_max=most,
            requests_expected=min(most, discovery.fewest),
            input_tokens=most * PROMPT_TOKENS,
            output_tokens=most * LONG,
            cost_usd=discovery.cost_usd,
            minutes=most * SECONDS_PER_REQUEST / 60,
        )


def _role(entry: ProviderEntry, manifest: RunManifest) -> str:
    if entry in manifest.providers:
        return "provider"
    return "variant" if entry in manifest.suites[0].reference.variants else "reference"


def _scoring(
    entry: ProviderEntry, panel: Panel, texts: Sequence[tuple[Panel, Probe]], manifest: RunManifest
) -> ProviderEstimate:
    """What `entry` is asked to score the texts of everybody."""
    most, asked = len(texts), panel.suite.manifest
    prompts = _prompt_tokens([probe for _, probe in texts], panel.suite, None)
    into, out = round(most * (prompts + asked.max_tokens)), most * entry.min_tokens
    return ProviderEstimate(
        name=entry.name,
        role=_role(entry, manifest),
        suite=panel.suite.name,
        requests_max=most,
        requests_expected=None,
        input_tokens=into,
        output_tokens=out,
        cost_usd=_cost_usd(entry, into, out),
        minutes=most * SECONDS_PER_REQUEST / (manifest.concurrency * len(manifest.providers)) / 60,
    )


def _cost_usd(entry: ProviderEntry, into: int, out: int) -> float | None:
    return (into * entry.price.input + out * entry.price.output) / 1e6 if entry.price else None


def _shares(
    entry: ProviderEntry, panels: Sequence[Panel], asked: Sequence[tuple[Panel, Probe]], manifest: RunManifest
) -> Iterator[ProviderEstimate]:
    """What `entry` is asked of each suite."""
    mine = [panel for panel in panels if panel.suite.name in manifest.suites_of(entry)]
    needed = {panel.suite.name: panel.requests_expected(manifest.tolerance) for panel in mine}
    expected = _expected([panel.suite.name for panel, _ in asked], needed)
    for panel in mine:
        yield _share(entry, panel, [p for asking, p in asked if asking is panel], expected, manifest)


def _share(
    entry: ProviderEntry, panel: Panel, probes: Sequence[Probe], expected: Counter[str] | None, manifest: RunManifest
) -> ProviderEstimate:
    most = len(probes)
    into = round(most * _prompt_tokens(probes, panel.suite, panel.baseline)) if probes else 0
    out = most * max(panel.suite.manifest.max_tokens, entry.min_tokens)
    observed: Sequence[str] = panel.suite.manifest.observes
    return ProviderEstimate(
        name=entry.name,
        role=_role(entry, manifest),
        suite=panel.suite.name,
        requests_max=most,
        requests_expected=None if expected is None else expected[panel.suite.name],
        input_tokens=into,
        output_tokens=out,
        cost_usd=_cost_usd(entry, into, out),
        minutes=most * (1 + len(panel.scorers)) * SECONDS_PER_REQUEST / manifest.concurrency / 60,
        lost={observable: why for observable, why in entry.lost.items() if observable in observed},
        unpinned=entry.unpinned,
    )
