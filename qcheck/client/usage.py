"""What an answer used and cost, in the places where providers say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from qcheck.client.fields import MalformedError, as_amount, as_count, as_object

__all__ = ["Usage", "usage_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens, and US dollars; None where nothing is said.

    prompt includes cached, completion includes reasoning.
    """

    prompt: int | None
    completion: int | None
    cached: int | None
    reasoning: int | None
    cost_usd: float | None


def usage_of(body: dict[str, Any], choice: dict[str, Any]) -> Usage:
    """The usage of an answer: beside the choices, inside the choice (Moonshot's streams), or in `x_groq` (Groq's).

    Raises MalformedError.
    """
    elsewhere = as_object(body.get("x_groq"), "x_groq")
    usage = as_object(body.get("usage") or choice.get("usage") or elsewhere.get("usage"), "usage")
    prompt = as_object(usage.get("prompt_tokens_details"), "usage.prompt_tokens_details")
    completion = as_object(usage.get("completion_tokens_details"), "usage.completion_tokens_details")
    # OpenAI's place, Moonshot's, DeepSeek's.
    cached = (prompt.get("cached_tokens"), usage.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"))
    return Usage(
        prompt=as_count(usage.get("prompt_tokens"), "usage.prompt_tokens"),
        completion=as_count(usage.get("completion_tokens"), "usage.completion_tokens"),
        cached=_if_usable(as_count, next((n for n in cached if n is not None), None)),
        reasoning=as_count(completion.get("reasoning_tokens"), "the number of reasoning tokens"),
        cost_usd=_if_usable(as_amount, usage.get("cost")),
    )


def _if_usable(read: Callable[[Any, str], T | None], value: Any) -> T | None:
    """What no verdict rests on, None where it has a form that nobody knows."""
    try:
        return read(value, "")
    except MalformedError:
        return None
