"""What a run finds out about its endpoints before it is promised: a part of `qcheck.jobs.check`, in a few requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from qcheck.client.limits import Limiters
from qcheck.jobs.inquiry import FOLLOW_UPS, EndOfInquiry, Inquiry, unknown, worst_cases_usd
from qcheck.jobs.known import KnownOffer, hopeless, known_offer, with_offer
from qcheck.jobs.seen import TOP, Trial, listed
from qcheck.jobs.thinking import fewest_requests, find_way, in_words, most_requests, sought, still_acts, to_confirm
from qcheck.records import Attempt
from qcheck.registry.types import Endpoint
from qcheck.run.budget import Budget

__all__ = ["MOST_S", "Discovery", "Found", "Texts", "discover", "name_models", "planned"]

# Whose texts may be judged: nobody's, those of endpoints that give no log-probabilities, everybody's.
Texts = Literal["unused", "instead", "judged"]

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
    """What it takes to find out what an endpoint offers: requests, and US dollars at most (None: unknown).

    thinking: how its model is kept from thinking, as far as that is known, in words; None where nothing is to be said.
    """

    fewest: int
    most: int
    cost_usd: float | None
    thinking: str | None = None


def planned(endpoint: Endpoint, offer: KnownOffer | None, texts: Texts = "unused") -> Discovery:
    """What `discover` will ask of an endpoint."""
    named = endpoint.model_id is None and offer is None
    if hopeless(endpoint):
        return Discovery(int(named), int(named), 0.0)
    further = max(len(_further(endpoint, given, texts)) for given in (0, TOP))
    fewest, most = len(PLAIN) + fewest_requests(endpoint), len(PLAIN) + further + FOLLOW_UPS + most_requests(endpoint)
    if offer and _may_hold(offer, texts):
        least, at_most = to_confirm(endpoint, offer.thinking_off)
        fewest, most = 1 + least, most + 1 + at_most
    costs = worst_cases_usd(("greedy",), endpoint)
    cost_usd = None if costs is None else most * max(costs)
    return Discovery(fewest + named, most + named, cost_usd, in_words(endpoint, offer))


def _may_hold(offer: KnownOffer, texts: Texts) -> bool:
    """Whether one request for lists can tell that an offer of before still holds, and it says all that matters.

    That nothing is given, and how texts are decoded where nothing is, no single request confirms.
    """
    if not offer.listed:
        return False
    return texts != "judged" or offer.temperature is not None or offer.greedy is not None


def _further(endpoint: Endpoint, given: int, texts: Texts, greedy: bool | None = None) -> tuple[Trial, ...]:
    """What else decides how an endpoint is judged that gives so many log-probabilities a position.

    greedy: whether it is seen to decode greedily, None where nothing shows it yet.
    """
    if given and endpoint.temperature:
        return RAW
    judged = texts == "judged" or (texts == "instead" and not given)
    return TEXT if judged and endpoint.temperature == 0 and greedy is None else ()


async def discover(
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    offers: Mapping[str, KnownOffer],
    budget: Budget,
    on_attempt: Callable[[Attempt], None],
    *,
    texts: Texts = "unused",
    seq: int = -1,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Found, ...]:
    """What each endpoint offers, all of them asked at once; every attempt is handed to `on_attempt`, charged.

    `offers` were found earlier, by name: one request tells whether they still hold, and of a model that may think one
    or two more; where they do not all is asked anew. texts: whose texts may be judged, so that it matters how they are
    decoded. seq: the number of the first request to each, from which they fall. Whatever a provider does is data; where
    it does not answer, or the budget or the time ends the inquiry, what it has shown until then counts.
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

        ends = asyncio.get_running_loop().time() + most_s
        return await _find(endpoint, offers.get(endpoint.name), inquiry, seq, ends, texts)

    return tuple(await asyncio.gather(*map(one, endpoints)))


async def _find(
    endpoint: Endpoint,
    offer: KnownOffer | None,
    inquiry: Callable[[Endpoint, int], Inquiry],
    seq: int,
    ends: float,
    texts: Texts,
) -> Found:
    """What `endpoint` offers, as far as it shows until the event loop's time `ends`."""
    if hopeless(endpoint):
        asking = inquiry(endpoint, seq)
        with contextlib.suppress(EndOfInquiry, TimeoutError):
            async with asyncio.timeout_at(ends):
                await asking.name_model()
        return Found(asking.endpoint, None)
    if offer and _may_hold(offer, texts):
        known = with_offer(endpoint, offer)
        asking = inquiry(known, seq)
        try:
            async with asyncio.timeout_at(ends):
                if await _still_holds(asking, offer, endpoint):
                    return Found(known, offer)
        except TimeoutError:
            return Found(endpoint, None)
        seq = asking.seq
    stated = {name: getattr(endpoint.dialect, name) for name in endpoint.dialect.stated}
    start = unknown(endpoint)
    asking = inquiry(replace(start, dialect=replace(start.dialect, **stated)), seq)
    found = datetime.now(UTC)
    with contextlib.suppress(EndOfInquiry, TimeoutError):  # what was shown until then counts
        async with asyncio.timeout_at(ends):
            await asking.name_model()
            if sought(endpoint):
                await find_way(asking)
            if not hopeless(asking.endpoint):
                await asking.ask(PLAIN)
                as_found = replace(asking.endpoint, temperature=asking.temperature)
                seen = known_offer(asking, found)
                given, greedy = listed(asking.trials["greedy"]), seen.greedy if seen else None
                await asking.ask(_further(as_found, given, texts, greedy))
    shown = known_offer(asking, found)
    dialect = replace(endpoint.dialect, thinking_off=asking.endpoint.dialect.thinking_off)
    return Found(with_offer(replace(endpoint, model_id=asking.endpoint.model_id, dialect=dialect), shown), shown)


async def _still_holds(asking: Inquiry, offer: KnownOffer, resolved: Endpoint) -> bool:
    """Whether an endpoint takes the request that it took, lists as many tokens as it listed, and does not think.

    A thought without tags has words and lists like an answer: a question shows it. resolved: the endpoint as registry
    and user have it.
    """
    try:
        seen = await asking.ask_as_known("greedy")
        if seen.response is None or listed(seen) != offer.listed:
            return False
        return not sought(resolved) or await still_acts(asking, resolved.dialect.thinking_off)
    except EndOfInquiry:
        return False


async def name_models(
    endpoints: Sequence[Endpoint],
    keys: Mapping[str, str | None],
    budget: Budget,
    on_attempt: Callable[[Attempt], None],
    seq: int,
) -> tuple[Endpoint, ...]:
    """The endpoints with the model id that `/models` tells where nobody named one; None stays where it cannot be had.

    seq: the number of the request to each.
    """

    async def one(endpoint: Endpoint) -> Endpoint:
        asking = Inquiry(
            endpoint,
            keys.get(endpoint.name),
            budget,
            seq=seq,
            timeout_s=TIMEOUT_S,
            on_attempt=on_attempt,
        )
        with contextlib.suppress(EndOfInquiry, TimeoutError):
            async with asyncio.timeout(MOST_S):
                await asking.name_model()
        return asking.endpoint

    return tuple(await asyncio.gather(*map(one, endpoints)))
