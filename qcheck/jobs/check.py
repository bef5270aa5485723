"""Find out what an endpoint offers, with a few cheap requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from qcheck import __version__
from qcheck.jobs.inquiry import ALL, FOLLOW_UPS, TIMEOUT_S, EndOfInquiry, Inquiry, unknown, worst_cases_usd
from qcheck.jobs.known import KnownOffer, hopeless, known_offer
from qcheck.jobs.offer import Capability, capabilities, settings
from qcheck.jobs.seen import Seen, Trial
from qcheck.jobs.thinking import Doubts, fewest_requests, find_way, kept_from_thinking, most_requests, sought
from qcheck.records import Attempt
from qcheck.registry.types import Endpoint
from qcheck.run.budget import Budget, Limits, check_prices

__all__ = ["Offer", "Tokens", "check", "planned"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in and out, as far as usage tells."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What an endpoint was found to offer.

    checked: when, UTC. stopped: what ended the check before everything was asked, `reason` in words. settings: what
    qcheck.toml should say of it. requests: exchanges. cost_usd: at most; None where the price is unknown.
    """

    schema_version: int
    qcheck_version: str
    provider: str
    endpoint: str
    model: str
    model_id: str | None
    checked: str
    stopped: Literal["unavailable", "budget"] | None
    reason: str | None
    capabilities: tuple[Capability, ...]
    settings: Mapping[str, int | bool | str]
    requests: int
    tokens: Tokens
    cost_usd: float | None


def planned(endpoint: Endpoint) -> tuple[int, int, float | None]:
    """The usual number of requests, the most there can be, and US dollars that these cost at most (None: unknown)."""
    costs, always = worst_cases_usd(ALL, endpoint), len(ALL) + (endpoint.model_id is None)
    further = most_requests(endpoint) + FOLLOW_UPS
    cost_usd = None if costs is None else sum(costs) + further * max(costs)
    return always + fewest_requests(endpoint), always + further, cost_usd


async def check(
    model: str,
    endpoint: Endpoint,
    key: str | None,
    limits: Limits,
    *,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_seen: Callable[[Trial, Seen], None] = lambda trial, seen: None,
    on_known: Callable[[KnownOffer], None] = lambda _: None,
) -> Offer:
    """Ask `endpoint` one thing after another, and say what its answers show.

    Whatever the provider does is data. Raises ConfigurationError alone, for what nothing can be sent through and for a
    budget without a price. `on_seen` is told how each request ended, `on_known` what later runs may rely on.
    """
    check_prices(limits, [endpoint])
    checked = datetime.now(UTC)
    budget = Budget(limits, {endpoint.name: endpoint.price} if endpoint.price else {})
    attempts: list[Attempt] = []
    asking = Inquiry(
        unknown(endpoint), key, budget, timeout_s=timeout_s, sleep=sleep, on_attempt=attempts.append, on_seen=on_seen
    )
    end, doubts = None, Doubts()
    try:
        await asking.name_model()
        if sought(endpoint):
            doubts = await find_way(asking)
        thinks = hopeless(asking.endpoint)
        if thinks:
            asking.tell(None)  # what it offers all the same is asked as it is
        await asking.ask(ALL)
        if not thinks and (known := known_offer(asking, checked)):
            on_known(known)
    except EndOfInquiry as early:
        end = early
    found = capabilities(asking.trials)
    if sought(endpoint):
        found += (kept_from_thinking(doubts, asking.way),)
    answers = [a.response for a in attempts if a.response]
    charges = [a.charged_usd for a in attempts]
    return Offer(
        schema_version=1,
        qcheck_version=__version__,
        provider=endpoint.name,
        endpoint=endpoint.display,
        model=model,
        model_id=asking.endpoint.model_id,
        checked=checked.isoformat(timespec="seconds"),
        stopped=end.stopped if end else None,
        reason=end.reason if end else None,
        capabilities=found,
        settings=settings(found, endpoint.dialect) | asking.learned(endpoint.dialect),
        requests=sum(a.sent for a in attempts),
        tokens=Tokens(sum(r.prompt_tokens or 0 for r in answers), sum(r.completion_tokens or 0 for r in answers)),
        cost_usd=None if None in charges else sum(c for c in charges if c is not None),
    )
