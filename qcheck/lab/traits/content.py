"""Traits that put another answer in the place of the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from qcheck.jsonio import content_hash
from qcheck.lab.traits.trait import Endpoint, Exchange, Forward, Reply, Trait
from qcheck.lab.traits.values import number

__all__ = ["Cache", "Filter"]

REFUSAL: Final = "I'm sorry, but I can't help with that."


@dataclass(slots=True)
class Cache(Trait):
    """An identical request gets the identical earlier answer, its prompt tokens counted as cached."""

    name: ClassVar = "cache"
    example: ClassVar = "cache"
    _replies: dict[tuple[Endpoint, str], Reply] = field(default_factory=dict, init=False)

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """An earlier answer, or what `forward` gives, which is kept where it is an answer."""
        place = exchange.endpoint, exchange.request
        if place in self._replies:
            return _cached(self._replies[place]).by(self.name)
        reply = await forward(exchange)
        if reply.choices:
            self._replies.setdefault(place, reply)
        return reply


def _cached(reply: Reply) -> Reply:
    assert isinstance(reply.body, Mapping)
    usage = reply.body["usage"]
    return reply.with_body(usage={**usage, "prompt_tokens_details": {"cached_tokens": usage["prompt_tokens"]}})


@dataclass(frozen=True, slots=True)
class Filter(Trait):
    """This share of all prompts, always the same ones, is refused as harmful (finish_reason content_filter)."""

    name: ClassVar = "filter"
    example: ClassVar = "filter=0.01"
    value: ClassVar = number(0, 1)
    share: float

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        prompt = exchange.asked.get("messages", exchange.asked.get("prompt"))
        if not reply.choices or exchange.stream(self.name, content_hash(prompt)).random() >= self.share:
            return reply
        assert isinstance(reply.body, Mapping)
        usage = {**reply.body["usage"], "completion_tokens": 0, "total_tokens": reply.body["usage"]["prompt_tokens"]}
        refusal = reply.with_body(choices=[_refused(choice) for choice in reply.choices], usage=usage)
        return replace(refusal, deployment=None)


def _refused(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    said = {"text": REFUSAL} if "text" in choice else {"message": {"role": "assistant", "content": REFUSAL}}
    return {"index": choice["index"], **said, "finish_reason": "content_filter"}
