"""What a run finds out about its endpoints before it is promised: a part of `qcheck.jobs.check`, in a few requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from qcheck.client.limits import Limiters
from qcheck.jobs.inquiry import FOLLOW_UPS, EndOfInquiry, Inquiry, unknown, worst_cases_usd
from qcheck.jobs.known import KnownOffer, hopeless, known_offer, with_offer
from qcheck.jobs.seen import TOP, Trial, listed
from qcheck.records import Attempt
from qcheck.registry.types import Endpoint
from qcheck.run.budget import Budget

__all__ = ["Discovery", "Found", "discover", "name_models", "planned"]

TIMEOUT_S: Final = 15.0  # the run itself tries harder
MOST_S: Final = 60.0  # for one endpoint, so that a slow one does not hold up the others
DEADLINE_SHARE: Final = 0.25  # at most so much of the run's deadline
PLAIN: Final[tuple[Trial, ...]] = ("plain", "greedy")
RAW: Final[tuple[Trial, ...]] = ("sample", "half")
TEXT: Final[tuple[Trial, ...]] = ("greedy_again", "sample")


@dataclass(frozen=True, slots=True)
class Found:
    """An endpoint as it is to be asked, and what that rests on: None where only registry and user are known."""

    endpoint: Endpoint
    offer: KnownOffer | None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What it takes to find out what an endpoint offers: requests, and US dollars at most (None: unknown)."""

    fewest: int
    most: int
    cost_usd: float | None


def planned(endpoint: Endpoint, offer: KnownOffer | None, *, texts: bool) -> Discovery:
    """What `discover` will ask of an endpoint."""
    if hopeless(endpoint):
        return Discovery(0, 0, 0.0)
    further = max(len(_further(endpoint, given, texts=texts)) for given in (0, TOP))
    named = endpoint.model_id is None and offer is None
    confirmed = offer is not None and offer.listed > 0
    fewest, most = 1 if confirmed else len(PLAIN), len(PLAIN) + further + FOLLOW_UPS + confirmed
    costs = worst_cases_usd(("greedy",), endpoint)
    return Discovery(fewest + named, most + named, None if costs is None else most * max(costs))


def _further(endpoint: Endpoint, given: int, *, texts: bool) -> tuple[Trial, ...]:
    """What else decides how an endpoint is judged that gives so many log-probabilities a position."""
    if given:
        return () if endpoint.temperature in (0, 1) else RAW
    return TEXT if texts and endpoint.temperature == 0 else ()


async def discover(
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    offers: Mapping[str, KnownOffer],
    budget: Budget,
    on_attempt: Callable[[Attempt], None],
    *,
    texts: bool,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Found, ...]:
    """What each endpoint offers, all of them asked at once; every attempt is handed to `on_attempt`, charged.

    `offers` were found earlier, by name: one request tells whether they still hold, and where they do not all is asked
    anew. texts: whether it matters how an endpoint that gives no log-probabilities decodes. Whatever a provider does is
    data; where it does not answer, or the budget or the time ends the inquiry, nothing is known of it.
    """
    limiters, deadline_s = Limiters(), budget.limits.deadline_s
    most_s = MOST_S if deadline_s is None else min(MOST_S, DEADLINE_SHARE * deadline_s)

    async def one(endpoint: Endpoint) -> Found:
        key = keys.get(endpoint.name)

        def inquiry(start: Endpoint, seq: int) -> Inquiry:
            return Inquiry(
                start,
                key,
                budget,
                temperature=start.temperature,
                top=min(TOP, start.dialect.top_logprobs_max),
                seq=seq,
                limiter=limiters.of(start.base_url, key),
                timeout_s=TIMEOUT_S,
                sleep=sleep,
                on_attempt=on_attempt,
            )

        try:
            async with asyncio.timeout(most_s):
                return await _find(endpoint, offers.get(endpoint.name), inquiry, texts=texts)
        except TimeoutError:
            return Found(endpoint, None)

    return tuple(await asyncio.gather(*map(one, endpoints)))


async def _find(
    endpoint: Endpoint, offer: KnownOffer | None, inquiry: Callable[[Endpoint, int], Inquiry], *, texts: bool
) -> Found:
    if hopeless(endpoint):
        return Found(endpoint, None)
    seq = -1
    if offer and offer.listed:  # that nothing is given, and how texts are decoded, no single request confirms
        known = with_offer(endpoint, offer)
        asking = inquiry(known, seq)
        if await _still_holds(asking, offer):
            return Found(known, offer)
        seq = asking.seq
    stated = {name: getattr(endpoint.dialect, name) for name in endpoint.dialect.stated}
    start = unknown(endpoint)
    asking = inquiry(replace(start, dialect=replace(start.dialect, **stated)), seq)
    found = datetime.now(UTC)
    with contextlib.suppress(EndOfInquiry):  # what was shown until then counts
        await asking.name_model()
        await asking.ask(PLAIN)
        as_found = replace(asking.endpoint, temperature=asking.temperature)
        await asking.ask(_further(as_found, listed(asking.trials["greedy"]), texts=texts))
    shown = known_offer(asking, found)
    return Found(with_offer(replace(endpoint, model_id=asking.endpoint.model_id), shown), shown)


async def _still_holds(asking: Inquiry, offer: KnownOffer) -> bool:
    """Whether an endpoint takes the request that it took, and lists as many tokens as it listed."""
    try:
        seen = await asking.ask_as_known("greedy")
    except EndOfInquiry:
        return False
    return seen.response is not None and listed(seen) == offer.listed


async def name_models(
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    budget: Budget,
    on_attempt: Callable[[Attempt], None],
    seqs: Mapping[str, int],
) -> tuple[Endpoint, ...]:
    """The endpoints with the model id that `/models` tells where nobody named one; None stays where it cannot be had.

    The requests are numbered from `seqs` downwards.
    """

    async def one(endpoint: Endpoint) -> Endpoint:
        asking = Inquiry(
            endpoint,
            keys.get(endpoint.name),
            budget,
            seq=seqs[endpoint.name],
            timeout_s=TIMEOUT_S,
            on_attempt=on_attempt,
        )
        with contextlib.suppress(EndOfInquiry, TimeoutError):
            async with asyncio.timeout(MOST_S):
                await asking.name_model()
        return asking.endpoint

    return tuple(await asyncio.gather(*map(one, endpoints)))
