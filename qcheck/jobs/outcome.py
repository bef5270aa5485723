"""The result of a run, made from its manifest, its reference and its journal alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qcheck.errors import RunFolderError
from qcheck.jobs.fold import RunFold, folded
from qcheck.jobs.known import KnownOffer
from qcheck.jobs.manifest import ProviderEntry, RunManifest
from qcheck.jobs.panel import Panel
from qcheck.jobs.provider import NAMED
from qcheck.records import Attempt
from qcheck.result import (
    Declared,
    Deviating,
    Finding,
    Fraction,
    Nearest,
    Offered,
    PriceUsd,
    ProviderResult,
    Result,
    Tokens,
    Totals,
)
from qcheck.run.budget import is_estimate
from qcheck.run.execute import GIVEN_UP
from qcheck.verdict import Claims, Decision, exit_code, summarise

__all__ = ["WITHHELD", "make_fold", "make_result"]

SHOWN_PROBES = 10
# Why no more was asked where that follows from no evidence, in words.
LIMITS = {
    "max_requests": "no more requests may be sent (--max-requests, or a plan that pays for them)",
    "budget": "the budget does not allow another request",
    "deadline": "the deadline had passed",
    "interrupted": "the run was interrupted",
    "nobody to compare with": "nobody is left to compare with",
}
WITHHELD = "withheld"
ROUTED_ON = Finding(
    kind="unpinned_upstreams",
    severity="info",
    text="routes to unknown upstreams: none can be pinned, and who answers may vary from request to request",
    likely_cause=None,
    probes=(),
)


def make_fold(manifest: RunManifest, panels: Sequence[Panel]) -> RunFold:
    """The empty fold of a run."""
    asked = {e.name: [p for p in panels if p.suite.name in manifest.suites_of(e)] for e in manifest.providers}
    unjudged = {e.name: e.unjudged for e in manifest.providers if e.unjudged}
    streamed = frozenset(e.name for e in manifest.providers if e.streamed)
    plain = frozenset(e.name for e in manifest.providers if e.plain)
    return RunFold(asked, manifest.rules, manifest.live.name if manifest.live else None, unjudged, streamed, plain)


def make_result(
    manifest: RunManifest,
    panels: Sequence[Panel],
    attempts: Sequence[Attempt],
    stops: Mapping[str, str],
) -> Result:
    """Fold the journal and say what it shows.

    `stops` are the reasons, by provider, why no more was asked; those that follow from evidence are derived anew.
    """
    fold = make_fold(manifest, panels)
    suites = tuple(used.info() for used in manifest.suites)
    folded(fold, attempts)
    for provider in fold.providers.values():
        provider.available.end()
    spent = {entry.name: _spent(entry, attempts) for entry in manifest.everyone}
    providers = tuple(_provider(e, fold, attempts, stops, spent[e.name]) for e in manifest.providers)
    costs = [s.cost_usd for s in spent.values()]
    return Result(
        qcheck_version=manifest.qcheck_version,
        run_id=manifest.run_id,
        model=manifest.model,
        released_precision=manifest.released_precision,
        created=manifest.created,
        seed=manifest.seed,
        alpha=manifest.alpha,
        tolerance=manifest.tolerance,
        exit_code=exit_code((p.verdict for p in providers), manifest.fail_on),
        reference=suites[0].reference,
        suites=suites,
        groups=fold.groups(),
        different=fold.different(),
        totals=Totals(
            sum(s.requests for s in spent.values()),
            Tokens(sum(s.tokens.input for s in spent.values()), sum(s.tokens.output for s in spent.values())),
            None if any(c is None for c in costs) else sum(c or 0.0 for c in costs),
            sum(s.estimated_usd for s in spent.values()),
        ),
        providers=providers,
    )


@dataclass(frozen=True, slots=True)
class _Spent:
    """All that a provider was sent, answers after the stop included; of `cost_usd`, `estimated_usd` is an estimate."""

    requests: int
    tokens: Tokens
    cost_usd: float | None
    estimated_usd: float


def _spent(entry: ProviderEntry, attempts: Sequence[Attempt]) -> _Spent:
    mine = [a for a in attempts if a.provider == entry.name]
    settled = [a for a in mine if a.settled]
    responses = [a.response for a in settled if a.response]
    sent = {(a.scores, a.seq) for a in mine if a.sent}
    unknown = any(a.charged_usd is None for a in mine) or (entry.price is None and not mine)
    return _Spent(
        sum((a.scores, a.seq) in sent for a in settled),
        Tokens(sum(r.prompt_tokens or 0 for r in responses), sum(r.completion_tokens or 0 for r in responses)),
        None if unknown else sum(a.charged_usd or 0.0 for a in mine),
        sum(a.charged_usd or 0.0 for a in mine if is_estimate(a)),
    )


def _ended(attempts: Sequence[Attempt]) -> str | None:
    """When the last of the attempts was over. Raises RunFolderError for times that are none."""
    try:
        ends = [datetime.fromisoformat(a.started).astimezone(UTC) + timedelta(seconds=a.elapsed_s) for a in attempts]
    except (ValueError, OverflowError) as error:
        raise RunFolderError("the journal holds a time that is none; start a new run.") from error
    return max(ends).isoformat(timespec="milliseconds") if ends else None


def _provider(
    entry: ProviderEntry,
    run: RunFold,
    attempts: Sequence[Attempt],
    stops: Mapping[str, str],
    spent: _Spent,
) -> ProviderResult:
    fold, rules = run.providers[entry.name], run.rules
    claims = fold.claims(has_reference=run.has_reference)
    decision = fold.decide(has_reference=run.has_reference)
    cause, posterior = fold.cause() if decision.verdict == "deviates" else (None, {})
    undecided = decision.verdict == "inconclusive" and run.has_reference
    needed = fold.needed() if undecided else None
    nearest = next((v for v, probability in posterior.items() if probability >= NAMED), None)
    low, estimate, high = fold.fraction(decision.verdict, nearest) if run.has_reference else (0.0, None, 1.0)
    mine = [a for a in attempts if a.provider == entry.name]
    stop_reason = run.should_stop(entry.name) or stops.get(entry.name, "interrupted")
    return ProviderResult(
        name=entry.name,
        endpoint=entry.display,
        model_id=entry.model_id,
        declared=Declared(**entry.declared.model_dump()) if entry.declared else None,
        price_usd_per_mtok=PriceUsd(**entry.price.model_dump()) if entry.price else None,
        verdict=decision.verdict,
        decided_by=decision.decided_by,
        summary=summarise(
            claims,
            rules,
            decision,
            needed,
            declared=entry.declared.precision if entry.declared else None,
            nearest=nearest,
            cut_short=_cut_short(stop_reason, run.reference_gone(entry.name), mine),
        ),
        likely_cause=cause,
        stop_reason=stop_reason,
        started=min((a.started for a in mine), default=None),
        ended=_ended(mine),
        unavailable_reason=claims.unavailable_reason if decision.verdict == "unavailable" else None,
        requests=spent.requests,
        failures=claims.failures,
        tokens=spent.tokens,
        cost_usd=spent.cost_usd,
        needed_requests=needed,
        log_e_value=_log_e(claims, decision) if run.has_reference else run.pair_log_e(entry.name),
        deviating=Deviating(len(claims.deviating), claims.answered, tuple(claims.deviating[:SHOWN_PROBES])),
        routing_fraction=Fraction(low, estimate, high, 1 - 2 * rules.alpha),
        blind_to=tuple(claims.blind_to),
        divergence=fold.divergence(),
        nearest=tuple(Nearest(v, p) for v, p in posterior.items()),
        evidence=fold.evidence(),
        findings=(*fold.findings(), *_said_of(entry)),
        discovery=sum(a.discovery and a.settled and a.sent for a in mine),
        offered=_offered(entry.offer) if entry.offer else None,
    )


def _cut_short(stop_reason: str, reference_gone: str | None, attempts: Sequence[Attempt]) -> str | None:
    """What ended a provider's part of the run that is no evidence, in words, and what its last attempt came to."""
    if reference_gone:
        return f"the reference is not there any more ({reference_gone})"
    last = next((a for a in reversed(attempts) if not a.discovery and a.error != GIVEN_UP), None)
    failing = f", and the last attempt came to: {last.error}" if last and last.outcome == "retried" else ""
    return LIMITS[stop_reason] + failing if stop_reason in LIMITS else None


def _log_e(claims: Claims, decision: Decision) -> float:
    """The e-value at the end, or the largest so far, on which a verdict rests that somebody deviates."""
    return max(claims.log_e, claims.proof) if decision.decided_by == "evidence" else claims.log_e


def _said_of(entry: ProviderEntry) -> list[Finding]:
    """What was known of a provider before it was asked, and matters to what its answers show."""
    withheld = [Finding(WITHHELD, "info", text, None, ()) for text in entry.withheld]
    return withheld + ([ROUTED_ON] if entry.unpinned else [])


def _offered(offer: KnownOffer) -> Offered:
    return Offered(
        found=offer.found.isoformat(timespec="seconds"),
        top_logprobs=offer.listed,
        lattice=offer.lattice,
        after_temperature=offer.after_temperature,
        greedy=offer.greedy,
        temperature=offer.temperature,
        min_tokens=offer.min_tokens,
    )
