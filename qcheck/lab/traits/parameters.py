"""Traits that do something else with the parameters of a request than it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from qcheck.lab.traits.trait import Exchange, Forward, Reply, Trait, error_body
from qcheck.lab.traits.values import number, whole, words

__all__ = ["Ignore", "MaxTokens", "MinTokens", "Reject", "Temperature"]

PARAMETERS: Final = (
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "max_tokens", "max_completion_tokens", "logprobs",
    "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "tools", "tool_choice", "response_format",
    "chat_template_kwargs", "n",
)  # fmt: skip
_MEANINGLESS_WITHOUT: Final[Mapping[str, tuple[str, ...]]] = {"logprobs": ("top_logprobs",)}
_LIMITS: Final = ("max_tokens", "max_completion_tokens")


def _limits(exchange: Exchange) -> dict[str, int]:
    """The limits on the tokens of the answer that the request gives."""
    return {name: exchange.body[name] for name in _LIMITS if isinstance(exchange.body.get(name), int)}


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

    def _ask(self, exchange: Exchange) -> Exchange:
        limits = _limits(exchange) or {"max_tokens": self.most}
        return exchange.with_body(**{name: min(limit, self.most) for name, limit in limits.items()})


@dataclass(frozen=True, slots=True)
class MinTokens(Trait):
    """A smaller max_tokens is raised to this number."""

    name: ClassVar = "min_tokens"
    example: ClassVar = "min_tokens=16"
    value: ClassVar = whole(1, 1_000_000)
    least: int

    def _ask(self, exchange: Exchange) -> Exchange:
        return exchange.with_body(**{name: max(limit, self.least) for name, limit in _limits(exchange).items()})
