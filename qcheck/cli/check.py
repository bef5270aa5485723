"""`qcheck providers check`: what an endpoint offers, found out with a few cheap requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli.options import AllowHttp, Budget, DryRun, EnvFile, Json, examples, messages_of, positive_usd

if TYPE_CHECKING:
    from qcheck.registry.types import Endpoint

__all__ = ["EPILOG", "check"]

EPILOG = examples(
    "qcheck providers check lab/honest --model lab-tiny",
    "qcheck providers check openrouter/parasail --model kimi-k2.6 --dry-run",
    "qcheck providers check mine=https://host/v1 --model kimi-k2.6 --json offer.json",
)
UNAVAILABLE = 3


def check(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider, as in `qcheck compare`.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that it serves.")],
    json: Json = None,
    budget: Budget = None,
    dry_run: DryRun = False,
    env_file: EnvFile = None,
    allow_http: AllowHttp = False,
) -> int:
    """Find out what an endpoint offers: log-probabilities and how many, greedy decoding, seed, tools and more.

    A few requests of at most 32 tokens. What nothing shows is unknown; unknown is never taken for yes. Exit code 3
    where the endpoint is unavailable, or the budget does not allow to ask everything.
    """
    from qcheck.cli.environment import keys_for, open_environment  # --help must not load numpy
    from qcheck.cli.interrupts import run_async
    from qcheck.jobs import check as job
    from qcheck.jobs.known import remember
    from qcheck.registry.loader import get_model
    from qcheck.registry.resolve import resolve_all
    from qcheck.report.check import render
    from qcheck.report.json import STDOUT, check_target, write_value
    from qcheck.run.budget import Limits, check_prices

    messages = messages_of(context)
    profile, limits = get_model(model), Limits(budget_usd=positive_usd(budget))
    check_target(json, dry_run=dry_run)
    with open_environment(messages, env_file, allow_http=allow_http) as environment:
        (endpoint,) = resolve_all([name], profile, environment.resolvers)
        check_prices(limits, [endpoint])
        plan = _plan(endpoint)
        if dry_run:
            messages.result(plan)
            return 0
        key = keys_for([endpoint], environment.variables)[endpoint.name]
        messages.note(plan)
        (started,) = environment.started([endpoint])
        asked = job.check(
            profile.name,
            started,
            key,
            limits,
            on_seen=lambda trial, _: messages.detail(f"asked {trial}"),
            on_known=lambda offer: remember(endpoint, profile.name, offer),
        )
        offer = run_async(asked, "nothing is kept; give the same command again")
    if json is not None:
        write_value(offer, json, messages.sheet)
    if json != STDOUT:
        messages.sheet(render(offer, messages.paper()))
    return UNAVAILABLE if offer.stopped else 0


def _plan(endpoint: Endpoint) -> str:
    """What will be sent and what it costs, in one line."""
    from qcheck.jobs.check import planned
    from qcheck.jobs.inquiry import LONG
    from qcheck.report.plan import in_dollars

    usual, most, cost_usd = planned(endpoint)
    return (
        f"plan: {usual} requests of at most {LONG} tokens to {endpoint.name} ({endpoint.display}), up to "
        f"{most - usual} more where some are refused or fail, {in_dollars({endpoint.name: cost_usd})}"
    )
