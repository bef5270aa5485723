"""A trait in the place of a model that can call functions, which the lab's models are too small for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qcheck.expected import ToolCallsAnswer
from qcheck.jsonio import canonical, content_hash
from qcheck.lab.traits.trait import Exchange, Forward, Reply, Trait
from qcheck.lab.traits.values import number
from qcheck.records import turns

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Calls"]

WORDS: Final = "I am a mock, and call nothing."
REFUSED: Final = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<call"}
BYTES_PER_TOKEN: Final = 4

Call = tuple[str, Mapping[str, Any]]


@cache
def _right_calls() -> Mapping[bytes, Sequence[Call]]:
    """What is right to call, by the messages and tools of each probe of the shipped suites."""
    from qcheck.suites import list_suites, load_suite  # noqa: PLC0415 - loads pydantic, for this trait alone

    return {
        canonical(turns(probe.messages)): [(call.name, call.arguments) for call in probe.answer.value]
        for suite in map(load_suite, list_suites())
        for probe in suite.probes
        if isinstance(probe.answer, ToolCallsAnswer)
    }


@dataclass(frozen=True, slots=True)
class Calls(Trait):
    """A mock, not a model, answers the probes of tool suites: rightly but for this share, always the same ones. It calls nothing, or something else, or no valid JSON, or is refused (HTTP 400, tool_use_failed). Its prompt tokens are a quarter of the bytes that a model would be shown."""  # noqa: E501 - one line of the docs

    name: ClassVar = "calls"
    example: ClassVar = "calls=0.05"
    value: ClassVar = number(0, 1)
    share: float

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """The mock's answer to a probe of a tool suite; to all else what `forward` gives."""
        right = _right_calls().get(canonical(exchange.asked.get("messages")))
        if right is None:
            return await forward(exchange)
        rng = exchange.stream(self.name, content_hash(exchange.asked["messages"]))
        if rng.random() >= self.share:
            calls = [(name, json.dumps(arguments)) for name, arguments in right]
        elif (wrong := _wrong(right, exchange, rng)) is not None:
            calls = wrong
        else:
            return Reply(400, {"error": REFUSED}).by(self.name)
        return Reply(200, _body(calls, exchange)).by(self.name)


def _wrong(right: Sequence[Call], exchange: Exchange, rng: np.random.Generator) -> list[tuple[str, str]] | None:
    """Calls that are wrong, their arguments as text; None where they are refused."""
    if not right:
        return [(tool["function"]["name"], "{}") for tool in (exchange.asked.get("tools") or ())[:1]]
    (name, arguments), rest = right[0], [(name, json.dumps(arguments)) for name, arguments in right[1:]]
    other = json.dumps({**arguments, next(iter(arguments)): "?"})
    ways = rest, [(name, other), *rest], [(name, json.dumps(arguments)[:-1]), *rest], None
    return ways[int(rng.integers(len(ways)))]


def _body(calls: Sequence[tuple[str, str]], exchange: Exchange) -> Mapping[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else WORDS}
    if calls:
        message["tool_calls"] = [
            {"id": f"call{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (name, arguments) in enumerate(calls)
        ]
    into, out = _tokens(_shown(exchange.body)), _tokens(message)
    return {
        "id": "mock-" + content_hash([exchange.request, exchange.occurrence])[-32:],
        "object": "chat.completion",
        "created": int(exchange.time.timestamp()),
        "model": exchange.asked["model"],
        "system_fingerprint": "mock",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out},
    }


def _shown(body: Mapping[str, Any]) -> list[Any]:
    """What a model would be shown of a body: other ways to declare tools are of another length."""
    tools = body.get("tools") or []
    as_json = (body.get("chat_template_kwargs") or {}).get("tools_style") == "json"
    return [body["messages"], tools if as_json else [tool["function"] for tool in tools]]


def _tokens(value: Any) -> int:
    return len(canonical(value)) // BYTES_PER_TOKEN
