"""How the commands that compare put their job together: prepare a new run or reopen one, then conduct it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from qcheck.cli.environment import Environment, keys_for
from qcheck.cli.interrupts import run_async
from qcheck.cli.messages import Messages
from qcheck.cli.progress import follow
from qcheck.errors import ConfigurationError, StorageError
from qcheck.jobs.compare import Settings, budget_of, clients, compare, manner_of, start_run
from qcheck.jobs.discover import Found, discover, name_models
from qcheck.jobs.estimate import Estimate, estimate
from qcheck.jobs.inquiry import MODELS, Inquiry
from qcheck.jobs.known import KnownOffer, recall, remember, with_offer
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.panel import Panel
from qcheck.jobs.promise import Question, may_be_asked
from qcheck.jobs.question import QuestionEntry
from qcheck.jobs.reference import choose_references
from qcheck.jobs.rehearsal import rehearse
from qcheck.jobs.thinking import off_by, sought
from qcheck.records import Attempt
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import UNTOLD, Endpoint
from qcheck.report import console
from qcheck.report import json as json_report
from qcheck.report.plan import cannot_reject, in_short
from qcheck.result import Result
from qcheck.run.budget import PLAN_REQUESTS, Limits, check_prices
from qcheck.run.folder import RunFolder, default_base, make_run_id
from qcheck.run.journal import Journal, read_journal
from qcheck.suites import load_suite
from qcheck.verdict import UNPINNED

__all__ = ["Prepared", "Ready", "begin", "conduct", "prepare", "reopen", "seed_of", "show"]

DEFAULT_SUITE = "logprobs"
A_NEW_RUN = "this run does not ask for its model's name again: start a new one, or say model_id in qcheck.toml"
UNNAMED = "nothing told which model it serves: say so with model_id in qcheck.toml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run of which nothing has been asked yet: what is wanted, what is known of the endpoints, and what follows.

    found: of everyone in the question, in that order.
    """

    question: Question
    found: tuple[Found, ...]
    manifest: RunManifest
    panels: tuple[Panel, ...]

    def estimate(self, *, detectability: bool) -> Estimate:
        """What it will cost and, which takes seconds to simulate, could detect."""
        discovery = self.question.discovery(self.found)
        return estimate(self.manifest, self.panels, discovery, detectability=detectability)


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that has promised, and everything needed to keep it.

    endpoints: the providers and a live reference, as they are asked. keys: by endpoint name. spent_s: seconds of the
    deadline that are over. answered: who has answered while it was found out what they offer.
    """

    manifest: RunManifest
    panels: tuple[Panel, ...]
    endpoints: tuple[Endpoint, ...]
    keys: Mapping[str, str | None]
    spent_s: float = 0.0
    answered: frozenset[str] = frozenset()


def prepare(
    model_name: str,
    specs: Sequence[str],
    reference_option: str | None,
    variant_option: str | None,
    suite_names: Sequence[str] | None,
    settings: Settings,
    environment: Environment,
    messages: Messages,
) -> Prepared:
    """A new run. Checks model, suites, references and providers in this order; raises UsageError.

    Without names of suites each provider is judged by the strongest observable that it offers. Neither starts nor sends
    anything, and needs no key: those are read when the run begins.
    """
    settings.check()
    model = get_model(model_name)
    suites = [load_suite(name) for name in suite_names or [DEFAULT_SUITE]]
    resolvers, roots = environment.resolvers, environment.baseline_roots
    references = choose_references(
        reference_option, model, suites, roots, resolvers, environment.variables, specs, variant_option
    )
    for reference in references:
        if reference.notice:
            messages.note(f"note: {reference.notice}")
    providers = resolve_all(specs, model, resolvers)
    now = datetime.now(UTC)
    asked = tuple(zip(suites, references, strict=True))
    if suite_names is None and reference_option is None:
        asked = may_be_asked(asked[0], model, roots)
    run_id = make_run_id(now, secrets.token_hex(3))
    return _prepared(Question(run_id, now, model, providers, asked, suite_names is None, settings), messages)


def _prepared(question: Question, messages: Messages) -> Prepared:
    """What is known now of everyone in a question, and what follows. Raises UsageError."""
    now = datetime.now(UTC)
    found = tuple(_as_known(e, recall(e, question.model.name, now)) for e in question.everyone)
    manifest = question.promise(found, presume=True)
    if manifest.dated:
        messages.note(f"note: nobody can be found to deviate: {UNPINNED}")
    if question.settings.limits.max_requests is None and (plans := [e.name for e in manifest.everyone if e.plan]):
        messages.note(
            f"note: requests to {', '.join(plans)} cost nothing, as those that a plan pays for, so that at most "
            f"{PLAN_REQUESTS} are sent; --max-requests allows more"
        )
    return Prepared(question, found, manifest, manifest.load_panels())


def _as_known(endpoint: Endpoint, offer: KnownOffer | None) -> Found:
    return Found(with_offer(endpoint, offer), offer)


def seed_of(folder: RunFolder) -> int:
    """The seed of a run. Raises RunFolderError."""
    if folder.promised:
        return RunManifest.parse(folder.read_manifest()).seed
    return QuestionEntry.parse(folder.read_question()).settings.seed


def reopen(folder: RunFolder, environment: Environment, messages: Messages) -> Ready:
    """The run of a folder. Raises UsageError, also where a provider's word now leads elsewhere.

    Where it was interrupted before it had promised, what the endpoints offer is found out anew; what was asked before
    counts.
    """
    if folder.promised:
        ready = _reopened(folder, environment)
        _tell_where_keys_go(ready.endpoints, ready.keys, messages)
        return ready
    question = QuestionEntry.parse(folder.read_question()).question(environment.resolvers)
    prepared = _prepared(question, messages)
    endpoints, keys = _opened(prepared, environment, messages)
    _tell_where_keys_go(endpoints, keys, messages)
    return _promised(folder, prepared, endpoints, keys, messages)


def _tell_where_keys_go(endpoints: Sequence[Endpoint], keys: Mapping[str, str | None], messages: Messages) -> None:
    """Name the addresses that a run folder, which somebody else may have made, has keys sent to; --quiet or not."""
    for endpoint in endpoints:
        if "=" in endpoint.spec and keys.get(endpoint.name):
            say = messages.error if messages.quiet else messages.note
            say(f"note: this run sends the key in {endpoint.key_env} to {endpoint.base_url}")


def _reopened(folder: RunFolder, environment: Environment) -> Ready:
    manifest = RunManifest.parse(folder.read_manifest())
    model = get_model(manifest.model)
    panels = manifest.load_panels()
    resolved = resolve_all([entry.spec for entry in manifest.everyone], model, environment.resolvers)
    keys = keys_for(resolved, environment.variables)
    endpoints = environment.started(resolved)
    # None: nobody names a model now, or the run began without knowing it, and asks nothing of it.
    unnamed = [e for e, entry in zip(endpoints, manifest.everyone, strict=True) if entry.model_id and not e.model_id]
    told = {e.name: e.model_id for e in _named(folder, manifest, unnamed, keys)} if unnamed else {}
    asked = []
    for entry, endpoint in zip(manifest.everyone, endpoints, strict=True):
        model_id = endpoint.model_id or told.get(endpoint.name)
        if endpoint.display != entry.display or model_id not in (None, entry.model_id):
            raise ConfigurationError(
                f"{entry.spec} now is {model_id or 'a model'} at {endpoint.display}, and was "
                f"{entry.model_id or 'a model'} at {entry.display} when the run began; start a new run."
            )
        dialect = endpoint.dialect
        if sought(endpoint):  # and found, or not found, when the run began
            dialect = replace(dialect, thinking_off=entry.thinking_off)
        asked.append(with_offer(replace(endpoint, model_id=entry.model_id, dialect=dialect), entry.offer))
        if manner_of(asked[-1]) != entry.manner:
            raise ConfigurationError(
                f"{entry.spec} is asked in another way than when the run began (its temperature, date or dialect has "
                "changed in qcheck.toml or the registry); undo the change, or start a new run."
            )
    return Ready(manifest, panels, tuple(asked), keys)


def _named(
    folder: RunFolder, manifest: RunManifest, endpoints: Sequence[Endpoint], keys: Mapping[str, str | None]
) -> tuple[Endpoint, ...]:
    """The endpoints with the models that they list now; asking counts like all else."""

    async def named() -> tuple[Endpoint, ...]:
        with Journal.open(folder.journal) as journal:
            before = read_journal(folder.journal)
            budget = budget_of(manifest, endpoints, before)
            return await name_models(endpoints, keys, budget, journal.append, _next_seq(before))

    return run_async(named(), _how_to_go_on(folder))


def _next_seq(before: Sequence[Attempt]) -> int:
    """The number of the next request beside the plan to whomever; they fall."""
    return min((attempt.seq for attempt in before if attempt.discovery), default=0) - 1


def begin(base: Path, prepared: Prepared, environment: Environment, messages: Messages) -> tuple[RunFolder, Ready]:
    """Make the new run's folder, find out what the endpoints offer, and write down what the run promises.

    Before that it reads the keys, says in short what will be done, and starts local engines.
    """
    endpoints, keys = _opened(prepared, environment, messages)
    folder = RunFolder.create(base, prepared.question.run_id)
    folder.write_question(QuestionEntry.of(prepared.question).model_dump(mode="json"))
    messages.detail(f"run folder: {folder.path}")
    return folder, _promised(folder, prepared, endpoints, keys, messages)


def _opened(
    prepared: Prepared, environment: Environment, messages: Messages
) -> tuple[tuple[Endpoint, ...], dict[str, str | None]]:
    """Everyone in the question, ready to be asked, and their keys."""
    question = prepared.question
    keys = keys_for(question.everyone, environment.variables)
    plan = prepared.estimate(detectability=False)
    messages.note(f"plan: {in_short(plan)}; seed {question.settings.seed}")
    if warning := cannot_reject(plan):
        messages.note(f"warning: {warning}")
    endpoints = environment.started(question.everyone)
    asyncio.run(_open(endpoints, keys))
    return endpoints, keys


def _promised(
    folder: RunFolder,
    prepared: Prepared,
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    messages: Messages,
) -> Ready:
    """The run once it is found out what the endpoints offer, and what follows is promised."""
    question, planned, began = prepared.question, prepared.manifest, time.monotonic()
    found, unfit = _found(folder, prepared, endpoints, keys)
    for endpoint, before, now in zip(question.everyone, prepared.found, found, strict=True):
        if now.offer and now.offer != before.offer:
            with contextlib.suppress(StorageError):  # it is asked again next time
                remember(endpoint, question.model.name, now.offer)
        way = now.endpoint.dialect.thinking_off
        if way and way not in UNTOLD and way != before.endpoint.dialect.thinking_off:
            messages.note(f"{endpoint.name}: thinking is {off_by(way)}, as was found out")
    manifest = question.promise(found, unfit=unfit)
    start_run(folder, manifest)
    for entry, expected in zip(manifest.providers, planned.providers, strict=True):
        if why := manifest.unasked(entry):
            messages.note(f"{entry.name} is asked nothing: {why}")
        elif manifest.suites_of(entry) != planned.suites_of(expected):
            messages.note(f"{entry.name} is asked the suite {', '.join(manifest.suites_of(entry))}")
    asked = tuple(it.endpoint for it in found)
    answered = frozenset(it.endpoint.name for it in found if it.offer)
    return Ready(manifest, manifest.load_panels(), asked, keys, time.monotonic() - began, answered)


async def _open(endpoints: Sequence[Endpoint], keys: Mapping[str, str | None]) -> None:
    """Raise ConfigurationError where nothing can be sent through."""
    async with clients(endpoints, keys, 1):
        pass


def _found(
    folder: RunFolder, prepared: Prepared, endpoints: Sequence[Endpoint], keys: Mapping[str, str | None]
) -> tuple[tuple[Found, ...], str | None]:
    """What everyone offers, and why those who are to score texts cannot, if so.

    That is tried out where a promise without it would have anybody judged.
    """
    question, began = prepared.question, time.monotonic()
    offers = {it.endpoint.name: it.offer for it in prepared.found if it.offer}

    async def found() -> tuple[tuple[Found, ...], str | None]:
        with Journal.open(folder.journal) as journal:
            before = read_journal(folder.journal)
            budget, seq = budget_of(prepared.manifest, endpoints, before), _next_seq(before)
            offered = await discover(endpoints, keys, offers, budget, journal.append, texts=question.texts, seq=seq)
            manifest = question.promise(offered) if question.scorers else None
            if manifest is None or all(map(manifest.unasked, manifest.providers)):
                return offered, None
            seq, as_found = _next_seq(read_journal(folder.journal)), {it.endpoint.name: it.endpoint for it in offered}
            for suite, scorer in question.scorers:
                endpoint, key = as_found[scorer.name], keys.get(scorer.name)
                asking = Inquiry(endpoint, key, budget, seq=seq, on_attempt=journal.append)
                left_s = budget.limits.after(time.monotonic() - began).deadline_s
                if why := await rehearse(asking, suite, left_s):
                    return offered, f"because of {scorer.name}: {why}"
            return offered, None

    return run_async(found(), f"no probe was sent yet; {_how_to_go_on(folder)}")


def _how_to_go_on(folder: RunFolder) -> str:
    return f"`qcheck resume {_word_for(folder)}` goes on (only answers in flight were lost)"


def conduct(folder: RunFolder, ready: Ready, messages: Messages, limits: Limits | None = None) -> Result:
    """Ask until everybody is decided, or go on where the run was interrupted. Raises Interrupted.

    limits: where they say something, in the place of those that the run was begun with.
    """
    manifest, endpoints = ready.manifest, ready.endpoints
    allowed = (limits or Limits()).over(manifest.budget_limits())
    check_prices(allowed, endpoints)

    async def ask() -> Result:
        nameless = _nameless(folder, endpoints)
        async with clients(endpoints, ready.keys, manifest.concurrency, nameless, ready.answered) as askers:
            with follow(manifest, messages) as on_moment:
                return await compare(
                    folder,
                    manifest,
                    ready.panels,
                    endpoints,
                    askers,
                    spent_s=ready.spent_s,
                    limits=allowed,
                    on_moment=on_moment,
                )

    return run_async(ask(), _how_to_go_on(folder))


def _nameless(folder: RunFolder, endpoints: Sequence[Endpoint]) -> dict[str, str]:
    """Why no model could be named, by endpoint without one: it was asked for one, and is not asked again."""
    unnamed = dict.fromkeys((e.name for e in endpoints if not e.model_id), UNNAMED)
    said = (a for a in (read_journal(folder.journal) if unnamed else ()) if a.discovery and a.probe_id == MODELS)
    return unnamed | {a.provider: f"{a.error}; {A_NEW_RUN}" for a in said if a.error and a.provider in unnamed}


def show(result: Result, folder: RunFolder, messages: Messages, json_target: str | None) -> None:
    """The result as a table, and as JSON where that is wanted; on the standard output one of them alone."""
    try:
        if json_target is not None:
            json_report.write(result, json_target, messages.sheet)
        if json_target != json_report.STDOUT:
            messages.sheet(console.render(result, messages.paper(), _word_for(folder)))
    except StorageError as error:
        again = f"`qcheck verify {_word_for(folder)} --json FILE`"
        raise StorageError(f"{error} Nothing is lost: {again} writes the result without asking anybody.") from error


def _word_for(folder: RunFolder) -> str:
    """The shortest word that finds the run again."""
    return folder.run_id if folder.path.parent == default_base() else str(folder.path)
