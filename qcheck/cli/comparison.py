"""How the commands that compare put their job together: prepare a new run or reopen one, then conduct it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from qcheck.cli.environment import Environment, keys_for
from qcheck.cli.interrupts import run_async
from qcheck.cli.messages import Messages
from qcheck.cli.progress import follow
from qcheck.errors import ConfigurationError
from qcheck.jobs.compare import Settings, clients, compare, discover, make_manifest, manner_of, start_run
from qcheck.jobs.estimate import Estimate, estimate
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.panel import Panel
from qcheck.jobs.reference import choose_references
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import Endpoint
from qcheck.report import console
from qcheck.report import json as json_report
from qcheck.report.plan import cannot_reject, in_short
from qcheck.result import Result
from qcheck.run.budget import PLAN_REQUESTS
from qcheck.run.folder import RunFolder, default_base, make_run_id
from qcheck.suites import load_suite
from qcheck.verdict import UNPINNED

__all__ = ["Prepared", "begin", "conduct", "prepare", "reopen", "show"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run of which nothing has been asked yet: what it promises, and everything needed to keep it.

    `keys` are by endpoint name, and none before the run begins.
    """

    manifest: RunManifest
    panels: tuple[Panel, ...]
    endpoints: tuple[Endpoint, ...]
    keys: dict[str, str | None] = field(default_factory=dict)

    def estimate(self, *, detectability: bool) -> Estimate:
        """What it will cost and, which takes seconds to simulate, could detect."""
        return estimate(self.manifest, self.panels, detectability=detectability)


def prepare(
    model_name: str,
    specs: Sequence[str],
    reference_option: str | None,
    suite_names: Sequence[str],
    settings: Settings,
    environment: Environment,
    messages: Messages,
) -> Prepared:
    """A new run. Checks model, suites, references and providers in this order; raises UsageError.

    Neither starts nor sends anything, and needs no key: those are read when the run begins.
    """
    settings.check()
    model = get_model(model_name)
    suites = [load_suite(name) for name in suite_names]
    resolvers = environment.resolvers
    references = choose_references(
        reference_option, model, suites, environment.baseline_roots, resolvers, environment.variables, specs
    )
    for reference in references:
        if reference.notice:
            messages.note(f"note: {reference.notice}")
    providers = resolve_all(specs, model, resolvers)
    everyone = (*providers, *(reference.live for reference in references if reference.live))
    now = datetime.now(UTC)
    run_id = make_run_id(now, secrets.token_hex(3))
    asked = list(zip(suites, references, strict=True))
    manifest = make_manifest(run_id, now, model, providers, asked, settings)
    if manifest.dated:
        messages.note(f"note: nobody can be found to deviate: {UNPINNED}")
    if settings.limits.max_requests is None and (plans := [e.name for e in manifest.everyone if e.plan]):
        messages.note(
            f"note: requests to {', '.join(plans)} cost nothing, as those that a plan pays for, so that at most "
            f"{PLAN_REQUESTS} are sent; --max-requests allows more"
        )
    panels = (used.panel(suite, it.baseline) for used, (suite, it) in zip(manifest.suites, asked, strict=True))
    return Prepared(manifest, tuple(panels), everyone)


def reopen(folder: RunFolder, environment: Environment) -> Prepared:
    """The run of a folder. Raises UsageError, also where a provider's word now leads elsewhere."""
    manifest = RunManifest.parse(folder.read_manifest())
    model = get_model(manifest.model)
    panels = manifest.load_panels()
    resolved = resolve_all([entry.spec for entry in manifest.everyone], model, environment.resolvers)
    keys = keys_for(resolved, environment.variables)
    endpoints = environment.started(resolved)
    told = {e.name: e.model_id for e in _discovered(endpoints, keys)}
    for entry, endpoint in zip(manifest.everyone, endpoints, strict=True):
        # None: nobody names a model now, or the run began without knowing it. The run's own client asks once more.
        model_id = endpoint.model_id or (told[endpoint.name] if entry.model_id else None)
        if endpoint.display != entry.display or model_id not in (None, entry.model_id):
            raise ConfigurationError(
                f"{entry.spec} now is {model_id or 'a model'} at {endpoint.display}, and was "
                f"{entry.model_id or 'a model'} at {entry.display} when the run began; start a new run."
            )
        if manner_of(endpoint) != entry.manner:
            raise ConfigurationError(
                f"{entry.spec} is asked in another way than when the run began (its temperature, date or dialect has "
                "changed in qcheck.toml or the registry); undo the change, or start a new run."
            )
    known = {entry.name: entry.model_id for entry in manifest.everyone}
    endpoints = tuple(replace(e, model_id=known[e.name]) for e in endpoints)
    return Prepared(manifest, panels, endpoints, keys)


def _discovered(endpoints: Sequence[Endpoint], keys: dict[str, str | None]) -> tuple[Endpoint, ...]:
    return run_async(discover(endpoints, keys), "no probe was sent yet; give the same command again")


def begin(base: Path, prepared: Prepared, environment: Environment, messages: Messages) -> tuple[RunFolder, Prepared]:
    """Read the keys, say in short what will be done, start local engines, and make the new run's folder.

    Gives the run with the keys and with what only the endpoints could tell: the ids of models that nobody named.
    """
    keys = keys_for(prepared.endpoints, environment.variables)
    plan = prepared.estimate(detectability=False)
    messages.note(f"plan: {in_short(plan)}; seed {prepared.manifest.seed}")
    if warning := cannot_reject(plan):
        messages.note(f"warning: {warning}")
    endpoints = _discovered(environment.started(prepared.endpoints), keys)
    manifest = prepared.manifest.with_model_ids({e.name: e.model_id for e in endpoints})
    folder = RunFolder.create(base, manifest.run_id)
    start_run(folder, manifest)
    messages.detail(f"run folder: {folder.path}")
    return folder, replace(prepared, manifest=manifest, endpoints=endpoints, keys=keys)


def conduct(folder: RunFolder, prepared: Prepared, messages: Messages) -> Result:
    """Ask until everybody is decided, or go on where the run was interrupted. Raises Interrupted."""
    manifest = prepared.manifest

    async def ask() -> Result:
        async with clients(prepared.endpoints, prepared.keys, manifest.concurrency) as askers:
            with follow(manifest, messages) as on_moment:
                return await compare(folder, manifest, prepared.panels, prepared.endpoints, askers, on_moment=on_moment)

    return run_async(ask(), f"`qcheck resume {_word_for(folder)}` goes on (only answers in flight were lost)")


def show(result: Result, folder: RunFolder, messages: Messages, json_target: str | None) -> None:
    """The result as a table, and as JSON where that is wanted; on the standard output one of them alone."""
    if json_target != json_report.STDOUT:
        messages.sheet(console.render(result, messages.paper(), _word_for(folder)))
    if json_target is not None:
        json_report.write(result, json_target, messages.sheet)


def _word_for(folder: RunFolder) -> str:
    """The shortest word that finds the run again."""
    return folder.run_id if folder.path.parent == default_base() else str(folder.path)
