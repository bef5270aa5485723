"""The main job: ask several providers, fold what they answer, say what it shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations, product
from operator import attrgetter
from types import MappingProxyType

from qcheck import __version__
from qcheck.baselines import Baseline
from qcheck.client.limits import Limiters
from qcheck.client.transport import Client
from qcheck.errors import ConfigurationError
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.scored_text import text_to_score
from qcheck.jobs.fold import RunFold, due_scores
from qcheck.jobs.known import KnownOffer
from qcheck.jobs.manifest import (
    DeclaredEntry,
    EnvelopeEntry,
    LimitsEntry,
    PriceEntry,
    ProviderEntry,
    ReferenceEntry,
    RunManifest,
    SuiteUsed,
)
from qcheck.jobs.order import check_order, plan_of
from qcheck.jobs.outcome import make_fold, make_result
from qcheck.jobs.panel import Panel
from qcheck.jobs.reference import RANKS, Reference, provenance_of
from qcheck.jobs.silence import withheld
from qcheck.jobs.strongest import Asked, Choice, mismatch, reference_unfit
from qcheck.jsonio import content_hash, pretty, to_plain
from qcheck.records import Attempt, Request
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import Endpoint, ModelProfile, Price
from qcheck.result import Result, result_to_json
from qcheck.run.budget import Budget, Limits, check_prices, is_plan
from qcheck.run.execute import AskedAgain, Asker, Event, Settled, Stopped, execute
from qcheck.run.folder import RunFolder
from qcheck.run.journal import Journal, read_journal, settled_requests, settled_scores
from qcheck.run.lane import resumable
from qcheck.run.plan import PlanItem
from qcheck.suites import Suite
from qcheck.verdict import FailOn, Until, decide

__all__ = ["Moment", "Settings", "budget_of", "clients", "compare", "make_manifest", "manner_of", "start_run"]

SMALLEST_ALPHA, MOST_IN_FLIGHT = 1e-12, 1000
MIN_PROVIDERS = 2  # of which one can be compared with another
MOST_SUITES = 4  # of which each spends a fifth of alpha on its calibration


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user chose. `seed` fixes the order of the probes."""

    seed: int
    alpha: float = 0.01
    tolerance: float = 0.05
    until: Until = "either"
    fail_on: FailOn = "inconclusive"
    concurrency: int = 4
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raise ConfigurationError for numbers out of range."""
        for name, value in (("alpha", self.alpha), ("tolerance", self.tolerance)):
            if not 0 < value < 1:
                raise ConfigurationError(f"--{name} must lie between 0 and 1, not {value:g}.")
        if self.alpha < SMALLEST_ALPHA:
            raise ConfigurationError(f"--alpha must be at least {SMALLEST_ALPHA:g}: no calibration bounds less.")
        if not 1 <= self.concurrency <= MOST_IN_FLIGHT:
            raise ConfigurationError(f"--concurrency must lie between 1 and {MOST_IN_FLIGHT}.")
        limits = self.limits
        if any((limit or 0) < 0 for limit in (limits.max_requests, limits.budget_usd, limits.deadline_s)):
            raise ConfigurationError("--max-requests, --budget and --deadline are not negative.")


@dataclass(frozen=True, slots=True)
class Moment:
    """Progress: an event of the run, and how the provider stands after it."""

    event: Event
    provider: str
    log_e: float
    verdict: str


def manner_of(endpoint: Endpoint) -> str:
    """A hash of how an endpoint is asked: what changes answers, but for its address and the model's id."""
    asked = (
        replace(endpoint.dialect, stated=()),
        endpoint.temperature,
        endpoint.date_string,
        endpoint.thinks_always,
        endpoint.prompt_format,
        endpoint.extra_body,
    )
    return content_hash(asked)


def _entry(endpoint: Endpoint, offer: KnownOffer | None, choice: Choice | None = None) -> ProviderEntry:
    d, p = endpoint.declared, endpoint.price
    return ProviderEntry(
        name=endpoint.name,
        spec=endpoint.spec or endpoint.name,
        display=endpoint.display,
        model_id=endpoint.model_id,
        declared=DeclaredEntry(precision=d.precision, source=d.source, date=d.date) if d else None,
        price=PriceEntry(input=p.input, output=p.output) if p else None,
        lost=dict(lost_observables(endpoint)),
        plan=is_plan(endpoint),
        unpinned=endpoint.unpinned,
        min_tokens=endpoint.dialect.min_tokens,
        streamed=endpoint.dialect.stream,
        manner=manner_of(endpoint),
        thinking_off=endpoint.dialect.thinking_off,
        offer=offer,
        suites=choice.suites if choice else None,
        plain=endpoint.dialect.plain_samples is not None,
        unjudged=choice.unjudged if choice else None,
    )


def _reference_entry(reference: Reference, model: ModelProfile, offers: Mapping[str, KnownOffer]) -> ReferenceEntry:
    if live := reference.live:
        entry = _entry(live, offers.get(live.name))
        return ReferenceEntry(kind="live", name=live.name, provenance=provenance_of(live, model), live=entry)
    if scored_by := reference.scored_by:
        return ReferenceEntry(
            kind="live",
            name=", ".join(e.name for e in scored_by),
            provenance=max((provenance_of(e, model) for e in scored_by), key=RANKS.index),
            deployments=tuple(e.name for e in scored_by),
            scored_by=tuple(_entry(e, offers.get(e.name)) for e in scored_by),
            variants=tuple(_entry(e, offers.get(e.name)) for e in reference.variants),
        )
    b = reference.baseline
    if b is None:
        return ReferenceEntry(kind="none")
    return ReferenceEntry(
        kind="recorded",
        name=b.name,
        provenance=reference.provenance,
        deployments=b.names(b.references),
        hash=b.hash,
        path=str(b.folder.resolve()),
    )


def _envelope(reference: Reference, alpha: float) -> Envelope | None:
    table = reference.baseline.table if reference.baseline and reference.has_envelope else None
    return freeze(table, alpha) if table else None


def _used(
    suite: Suite, reference: Reference, entry: ReferenceEntry, model: str, alpha: float, weight: float
) -> SuiteUsed:
    envelope = _envelope(reference, alpha)
    if envelope is None and not suite.scored and evidence_of(suite) is not LogprobEvidence:
        raise ConfigurationError(
            f"texts are judged by a recorded envelope, and there is none for {model} and the suite {suite.name}: "
            "record two or more deployments that you trust and that compute differently with "
            f"`qcheck baseline record {model} --suite {suite.recorded.name} --out DIR --provider …`, or compare "
            "log-probabilities with --suite logprobs."
        )
    return SuiteUsed(
        name=suite.name,
        path=str(suite.folder.resolve()),
        hash=suite.hash,
        reference=entry,
        envelope=EnvelopeEntry(**to_plain(envelope)) if envelope else None,
        weight=weight,
    )


def _check_disjoint(suites: Sequence[Suite]) -> None:
    """Raise ConfigurationError where two suites would ask what they share: a probe is evidence once."""
    for one, other in combinations(suites, 2):
        if one.name == other.name:
            raise ConfigurationError(f"two suites are called {one.name}; compare with one of them at a time.")
        for what in (attrgetter("id"), attrgetter("cluster"), attrgetter("messages")):
            asked = set(map(what, one.fold("evaluation")))
            if shared := next((p.id for p in other.fold("evaluation") if what(p) in asked), None):
                raise ConfigurationError(
                    f"the suites {one.name} and {other.name} share probes or parts of them ({shared}), so that they "
                    "are no evidence beside each other; compare with one of them at a time."
                )


def _dated(model: ModelProfile, endpoints: Sequence[Endpoint], baselines: Sequence[Baseline]) -> bool:
    """Whether a dated chat template may be given different dates by those that are compared."""
    dates = {e.date_string for e in endpoints}
    dates |= {d.date_string for baseline in baselines for d in baseline.manifest.deployments}
    return model.dated_template and (None in dates or len(dates) > 1)


def make_manifest(
    run_id: str,
    created: datetime,
    model: ModelProfile,
    endpoints: Sequence[Endpoint],
    asked: Sequence[Asked],
    settings: Settings,
    offers: Mapping[str, KnownOffer] = MappingProxyType({}),
    choices: Mapping[str, Choice] | None = None,
) -> RunManifest:
    """Everything that the verdicts will depend on, fixed before the first request of the plan. Raises UsageError.

    offers: what was found at the endpoints, by name. choices: which of the suites `asked` each provider is asked, all
    who are asked any as many; without them all. A provider's error is split evenly over its suites, so that all its
    bounds of shares hold together with probability 1 − alpha. Of that, delta is for the calibration of all suites.
    """
    settings.check()
    lives = [endpoint for _, reference in asked for endpoint in reference.endpoints]
    if taken := {e.name for e in lives} & {e.name for e in endpoints}:
        raise ConfigurationError(f"{min(taken)} is a live reference or variant; leave it out of --providers.")
    if any(len({e.name for e in it.endpoints}) < len(it.endpoints) for _, it in asked):
        raise ConfigurationError("--reference and --variant name a live deployment twice: name each once.")
    check_prices(settings.limits, (*endpoints, *lives))
    if unfit := next((why for suite, reference in asked if (why := reference_unfit(suite, reference))), None):
        raise ConfigurationError(unfit)
    each = len(asked) if choices is None else max(1, *(len(choice.suites) for choice in choices.values()))
    if each > 1:
        _check_disjoint([suite for suite, _ in asked])
    if choices is None:
        _check_texts([suite for suite, _ in asked], (*endpoints, *(ref.live for _, ref in asked if ref.live)))
    everything = {
        suite.name: _used(
            suite, reference, _reference_entry(reference, model, offers), model.name, settings.alpha / each, 1 / each
        )
        for suite, reference in asked
    }
    used = {name for choice in choices.values() for name in choice.suites} if choices else set(everything)
    suites = tuple(suite for name, suite in everything.items() if name in (used or list(everything)[:1]))
    kind = suites[0].reference.kind
    if len(suites) > 1 and (unmet := next((s.name for s in suites if s.reference.kind != "recorded"), None)):
        raise ConfigurationError(
            f"several suites are compared with recorded baselines alone, and there is none for {model.name} and the "
            f"suite {unmet}: record one with `qcheck baseline record {model.name} --suite {unmet} --provider …`, or "
            "leave that suite out."
        )
    if each == 1 and len(suites) > MOST_SUITES:
        raise ConfigurationError(
            f"the providers of one run are judged by {MOST_SUITES} suites at most, and these would be {len(suites)}: "
            "compare them in several runs, or name a --suite."
        )
    if kind == "none" and len(endpoints) < MIN_PROVIDERS:
        raise ConfigurationError(
            "there is no reference, and a single provider can then be compared with nothing: name a second provider, "
            f"or record a baseline with `qcheck baseline record {model.name} --provider …`."
        )
    pairs = len(endpoints) * (len(endpoints) - 1) // 2
    manifest = RunManifest(
        qcheck_version=__version__,
        run_id=run_id,
        created=created.astimezone(UTC).isoformat(timespec="seconds"),
        model=model.name,
        released_precision=model.released_precision,
        seed=settings.seed,
        alpha=settings.alpha,
        delta=sum(suite.envelope.delta for suite in suites if suite.envelope),
        tolerance=settings.tolerance,
        family=pairs if kind == "none" else len(endpoints),
        until=settings.until,
        fail_on=settings.fail_on,
        concurrency=settings.concurrency,
        dated=_dated(model, (*endpoints, *lives), [it.baseline for s, it in asked if it.baseline and s.name in used]),
        suites=suites,
        providers=tuple(_entry(e, offers.get(e.name), choices[e.name] if choices else None) for e in endpoints),
        limits=LimitsEntry(**to_plain(settings.limits)),
    )
    panels = {suite.name: everything[suite.name].panel(suite, reference.baseline) for suite, reference in asked}
    full = next((panel for panel in panels.values() if evidence_of(panel.suite) is LogprobEvidence), None)

    def with_costs(entry: ProviderEntry, endpoint: Endpoint) -> ProviderEntry:
        mine = [panels[name] for name in manifest.suites_of(entry)]
        said = withheld(endpoint, entry.offer, mine, full, manifest.rules, manifest.seed)
        return entry.model_copy(update={"withheld": said})

    providers = tuple(map(with_costs, manifest.providers, endpoints))
    return manifest.model_copy(update={"providers": providers})


def _check_texts(suites: Sequence[Suite], endpoints: Sequence[Endpoint]) -> None:
    """Raise ConfigurationError where an endpoint's texts would differ from the recorded ones, however honest it is."""
    for suite, endpoint in product(suites, endpoints):
        if why := mismatch(endpoint, suite):
            raise ConfigurationError(
                f"{endpoint.name} cannot be judged by the suite {suite.name}, by its "
                f"{evidence_of(suite).name.replace('_', ' ')}: {why}; leave it out, or choose another --suite."
            )


def budget_of(
    manifest: RunManifest,
    endpoints: Sequence[Endpoint],
    before: Iterable[Attempt] = (),
    spent_s: float = 0.0,
    limits: Limits | None = None,
) -> Budget:
    """What may be spent on the endpoints of a run, `spent_s` of whose deadline went on what was asked `before`.

    limits: what the user allows now, the manifest's if None.
    """
    return Budget(
        (limits or manifest.budget_limits()).after(spent_s),
        {e.name: Price(e.price.input, e.price.output) for e in manifest.everyone if e.price},
        before,
        plans=[e.name for e in manifest.everyone if e.plan],
        min_tokens={e.name: e.dialect.min_tokens for e in endpoints},
    )


def start_run(folder: RunFolder, manifest: RunManifest) -> None:
    """Write the manifest into a new run folder."""
    folder.write_manifest(manifest.model_dump(mode="json"))


@contextlib.asynccontextmanager
async def clients(
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    concurrency: int,
    nameless: Mapping[str, str] = MappingProxyType({}),
    answered: Collection[str] = (),
) -> AsyncIterator[dict[str, Asker]]:
    """One HTTP client per endpoint, by name; those that use one account share its limits.

    nameless: by endpoint, why its model cannot be named. answered: who has answered a request before.
    """
    limiters = Limiters()
    async with contextlib.AsyncExitStack() as stack:

        async def client(endpoint: Endpoint) -> Client:
            key = keys.get(endpoint.name)
            asker = Client(
                endpoint,
                key,
                concurrency=concurrency,
                limiter=limiters.of(endpoint.base_url, key),
                nameless=nameless.get(endpoint.name),
                answered=endpoint.name in answered,
            )
            return await stack.enter_async_context(asker)

        yield {e.name: await client(e) for e in endpoints}


async def compare(
    folder: RunFolder,
    manifest: RunManifest,
    panels: Sequence[Panel],
    endpoints: Sequence[Endpoint],
    askers: Mapping[str, Asker],
    *,
    spent_s: float = 0.0,
    limits: Limits | None = None,
    on_moment: Callable[[Moment], None] = lambda _: None,
) -> Result:
    """Ask until every provider is decided or its limits are reached; resumes where the folder's journal ends.

    `panels` are the manifest's suites, loaded, and `endpoints` all whom it asks anything, resolved. `spent_s` are
    seconds that discovery has taken of the deadline. `limits` take the place of the manifest's: as the evidence may be
    looked at whenever one likes, one may also ask on. Writes `result.json` and returns it.
    """
    fold = make_fold(manifest, panels)
    by_name = {e.name: e for e in endpoints}
    plan = plan_of(manifest, panels)
    items = {(item.provider, item.seq): item for item in plan}
    probes = {
        (name, probe.id): (panel.suite, probe)
        for name, suites in ((entry.name, manifest.suites_of(entry)) for entry in manifest.planned)
        for panel in panels
        if panel.suite.name in suites
        for probe in panel.suite.fold("evaluation")
    }

    def request_for(item: PlanItem) -> Request:
        endpoint, (suite, probe) = by_name[item.provider], probes[item.provider, item.probe_id]
        # A provider that is judged by its text may refuse a request for more.
        most = endpoint.dialect.top_logprobs_max if "logprobs" in suite.manifest.observes else 0
        return suite.request(probe, endpoint.temperature, most)

    def scored_with(answer: Attempt) -> dict[str, Request]:
        requests = {}
        for name in due_scores(answer, fold.scorers):
            endpoint, (suite, probe) = by_name[name], probes[answer.provider, answer.probe_id]
            text = text_to_score(answer.response) if answer.response else ""
            requests[name] = suite.score(probe, text, endpoint.temperature, endpoint.dialect.top_logprobs_max)
        return requests

    def ask_again(name: str) -> tuple[int, dict[str, Request]] | None:
        for seq in fold.asks_again(name):
            again = items[name, seq]
            return seq, {by: request_for(replace(again, provider=by)) for by in fold.asked_again(name)}
        return None

    stops: dict[str, str] = {}
    with Journal.open(folder.journal) as journal:
        before = read_journal(folder.journal)
        check_order(before, plan)
        events = execute(
            plan,
            askers,
            request_for,
            journal,
            answered=resumable(settled_requests(before)),
            budget=budget_of(manifest, endpoints, before, spent_s, limits),
            should_stop=fold.should_stop,
            scored_with=scored_with,
            ask_again=ask_again,
            scores=settled_scores(a for a in before if a.outcome == "answered"),
            concurrency=manifest.concurrency,
            doubtful={a.provider for a in before if a.fatal} - {a.provider for a in before if a.response},
            together=any(panel.baseline is None and not panel.references for panel in panels),
        )
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, Settled):
                    fold.settle(event.attempt, event.scores)
                elif isinstance(event, AskedAgain):
                    fold.settle_again(event.provider, event.attempts)
                elif isinstance(event, Stopped):
                    stops[event.provider] = event.reason
                    fold.end(event.provider)
                _tell(event, fold, on_moment)
                await asyncio.sleep(0)
    result = make_result(manifest, panels, read_journal(folder.journal), stops)
    folder.write_result(pretty(result_to_json(result)).encode())
    return result


def _tell(event: Event, fold: RunFold, on_moment: Callable[[Moment], None]) -> None:
    name = event.provider if isinstance(event, Stopped | AskedAgain) else event.attempt.provider
    provider = fold.providers.get(name)
    if provider is None:
        on_moment(Moment(event, name, 0.0, "reference"))
        return
    claims = provider.claims(has_reference=fold.has_reference)
    on_moment(Moment(event, name, claims.log_e, decide(claims, fold.rules).verdict))
