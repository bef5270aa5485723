"""Traits that change what the model is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, Final

from qcheck.lab.catalog import MODELS
from qcheck.lab.traits.trait import Exchange, Forward, Reply, Trait
from qcheck.lab.traits.values import TEXT, one_of, whole

__all__ = ["Clock", "DropReasoning", "System", "Template", "Tools", "with_date"]

_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details")
_THOUGHTS: Final = re.compile(r"<think>.*?</think>\s*", re.DOTALL)
_DATE: Final = "%d %b %Y"  # as the lab's chat template writes it
_DAY_S: Final = 86_400


def _template_values(exchange: Exchange) -> Mapping[str, Any]:
    """What the request gives to the chat template."""
    return exchange.body.get("chat_template_kwargs") or {}


def _with_template_values(exchange: Exchange, **values: str) -> Exchange:
    """`values` put over those that the client gives to the chat template; a plain completion has no template."""
    if exchange.endpoint == "completions":
        return exchange
    return exchange.with_body(chat_template_kwargs={**_template_values(exchange), **values})


def with_date(exchange: Exchange) -> Exchange:
    """With the date on the provider's clock, for a model whose template renders one, unless the client gives it."""
    if "date_string" in _template_values(exchange) or not MODELS[exchange.body["model"]].template.get("dated"):
        return exchange
    return _with_template_values(exchange, date_string=exchange.time.strftime(_DATE))


@dataclass(frozen=True, slots=True)
class DropReasoning(Trait):
    """The reasoning in earlier turns of the assistant is dropped."""

    name: ClassVar = "drop_reasoning"
    example: ClassVar = "drop_reasoning"

    def _ask(self, exchange: Exchange) -> Exchange:
        if exchange.endpoint == "completions":
            return exchange
        return exchange.with_body(messages=[_without_reasoning(m) for m in exchange.body["messages"]])


def _without_reasoning(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if message.get("role") != "assistant":
        return message
    kept = {name: value for name, value in message.items() if name not in _REASONING}
    content = kept.get("content")
    return {**kept, "content": _THOUGHTS.sub("", content)} if isinstance(content, str) else kept


@dataclass(frozen=True, slots=True)
class System(Trait):
    """A hidden system prompt is put before the messages."""

    name: ClassVar = "system"
    example: ClassVar = "system=You+are+a+helpful+assistant"
    value: ClassVar = TEXT
    text: str

    def _ask(self, exchange: Exchange) -> Exchange:
        if exchange.endpoint == "completions":
            return exchange
        hidden = {"role": "system", "content": self.text}
        return exchange.with_body(messages=[hidden, *exchange.body["messages"]])


@dataclass(frozen=True, slots=True)
class Template(Trait):
    """Another chat template."""

    name: ClassVar = "template"
    example: ClassVar = "template=alternate"
    value: ClassVar = one_of("alternate")
    style: str

    def _ask(self, exchange: Exchange) -> Exchange:
        return _with_template_values(exchange, style=self.style)


@dataclass(frozen=True, slots=True)
class Tools(Trait):
    """Tools are declared to the model as JSON, not as TypeScript."""

    name: ClassVar = "tools"
    example: ClassVar = "tools=json"
    value: ClassVar = one_of("json")
    style: str

    def _ask(self, exchange: Exchange) -> Exchange:
        return _with_template_values(exchange, tools_style=self.style) if exchange.body.get("tools") else exchange


@dataclass(frozen=True, slots=True)
class Clock(Trait):
    """The provider's clock is wrong by so many seconds: the date in the prompt, and what `hours` sees."""

    name: ClassVar = "clock"
    example: ClassVar = "clock=+86400"
    value: ClassVar = whole(-10_000 * _DAY_S, 10_000 * _DAY_S)
    seconds: int

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """What `forward` gives at another time; marked where the model sees another date."""
        moved = replace(exchange, time=exchange.time + timedelta(seconds=self.seconds))
        reply = await forward(moved)
        return reply.by(self.name) if with_date(moved).body != with_date(exchange).body else reply
