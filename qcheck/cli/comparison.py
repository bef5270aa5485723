"""How the commands that compare put their job together: prepare a new run or reopen one, then conduct it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qcheck.baselines import Baseline
from qcheck.cli.environment import Environment, keys_for
from qcheck.cli.interrupts import run_async
from qcheck.cli.messages import Messages
from qcheck.cli.progress import follow
from qcheck.errors import ConfigurationError
from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.estimate import Estimate, estimate
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.reference import choose_reference
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import Endpoint
from qcheck.report import console
from qcheck.report import json as json_report
from qcheck.report.plan import cannot_reject, in_short
from qcheck.result import Result
from qcheck.run.folder import RunFolder, default_base, make_run_id
from qcheck.suites import Suite, load_suite

__all__ = ["Prepared", "begin", "conduct", "prepare", "reopen", "show"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run of which nothing has been sent yet: what it promises, and everything needed to keep it."""

    manifest: RunManifest
    suite: Suite
    baseline: Baseline | None
    endpoints: tuple[Endpoint, ...]
    keys: dict[str, str | None]

    def estimate(self, *, detectability: bool) -> Estimate:
        """What it will cost and, which takes seconds to simulate, could detect."""
        return estimate(self.manifest, self.suite, self.baseline, detectability=detectability)


def prepare(
    model_name: str,
    specs: Sequence[str],
    reference_option: str | None,
    suite_name: str,
    settings: Settings,
    environment: Environment,
    messages: Messages,
) -> Prepared:
    """A new run. Checks model, suite, reference, providers and keys in this order; raises UsageError."""
    settings.check()
    model = get_model(model_name)
    suite = load_suite(suite_name)
    variables, resolvers = environment.variables, environment.resolvers
    reference = choose_reference(
        reference_option, model, suite, environment.baseline_roots, resolvers, environment.variables, specs
    )
    if reference.notice:
        messages.note(f"note: {reference.notice}")
    providers = resolve_all(specs, model, resolvers)
    everyone = (*providers, *([reference.live] if reference.live else []))
    keys = keys_for(everyone, variables)
    now = datetime.now(UTC)
    run_id = make_run_id(now, secrets.token_hex(3))
    manifest = make_manifest(run_id, now, model, providers, suite, reference, settings)
    return Prepared(manifest, suite, reference.baseline, everyone, keys)


def reopen(folder: RunFolder, environment: Environment) -> Prepared:
    """The run of a folder. Raises UsageError, also where a provider's word now leads elsewhere."""
    manifest = RunManifest.parse(folder.read_manifest())
    model = get_model(manifest.model)
    suite, baseline = manifest.load_suite(), manifest.load_baseline()
    endpoints = resolve_all([entry.spec for entry in manifest.everyone], model, environment.resolvers)
    for entry, endpoint in zip(manifest.everyone, endpoints, strict=True):
        if (endpoint.display, endpoint.model_id) != (entry.display, entry.model_id):
            raise ConfigurationError(
                f"{entry.spec} now is {endpoint.model_id or 'a model'} at {endpoint.display}, and was "
                f"{entry.model_id or 'a model'} at {entry.display} when the run began; start a new run."
            )
    return Prepared(manifest, suite, baseline, endpoints, keys_for(endpoints, environment.variables))


def begin(base: Path, prepared: Prepared, messages: Messages) -> RunFolder:
    """Make the new run's folder and say in short what will be done."""
    plan = prepared.estimate(detectability=False)
    messages.note(f"plan: {in_short(plan)}; seed {prepared.manifest.seed}")
    if warning := cannot_reject(plan):
        messages.note(f"warning: {warning}")
    folder = RunFolder.create(base, prepared.manifest.run_id)
    start_run(folder, prepared.manifest)
    messages.detail(f"run folder: {folder.path}")
    return folder


def conduct(folder: RunFolder, prepared: Prepared, messages: Messages) -> Result:
    """Ask until everybody is decided, or go on where the run was interrupted. Raises Interrupted."""
    manifest = prepared.manifest

    async def ask() -> Result:
        async with clients(prepared.endpoints, prepared.keys, manifest.concurrency) as askers:
            with follow(manifest, messages) as on_moment:
                return await compare(
                    folder,
                    manifest,
                    prepared.suite,
                    prepared.baseline,
                    prepared.endpoints,
                    askers,
                    on_moment=on_moment,
                )

    return run_async(ask(), f"`qcheck resume {_word_for(folder)}` goes on (only answers in flight were lost)")


def show(result: Result, folder: RunFolder, messages: Messages, json_target: str | None) -> None:
    """The result as a table, and as JSON where that is wanted; on the standard output one of them alone."""
    if json_target != json_report.STDOUT:
        messages.result(console.render(result, messages.paper(), _word_for(folder)))
    if json_target is not None:
        json_report.write(result, json_target, messages.result)


def _word_for(folder: RunFolder) -> str:
    """The shortest word that finds the run again."""
    return folder.run_id if folder.path.parent == default_base() else str(folder.path)
