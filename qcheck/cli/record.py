"""`qcheck baseline record`: record a deployment as a reference, or as a known deviation."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qcheck.cli.options import (
    AllowHttp,
    Budget,
    Concurrency,
    Deadline,
    DryRun,
    EnvFile,
    MaxRequests,
    duration_s,
    examples,
    messages_of,
    positive_usd,
)
from qcheck.errors import BaselineError, ConfigurationError

if TYPE_CHECKING:
    from qcheck.cli.messages import Messages
    from qcheck.jobs.discover import Discovery
    from qcheck.jobs.record import Recording
    from qcheck.registry.types import Endpoint, ModelProfile
    from qcheck.suites import Suite

__all__ = ["EPILOG", "record"]

EPILOG = examples(
    "qcheck baseline record kimi-k2.6 --provider moonshot --dry-run",
    'qcheck baseline record kimi-k2.6 --provider mine=http://127.0.0.1:8000/v1 --description "vLLM 0.11, H200, INT4"',
    "qcheck baseline record lab-tiny --provider lab/q4_k_m --variant --out ./baselines/lab-tiny",
    "",
    "Record at least three deployments that you trust (engines, settings). Two give an envelope; from three on it also",
    "knows the direction in which a recorded variant deviates, which shows 8-bit formats and names the cause.",
)
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
NOTES_PER_RECORDING = 10


def record(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model that is served.")],
    provider: Annotated[str, typer.Option(metavar="PROVIDER", help="Whom to record; as in `qcheck compare`.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The deployment's name.", show_default="from the provider")
    ] = None,
    variant: Annotated[
        bool, typer.Option("--variant", help="This is a known deviation (another format or model), no reference.")
    ] = False,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="Engine, version, precision, hardware, settings.", show_default=False)
    ] = "",
    provenance: Annotated[
        Literal["self-hosted", "first-party", "third-party"] | None,
        typer.Option(help="Who runs it.", show_default="self-hosted on this machine, else by the model's profile"),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, metavar="K", help="How often each evaluation probe is asked.")
    ] = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The baseline's folder.", show_default="./baselines/MODEL")
    ] = None,
    suite: Annotated[str, typer.Option(metavar="NAME", help="The probes: a shipped suite or a folder.")] = "logprobs",
    concurrency: Concurrency = 4,
    budget: Budget = None,
    max_requests: MaxRequests = None,
    deadline: Deadline = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    allow_http: AllowHttp = False,
) -> None:
    """Record a deployment into a baseline and calibrate the envelope anew.

    Interrupted, it goes on where it stopped when the same command is given again.
    """
    from qcheck.cli.environment import keys_for, open_environment  # --help must not load numpy
    from qcheck.jobs.discover import planned
    from qcheck.jobs.record import Recording, check
    from qcheck.jobs.reference import provenance_of
    from qcheck.registry.loader import get_model
    from qcheck.registry.resolve import resolve_all
    from qcheck.run.budget import Limits, check_plans, check_prices
    from qcheck.suites import load_suite

    messages = messages_of(context)
    profile, asked = get_model(model), load_suite(suite)
    if asked.scored:
        raise ConfigurationError(
            f"nothing is recorded for the suite {asked.name}, whose texts live deployments score: `qcheck compare` "
            "names them with --reference live:NAME."
        )
    probes = asked.recorded
    limits = Limits(max_requests, positive_usd(budget), duration_s(deadline, "--deadline"))
    with open_environment(messages, env_file, allow_http=allow_http) as environment:
        (endpoint,) = resolve_all([provider], profile, environment.resolvers)
        check_prices(limits, [endpoint])
        what = Recording(
            folder=out or Path("baselines") / profile.name,
            name=_name(name, endpoint),
            description=description or endpoint.display,
            role="variant" if variant else "reference",
            provenance=provenance or provenance_of(endpoint, profile),
            repeats=repeats,
            concurrency=concurrency,
            limits=limits,
        )
        check(what, profile, probes, endpoint)
        discovery = planned(endpoint, None)
        plan, needed = _plan(what, probes, endpoint, discovery), what.requests(probes) + discovery.most
        if dry_run:
            messages.result(plan)
            return
        check_plans(limits, [endpoint], needed)
        keys = keys_for([endpoint], environment.variables)
        messages.note(plan)
        (endpoint,) = environment.started([endpoint])
        _record(what, profile, probes, endpoint, keys, messages)


def _name(name: str | None, endpoint: Endpoint) -> str:
    from qcheck.lab.catalog import PREFIX

    chosen = name or endpoint.name.removeprefix(PREFIX).replace("/", "-")
    if not NAME.fullmatch(chosen):
        raise ConfigurationError("--name is of lower-case letters, digits, dots, dashes and underscores.")
    return chosen


def _plan(what: Recording, suite: Suite, endpoint: Endpoint, discovery: Discovery) -> str:
    """What the recording will ask and cost, in one line."""
    from qcheck.jobs.estimate import SECONDS_PER_REQUEST
    from qcheck.jobs.inquiry import LONG
    from qcheck.report.plan import in_dollars
    from qcheck.run.budget import worst_case_usd

    requests, least = what.requests(suite), endpoint.dialect.min_tokens
    asked = ((p, suite.request(p, endpoint.temperature, endpoint.dialect.top_logprobs_max)) for p in suite.probes)
    dollars = sum(what.times(p) * (worst_case_usd(request, endpoint.price, least) or 0.0) for p, request in asked)
    dollars += discovery.cost_usd or 0.0
    tokens = requests * max(suite.manifest.max_tokens, least) + discovery.most * max(LONG, least)
    total = requests + discovery.most
    minutes = total * SECONDS_PER_REQUEST / what.concurrency / 60
    limit = what.limits.max_requests
    ends = f"; --max-requests {limit} may end it before it is complete: the same command with more goes on from there"
    few = ends if limit is not None and limit < total else ""
    return (
        f"plan: at most {total} requests to {endpoint.name} ({endpoint.display}) as the {what.provenance} {what.role} "
        f"{what.name} in {what.folder}, up to {discovery.most} of them to find out what it offers, at most {tokens} "
        f"output tokens, {in_dollars({endpoint.name: dollars if endpoint.price else None})}, "
        f"about {max(1, round(minutes))} min{few}"
    )


def _record(
    what: Recording,
    model: ModelProfile,
    suite: Suite,
    endpoint: Endpoint,
    keys: dict[str, str | None],
    messages: Messages,
) -> None:
    from qcheck.cli.interrupts import run_async
    from qcheck.jobs.compare import clients
    from qcheck.jobs.record import find_out, recalibrate, record
    from qcheck.jobs.thinking import off_by

    def tell(done: int, total: int) -> None:
        if done % max(1, total // NOTES_PER_RECORDING) == 0:
            messages.note(f"{done} of {total} requests done")

    async def ask() -> None:
        began = time.monotonic()
        found = await find_out(what, model, suite, endpoint, keys[endpoint.name])
        way = found.dialect.thinking_off
        if way and way != endpoint.dialect.thinking_off:
            messages.note(f"{endpoint.name}: thinking is {off_by(way)}, as was found out")
        rest = replace(what, limits=what.limits.after(time.monotonic() - began))
        async with clients([found], keys, what.concurrency) as askers:
            await record(rest, model, suite, found, askers[endpoint.name], tell)

    run_async(ask(), "the answers are kept: give the same command again to go on")
    messages.note(f"recorded {what.name} in {what.folder}")
    try:
        calibrated = recalibrate(what.folder, suite, messages.detail)
    except BaselineError as error:  # no mistake of this command, and what was asked and paid for stays
        messages.note(f"no envelope: {error}")
        return
    if calibrated:
        messages.note(f"calibrated; `qcheck baseline show {what.folder}` says what it can see")
    else:
        messages.note(
            "no envelope yet: that takes two reference deployments that compute differently; record another one into "
            "the same folder"
        )
