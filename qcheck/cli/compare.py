"""`qcheck compare`: the main job."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Literal

import typer

from qcheck.cli.options import (
    AllowHttp,
    Budget,
    Concurrency,
    Deadline,
    DryRun,
    EnvFile,
    FailOn,
    Json,
    MaxRequests,
    Seed,
    duration_s,
    examples,
    messages_of,
    positive_usd,
    split,
)

__all__ = ["EPILOG", "compare", "random_seed"]

EPILOG = examples(
    "qcheck compare kimi-k2.6 --providers openrouter/novita,openrouter/parasail --dry-run",
    "qcheck compare kimi-k2.6 --providers openrouter/novita/fp8,deepinfra --budget 1.00",
    "qcheck compare lab-tiny --providers mine=http://127.0.0.1:8080/v1 --json result.json",
    "qcheck compare lab-tiny --providers lab/honest-b,lab/q4_k_m --seed 7 --until deviates",
    "qcheck compare lab-tiny --providers mine=http://127.0.0.1:8080/v1 --suite logprobs,lab-answers",
    "qcheck compare lab-tiny --providers lab/q4_0 --suite scored --reference live:lab/honest-torch-f32 "
    "--variant live:lab/int4-bf16",
    "",
    "Exit codes: 0 all consistent, 1 some provider deviates, 2 wrong usage, 3 undecided, 4 failed, 130 interrupted.",
)


def random_seed() -> int:
    """The seed of a run that was given none."""
    return secrets.randbits(32)


def compare(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An open-weight model, such as kimi-k2.6.")],
    providers: Annotated[
        str,
        typer.Option(
            metavar="A,B,…",
            help="Whom to ask: a name of `qcheck providers list`, an aggregator with an upstream "
            "(openrouter/novita, openrouter/novita/fp8), or NAME=https://host/v1.",
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="A baseline's name or folder (several: A,B, each for the suite it was recorded with), live:PROVIDER "
            "(several where they score texts), or none.",
            show_default="a fitting baseline, else the first party live, else none",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="live:NAME,…",
            help="Live deployments that score texts, too, and are looked for there: a quantised one of your own, say.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…",
            help="The probes: shipped suites or folders. Several are asked in turn and judged together.",
            show_default="for each provider what shows most of it: log-probabilities, else recorded texts",
        ),
    ] = None,
    budget: Budget = None,
    max_requests: MaxRequests = None,
    deadline: Deadline = None,
    alpha: Annotated[float, typer.Option(metavar="P", help="Error probability of each kind of claim.")] = 0.01,
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", help="The share of deviating requests that `consistent` still allows.")
    ] = 0.05,
    seed: Seed = None,
    concurrency: Concurrency = 4,
    dry_run: DryRun = False,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where runs are kept.", show_default="the user's data folder")
    ] = None,
    until: Annotated[
        Literal["deviates", "consistent", "either"], typer.Option(help="What a provider is asked until.")
    ] = "either",
    fail_on: FailOn = "inconclusive",
    json: Json = None,
    env_file: EnvFile = None,
    allow_http: AllowHttp = False,
) -> int:
    """Ask providers the same probes and say who serves the model that was released.

    Every answer is compared with a reference. A provider *deviates* when its answers cannot come from the reference
    deployments, at a stated error rate; it is *consistent* when at most a stated share of its requests may deviate.
    """
    from qcheck.cli.comparison import begin, conduct, prepare, show  # --help must not load numpy
    from qcheck.cli.environment import open_environment
    from qcheck.jobs.compare import Settings
    from qcheck.report.json import check_target
    from qcheck.report.plan import full
    from qcheck.run.budget import Limits
    from qcheck.run.folder import RunFolder, default_base

    messages = messages_of(context)
    specs, suites = split(providers), None if suite is None else split(suite, "--suite", "qcheck suite list")
    limits = Limits(max_requests, positive_usd(budget), duration_s(deadline, "--deadline"))
    check_target(json, dry_run=dry_run)
    base = (run_dir or default_base()).resolve()
    RunFolder.check_base(base)
    chosen = Settings(random_seed() if seed is None else seed, alpha, tolerance, until, fail_on, concurrency, limits)
    with open_environment(messages, env_file, chosen.seed, allow_http=allow_http) as environment:
        prepared = prepare(model, specs, reference, variant, suites, chosen, environment, messages)
        if dry_run:
            messages.sheet(full(prepared.estimate(detectability=True), messages.paper()))
            return 0
        folder, ready = begin(base, prepared, environment, messages)
        result = conduct(folder, ready, messages)
    show(result, folder, messages, json)
    return result.exit_code
