"""What a run will cost and what it could detect, before the first request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import Envelope
from qcheck.jobs.manifest import ProviderEntry, RunManifest
from qcheck.jobs.sample import sample
from qcheck.stats.fraction import requests_to_bound
from qcheck.stats.power import could_reject, median_requests
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import FLIP, FULL, LOSS, SIZE, CalibrationTable, Score

__all__ = ["Detectable", "Estimate", "ProviderEstimate", "estimate"]

FRACTIONS = (1.0, 0.1, 0.05, 0.01)
BYTES_PER_TOKEN = 3.5  # of natural prompts, where no baseline says how many tokens they have
TEMPLATE_TOKENS = 10
# How a deviation that nobody recorded is seen, by the score that shows whatever deviates.
SEEN_BY: Mapping[Score, str] = {SIZE: "their size", FLIP: "other texts", LOSS: "wrong answers"}
SECONDS_PER_REQUEST = 1.5  # a hosted endpoint's usual time for a few tokens; for the estimate of minutes only


@dataclass(frozen=True, slots=True)
class ProviderEstimate:
    """One provider's share. `requests_expected` is what a faithful provider needs for *consistent*, None if unknown.

    lost: what of the suite's observables it cannot show, and why.

    Tokens and dollars are for `requests_max`, the most that may be sent. `role` is "provider" or "reference".
    """

    name: str
    role: str
    requests_max: int
    requests_expected: int | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    minutes: float
    lost: Mapping[str, str] = field(default_factory=dict)


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


def estimate(manifest: RunManifest, suite: Suite, baseline: Baseline | None, *, detectability: bool = True) -> Estimate:
    """The plan of a run; sends nothing. `detectability` is simulated, which takes seconds."""
    probes = tuple(p for group in sample(suite, baseline, manifest.seed) for p in group)
    limit = manifest.limits.max_requests
    most = len(probes) if limit is None else min(limit, len(probes))
    envelope = manifest.frozen_envelope()
    expected = _expected(envelope, manifest, most)
    tokens = _prompt_tokens(probes, baseline)
    providers = tuple(
        _share(
            entry, "provider" if entry in manifest.providers else "reference", most, expected, tokens, suite, manifest
        )
        for entry in manifest.everyone
    )
    if envelope is None or baseline is None or baseline.table is None:
        return Estimate(providers, tuple(suite.manifest.observes), most > 1, (), "detectability unknown: no baseline")
    table, levels = baseline.table, envelope.levels[FULL]
    names = list(dict.fromkeys(p.stratum for p in probes))
    strata = np.array([names.index(p.stratum) for p in probes[:most]])
    bounds = np.array([[level.null_bounds[s] for level in levels] for s in names])
    weights, threshold = [level.weight for level in levels], manifest.rules.log_threshold
    rng = np.random.default_rng(0)

    def shown(variant: str) -> NDArray[np.float64]:
        counts = [[e.counts[s] for e in table.seen(FULL)] for s in names]
        return np.array([[c.shown[variant] / c.variant_clusters for c in row] for row in counts])

    detectable = tuple(
        Detectable(
            variant,
            fraction,
            median_requests(bounds, shown(variant), strata, weights, threshold, fraction, rng),
        )
        for variant in (table.variants if detectability else ())
        for fraction in FRACTIONS
    )
    return Estimate(
        providers,
        tuple(suite.manifest.observes),
        could_reject(bounds[strata], weights, threshold),
        detectable,
        f"estimated by simulation from {_basis(table)}; kinds of deviation that nobody recorded are seen by "
        f"{SEEN_BY[table.events[0].score]} alone",
    )


def _basis(table: CalibrationTable) -> str:
    """On how many calibration clusters the null bounds of size or loss rest, and on how many all else, in words."""
    first = table.events[0]
    deep, own = sum(table.clusters.values()), sum(count.variant_clusters for count in first.counts.values())
    return f"{deep} calibration clusters" + ("" if deep == own else f" for {first.score}, and {own} for all else")


def _expected(envelope: Envelope | None, manifest: RunManifest, most: int) -> int | None:
    if envelope is None or envelope.resolution is None:
        return None
    target = manifest.tolerance * envelope.visibility[FULL][envelope.resolution]
    needed = requests_to_bound(0, 0, target, envelope.alpha - envelope.delta)
    return needed if needed is not None and needed <= most else None


def _prompt_tokens(probes: tuple[Probe, ...], baseline: Baseline | None) -> float:
    """Mean prompt tokens of a probe: as recorded on a sample, else from its bytes."""
    sample = probes[:: max(1, len(probes) // 40)]
    if baseline and baseline.references:
        counts = [r.prompt_tokens(baseline.references) for p in sample if (r := baseline.probe(p.id))]
        known = [c for c in counts if c is not None]
        if known:
            return sum(known) / len(known)
    sizes = [sum(len(m.content.encode()) for m in p.messages) for p in sample]
    return TEMPLATE_TOKENS + sum(sizes) / len(sizes) / BYTES_PER_TOKEN


def _share(
    entry: ProviderEntry,
    role: str,
    most: int,
    expected: int | None,
    tokens: float,
    suite: Suite,
    manifest: RunManifest,
) -> ProviderEstimate:
    into, out = round(most * tokens), most * suite.manifest.max_tokens
    cost = (into * entry.price.input + out * entry.price.output) / 1e6 if entry.price else None
    minutes = most * SECONDS_PER_REQUEST / manifest.concurrency / 60
    observed: Sequence[str] = suite.manifest.observes
    lost = {observable: why for observable, why in entry.lost.items() if observable in observed}
    return ProviderEstimate(entry.name, role, most, expected, into, out, cost, minutes, lost)
