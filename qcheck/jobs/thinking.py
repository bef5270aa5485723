"""How a thinking model is kept from thinking at an endpoint: found out with two questions that it is to answer at once.

A wrong answer to this would have thoughts compared with answers, and an honest provider accused. So a way is found only
where both answers are complete and nothing speaks for a thought before them, shown or hidden; else none is.
"""

from __future__ import annotations

import asyncio
import re
from math import prod
from typing import Final, get_args

from qcheck.jobs.inquiry import LONG, EndOfInquiry, Inquiry
from qcheck.jobs.known import KnownOffer, hopeless, with_offer
from qcheck.jobs.offer import Capability
from qcheck.jobs.seen import FACTORS, NUMBERS, Seen
from qcheck.registry.types import BEGUN, UNTOLD, Endpoint, ThinkingSwitch, Untold

__all__ = [
    "Doubts",
    "fewest_requests",
    "find_way",
    "in_words",
    "kept_from_thinking",
    "most_requests",
    "off_by",
    "sought",
    "still_acts",
    "to_confirm",
]

# What is believed to be honoured most often comes first, what changes the prompt last.
_SWITCHES: Final[tuple[ThinkingSwitch, ...]] = (
    "chat_template_kwargs", "enable_thinking", "thinking.type", "reasoning", "reasoning_effort",
)  # fmt: skip
_WRITTEN: Final[tuple[ThinkingSwitch, ...]] = ("partial", "prefix", "continue_final_message", "completions")
_ASKED: Final = 3  # requests a way: two questions, and one more where its temperature is refused
_AGAIN: Final = 2  # more in all, for a limit of tokens that is refused
_MOST_ASKED: Final = 4  # requests a way where both are refused at first
_SPARE_TOKENS: Final = 8  # beyond one a byte of the answer: what ends a turn, and an empty thought, are counted by some
_BEGINNING: Final = "4 8 15"

# By way what speaks against it, in words; None where nothing does.
Doubts = dict[ThinkingSwitch, str | None]


def sought(endpoint: Endpoint) -> bool:
    """Whether the way is found out at `endpoint`: it serves a model that may think, and the user has stated none."""
    dialect = endpoint.dialect
    return dialect.thinking_off not in (None, "never") and "thinking_off" not in dialect.stated


def _ways(endpoint: Endpoint) -> tuple[ThinkingSwitch, ...]:
    """The ways in the order in which they are tried: what is said of the endpoint, nothing at all, all others."""
    said: list[ThinkingSwitch] = [way for way in get_args(ThinkingSwitch) if way == endpoint.dialect.thinking_off]
    return tuple(dict.fromkeys((*said, "none", *_SWITCHES, *(_WRITTEN if endpoint.prompt_format else ()))))


def fewest_requests(endpoint: Endpoint) -> int:
    """How many requests `find_way` sends where the first way that it tries is one."""
    if not sought(endpoint):
        return 0
    return 2 if endpoint.dialect.thinking_off in UNTOLD else 1


def most_requests(endpoint: Endpoint) -> int:
    """How many requests `find_way` sends at most."""
    return _ASKED * len(_ways(endpoint)) + _AGAIN if sought(endpoint) else 0


def to_confirm(endpoint: Endpoint, found: ThinkingSwitch | None) -> tuple[int, int]:
    """How many requests `still_acts` sends at least and at most, where the way `found` was found before."""
    if not sought(endpoint):
        return 0, 0
    return 1, 1 + (found in (None, endpoint.dialect.thinking_off))


async def still_acts(asking: Inquiry, said: ThinkingSwitch | Untold | None) -> bool:
    """Whether the way in which the endpoint is asked, found before, keeps the model from thinking now.

    said: what the registry says, which stands where the model explains the product instead. Raises EndOfInquiry.
    """
    way = asking.endpoint.dialect.thinking_off
    seen = await asking.ask_as_known("product")
    if way == said and _is_cut(seen):
        return await _thought_of_line(asking, way) is None
    return _thought_of_product(seen) is None


async def find_way(asking: Inquiry) -> Doubts:
    """Have the model kept from thinking in the first way that is seen to act; "not found" if none is.

    What the registry says of the endpoint stands unless an answer speaks for a thought. Without a way the question
    shows whether the model thinks at all if nothing is said: where it does not, nothing needs to be. Raises
    EndOfInquiry; the way is "unknown" then, unless nothing speaks against what was said.
    """
    said, doubts = asking.endpoint.dialect.thinking_off, Doubts()
    try:
        await _try_ways(asking, doubts)
    except (EndOfInquiry, asyncio.CancelledError):
        asking.tell("unknown" if any(doubts.values()) else said)
        raise
    return doubts


async def _try_ways(asking: Inquiry, doubts: Doubts) -> None:
    said, lowest = asking.endpoint.dialect.thinking_off, asking.seq - most_requests(asking.endpoint)
    for way in _ways(asking.endpoint):
        if asking.seq - lowest < _MOST_ASKED:
            break
        asking.tell(way)
        seen = await asking.ask_to_answer("product")
        if way in (said, "none") and seen.response is None and not (seen.refused or seen.thought):
            raise EndOfInquiry("unavailable", seen.error)
        doubts[way] = _thought_of_product(seen)
        if way == said and _is_cut(seen) and await _thought_of_line(asking, way) is None:
            return  # it explains how to multiply, and does not think: a thought would be of the line, too
        if way != said and doubts[way] is None:
            doubts[way] = await _thought_of_line(asking, way)
        if doubts[way] is None:
            asking.way = way
            return
    asking.tell("not found")


def _thought_of_product(seen: Seen) -> str | None:
    """Why an answer to the first question may not have come at once, in words; None where it did."""
    doubt = _doubt(seen)
    if doubt is None and str(prod(FACTORS)) in _digits(seen):
        return "the product is right, which no model knows without a thought"
    return doubt


async def _thought_of_line(asking: Inquiry, way: ThinkingSwitch | Untold | None) -> str | None:
    """The same of the second question, whose answer is begun if all are: a server that continues none begins anew."""
    begun = _BEGINNING if way in BEGUN else ""
    seen = await asking.ask_to_answer("line", begun)
    doubt = _doubt(seen)
    if doubt is None and begun and _digits(seen) != _only_digits(NUMBERS.removeprefix(begun)):
        return "the answer that is begun is not continued"
    return doubt


def _doubt(seen: Seen) -> str | None:
    """What in an answer to any question may be a thought, in words; None where nothing is."""
    response = seen.response
    if response is None:
        return "it thinks" if seen.thought else seen.error
    if _is_empty(seen):
        return "no word came, as of a thought that is hidden"
    if _is_cut(seen):
        return f"the answer did not end within {LONG} tokens, as that of a thought does not"
    said, counted = len(response.text.strip().encode()), response.completion_tokens or 0
    if counted > said + _SPARE_TOKENS:
        return f"{counted} tokens are counted for an answer of {said} bytes, as of a thought that is hidden"
    return None


def _is_empty(seen: Seen) -> bool:
    return seen.response is not None and not seen.response.text.strip()


def _is_cut(seen: Seen) -> bool:
    return seen.response is not None and not _is_empty(seen) and not seen.response.ended_by_itself


def _digits(seen: Seen) -> str:
    return _only_digits(seen.response.text) if seen.response else ""


def _only_digits(text: str) -> str:
    return re.sub(r"[^0-9]", "", text)


def in_words(endpoint: Endpoint, offer: KnownOffer | None) -> str | None:
    """How a model is kept from thinking at an endpoint, in words; None where it does not think, or nothing keeps it."""
    way = with_offer(endpoint, offer).dialect.thinking_off
    if way is None or hopeless(endpoint):
        return None
    if way == "unknown":
        return "how it is turned off is not known, and found out first; where it is not to be found, nothing is judged"
    by = off_by(way)
    if "thinking_off" in endpoint.dialect.stated:
        return f"{by}, as qcheck.toml says"
    return f"{by}, found {offer.day}" if offer and offer.thinking_off else f"{by}, as the registry has it"


def off_by(way: ThinkingSwitch | Untold) -> str:
    """A way in which thinking is turned off, in words."""
    return "off by itself" if way == "none" else f"off by {way}"


def kept_from_thinking(doubts: Doubts, way: ThinkingSwitch | None) -> Capability:
    """What was found of the ways that were tried, as a capability of the endpoint."""
    tried = (f"{_named(w)}: {doubt or 'it answers at once'}" for w, doubt in doubts.items())
    return Capability("thinking_off", "yes" if way else "unknown", "; ".join(tried) or "not asked", way)


def _named(way: ThinkingSwitch) -> str:
    return "told nothing" if way == "none" else way
