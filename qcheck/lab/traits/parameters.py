"""Traits that do something else with the parameters of a request than it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from qcheck.lab.traits.trait import Exchange, Forward, Reply, Trait, error_body
from qcheck.lab.traits.values import number, whole, words

__all__ = ["Ignore", "MaxTokens", "MinTokens", "Reject", "Temperature", "token_limit"]

PARAMETERS: Final = (
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "max_tokens", "max_completion_tokens", "logprobs",
    "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "tools", "tool_choice", "response_format",
    "chat_template_kwargs", "n",
)  # fmt: skip
_MEANINGLESS_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {"logprobs": ("top_logprobs",)}
_LIMITS: Final = ("max_completion_tokens", "max_tokens")  # the first that is given holds


def token_limit(exchange: Exchange) -> int | None:
    """The most tokens that the request allows the answer; a limit below 1 is none."""
    return next((limit for name in _LIMITS if (limit := exchange.body.get(name) or 0) > 0), None)


def _limited(exchange: Exchange, limit: int) -> Exchange:
    return exchange.without(*_LIMITS).with_body(max_tokens=limit)


@dataclass(frozen=True, slots=True)
class Reject(Trait):
    """A request with one of these parameters is refused with HTTP 400, which names it."""

    name: ClassVar = "reject"
    example: ClassVar = "reject=logprobs+seed"
    value: ClassVar = words(PARAMETERS)
    parameters: tuple[str, ...]

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """A refusal, or what `forward` gives."""
        for name in self.parameters:
            if _is_set(exchange.body.get(name)):
                return Reply(400, error_body(400, f"{name} is not supported with this model")).by(self.name)
        return await forward(exchange)


def _is_set(value: Any) -> bool:
    return value is not None and value is not False


@dataclass(frozen=True, slots=True)
class Ignore(Trait):
    """These parameters are dropped without a word."""

    name: ClassVar = "ignore"
    example: ClassVar = "ignore=temperature+seed"
    value: ClassVar = words(PARAMETERS)
    parameters: tuple[str, ...]

    def _ask(self, exchange: Exchange) -> Exchange:
        along = (other for name in self.parameters for other in _MEANINGLESS_WITHOUT.get(name, ()))
        return exchange.without(*self.parameters, *along)


@dataclass(frozen=True, slots=True)
class Temperature(Trait):
    """This temperature is used, whatever the request says."""

    name: ClassVar = "temperature"
    example: ClassVar = "temperature=0.6"
    value: ClassVar = number(0, 100)
    temperature: float

    def _ask(self, exchange: Exchange) -> Exchange:
        return exchange.with_body(temperature=self.temperature)


@dataclass(frozen=True, slots=True)
class MaxTokens(Trait):
    """Answers end after so many tokens, whatever the request says."""

    name: ClassVar = "max_tokens"
    example: ClassVar = "max_tokens=64"
    value: ClassVar = whole(1, 1_000_000)
    most: int

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """What `forward` gives under the limit; marked where it was the limit that ended the answer."""
        limit = token_limit(exchange)
        if limit is not None and limit <= self.most:
            return await forward(exchange)
        reply = await forward(_limited(exchange, self.most))
        return reply.by(self.name) if any(c["finish_reason"] == "length" for c in reply.choices) else reply


@dataclass(frozen=True, slots=True)
class MinTokens(Trait):
    """A smaller max_tokens is raised to this number."""

    name: ClassVar = "min_tokens"
    example: ClassVar = "min_tokens=16"
    value: ClassVar = whole(1, 1_000_000)
    least: int

    def _ask(self, exchange: Exchange) -> Exchange:
        limit = token_limit(exchange)
        return exchange if limit is None or limit >= self.least else _limited(exchange, self.least)
