"""What a run will cost and what it could detect, before the first request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Baseline
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.tails import TailEvidence
from qcheck.jobs.manifest import ProviderEntry, RunManifest
from qcheck.jobs.panel import Panel, sample
from qcheck.stats.power import could_reject, median_requests
from qcheck.suites import Probe
from qcheck.tailcounts import FLIP, FULL, LOSS, SIZE, CalibrationTable, Score, TailCount
from qcheck.verdict import UNPINNED

__all__ = ["Detectable", "Estimate", "ProviderEstimate", "estimate"]

FRACTIONS = (1.0, 0.1, 0.05, 0.01)
BYTES_PER_TOKEN = 3.5  # of natural prompts, where no baseline says how many tokens they have
TEMPLATE_TOKENS = 10
# How a deviation that nobody recorded is seen, by the score that shows whatever deviates.
SEEN_BY: Mapping[Score, str] = {SIZE: "their size", FLIP: "other texts", LOSS: "wrong answers"}
SECONDS_PER_REQUEST = 1.5  # a hosted endpoint's usual time for a few tokens; for the estimate of minutes only


@dataclass(frozen=True, slots=True)
class ProviderEstimate:
    """One provider's share of one suite.

    lost: what of the suite's observables it cannot show, and why. requests_expected: what a faithful provider that
    gives all that is observed is asked until it is *consistent*; None if unknown. Tokens and dollars are for
    `requests_max`, the most that may be sent: an estimate, which retries are not part of. unpinned: whether it sends
    requests on to upstreams that it chooses. role: "provider" or "reference".
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
    """Estimated median number of requests to `deviates`; None where the requests allowed would not do."""

    variant: str
    fraction: float
    median_requests: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan in numbers. `detectability` says in words how far they reach."""

    providers: tuple[ProviderEstimate, ...]
    observables: tuple[str, ...]
    could_reject: bool
    detectable: tuple[Detectable, ...]
    detectability: str


def estimate(manifest: RunManifest, panels: Sequence[Panel], *, detectability: bool = True) -> Estimate:
    """The plan of a run; sends nothing. `detectability` is simulated, which takes seconds.

    What several suites detect is the same simulation: an event of one suite, weighted by both, is not bet on in the
    requests of another, which is what averaging their e-values comes to.
    """
    asked = [(panel, p) for panel, probes in sample(panels, manifest.tolerance, manifest.seed) for p in probes]
    asked = asked[: manifest.limits.max_requests]
    needed = {p.suite.name: p.requests_expected(manifest.tolerance) for p in panels}
    providers = tuple(
        share
        for entry in manifest.everyone
        for share in _shares(entry, panels, asked[: manifest.most_requests(entry)], needed, manifest)
    )
    observables = tuple(dict.fromkeys(o for panel in panels for o in panel.suite.manifest.observes))
    if manifest.dated:
        return Estimate(providers, observables, len(asked) > 1, (), f"nothing: {UNPINNED}")
    known = [(p, p.baseline.table, p.envelope) for p in panels if p.baseline and p.baseline.table and p.envelope]
    tables = [row for row in known if issubclass(evidence_of(row[0].suite), TailEvidence)]
    if not tables:
        sampled = "samples of text show strong deviations alone, and never agreement; how soon is not simulated"
        note = sampled if known else "detectability unknown: no baseline"
        return Estimate(providers, observables, len(asked) > 1, (), note)
    kinds = list(dict.fromkeys((panel.suite.name, probe.stratum) for panel, probe in asked))
    strata = np.array([kinds.index((panel.suite.name, probe.stratum)) for panel, probe in asked])
    columns = [
        (panel, level, event)
        for panel, table, envelope in tables
        for level, event in zip(envelope.levels[FULL], table.seen(FULL), strict=True)
    ]
    weights = [panel.weight * level.weight for panel, level, _ in columns]
    outlying = [level.outlying for _, level, _ in columns]
    suites = [panel.suite.name for panel, _, _ in columns]
    bounds = np.array(
        [[level.null_bounds[s] if panel.suite.name == n else 1.0 for panel, level, _ in columns] for n, s in kinds]
    )
    threshold, rng = manifest.rules.log_threshold, np.random.default_rng(0)

    def shown(variant: str) -> NDArray[np.float64]:
        """(kinds, events): how often the variant shows each event; nothing is known of one that was not recorded."""

        def share(count: TailCount) -> float:
            return count.shown.get(variant, 0) / count.variant_clusters

        return np.array(
            [
                [share(event.counts[s]) if panel.suite.name == n else 0.0 for panel, _, event in columns]
                for n, s in kinds
            ]
        )

    variants = dict.fromkeys(v for _, table, _ in tables for v in table.variants) if detectability else ()
    detectable = tuple(
        Detectable(
            variant,
            fraction,
            median_requests(bounds, shown(variant), strata, weights, outlying, suites, threshold, fraction, rng),
        )
        for variant in variants
        for fraction in FRACTIONS
    )
    basis = "; ".join(
        _basis(table) + (f" ({panel.suite.name})" if len(panels) > 1 else "") for panel, table, _ in tables
    )
    seen_by = " or ".join(dict.fromkeys(SEEN_BY[table.events[0].score] for _, table, _ in tables))
    return Estimate(
        providers,
        observables,
        could_reject(bounds[strata], weights, threshold),
        detectable,
        f"estimated by simulation from {basis}, for variants as they were recorded: the same format on another engine "
        f"may deviate less; kinds that nobody recorded are seen by {seen_by} alone",
    )


def _basis(table: CalibrationTable) -> str:
    """On how many calibration clusters the null bounds of size or loss rest, and on how many all else, in words."""
    first = table.events[0]
    deep, own = sum(table.clusters.values()), sum(count.variant_clusters for count in first.counts.values())
    return f"{deep} calibration clusters" + ("" if deep == own else f" for {first.score}, and {own} for all else")


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


def _prompt_tokens(probes: Sequence[Probe], baseline: Baseline | None) -> float:
    """Mean prompt tokens of a probe: as recorded on a sample, else from its bytes."""
    sample = probes[:: max(1, len(probes) // 40)]
    if baseline and baseline.references:
        counts = [r.prompt_tokens(baseline.references) for p in sample if (r := baseline.probe(p.id))]
        known = [c for c in counts if c is not None]
        if known:
            return sum(known) / len(known)
    sizes = [sum(len(m.content.encode()) for m in p.messages) for p in sample]
    return TEMPLATE_TOKENS + sum(sizes) / len(sizes) / BYTES_PER_TOKEN


def _shares(
    entry: ProviderEntry,
    panels: Sequence[Panel],
    asked: Sequence[tuple[Panel, Probe]],
    needed: Mapping[str, int | None],
    manifest: RunManifest,
) -> Iterator[ProviderEstimate]:
    """What `entry` is asked of each suite."""
    expected = _expected([panel.suite.name for panel, _ in asked], needed)
    for panel in panels:
        yield _share(entry, panel, [p for asking, p in asked if asking is panel], expected, manifest)


def _share(
    entry: ProviderEntry, panel: Panel, probes: Sequence[Probe], expected: Counter[str] | None, manifest: RunManifest
) -> ProviderEstimate:
    most = len(probes)
    into = round(most * _prompt_tokens(probes, panel.baseline)) if probes else 0
    out = most * max(panel.suite.manifest.max_tokens, entry.min_tokens)
    observed: Sequence[str] = panel.suite.manifest.observes
    return ProviderEstimate(
        name=entry.name,
        role="provider" if entry in manifest.providers else "reference",
        suite=panel.suite.name,
        requests_max=most,
        requests_expected=None if expected is None else expected[panel.suite.name],
        input_tokens=into,
        output_tokens=out,
        cost_usd=(into * entry.price.input + out * entry.price.output) / 1e6 if entry.price else None,
        minutes=most * SECONDS_PER_REQUEST / manifest.concurrency / 60,
        lost={observable: why for observable, why in entry.lost.items() if observable in observed},
        unpinned=entry.unpinned,
    )
