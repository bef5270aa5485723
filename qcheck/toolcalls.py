"""Tool calls as they are judged: what is kept of an answer, and whether arguments fit a declared schema.

Schemas are JSON Schema (https://json-schema.org/draft/2020-12) with the few keywords that declarations of functions
need; suites have no others, so that nothing is taken for valid that was not checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qcheck.jsonio import canonical, loads
from qcheck.records import Response, Tool

__all__ = ["REFUSED", "Made", "MadeCall", "fits", "made_of", "read_made", "same"]

REFUSED: Final = "tool_use_failed"  # how an answer ends whose call the provider found invalid (Groq's word)
# A name as Kimi K2 writes it (`functions.NAME:0`), which some servers pass on; declared ones have no dot or colon.
_NAME: Final = re.compile(r"(?:functions\.)?([^.:]+)(?::\d+)?")
# How models write a call into their text, which some servers do not read out: Hermes and Qwen, Llama, Mistral, MiniMax,
# Kimi K2 and DeepSeek.
_UNREAD: Final = re.compile(
    r"</?(?:\w+:)?tool_calls?>|<function=|<invoke name=|\[TOOL_CALLS\]|<\|python_tag\|>"
    r"|<[|｜]tool[_▁]calls?[_▁]\w+[|｜]>",
    re.IGNORECASE,
)
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "object": dict,
    "array": list,
}


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that a model made. arguments: their JSON value; None where they are no JSON object."""

    name: str
    arguments: Mapping[str, Any] | None

    def fits(self, tools: Mapping[str, Tool]) -> bool:
        """Whether it calls one of the `tools`, by name, with arguments that its schema allows."""
        return self.arguments is not None and self.name in tools and fits(self.arguments, tools[self.name].parameters)


@dataclass(frozen=True, slots=True)
class Made:
    """What an answer does: the calls it makes, whether it says anything, and how it says to have ended.

    Words that stand for a call which the provider refused to pass on, or did not read out of the text, say nothing.
    """

    calls: tuple[MadeCall, ...]
    says: bool
    finish_reason: str | None


def made_of(response: Response) -> str:
    """What a suite of tool calls keeps of a response, as canonical JSON: calls in any order, and no text."""
    calls = sorted([_name(call.name), call.arguments] for call in response.tool_calls)
    says = bool(response.text.strip()) and response.finish_reason != REFUSED and not _UNREAD.search(response.text)
    kept = {"calls": calls, "says": says, "finish_reason": response.finish_reason}
    return canonical(kept).decode("utf-8", "surrogatepass")


def _name(passed_on: str) -> str:
    own = _NAME.fullmatch(passed_on)
    return own[1] if own else passed_on


def read_made(kept: str) -> Made:
    """The inverse of `made_of`. Raises ValueError for anything else."""
    match loads(kept):
        case {"calls": list(calls), "says": bool(says), "finish_reason": str() | None as reason} if all(
            isinstance(call, list) and [type(part) for part in call] == [str, str] for call in calls
        ):
            return Made(tuple(MadeCall(name, _arguments(text)) for name, text in calls), says, reason)
        case _:
            raise ValueError("not what is kept of an answer with tool calls")


def _arguments(text: str) -> Mapping[str, Any] | None:
    try:
        value = loads(text)
        value = loads(value) if isinstance(value, str) else value  # some servers encode them twice
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; unlike Python's, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a JSON value is valid under the schema of a suite's function, or of a part of it."""
    if "enum" in schema and not any(same(value, allowed) for allowed in schema["enum"]):
        return False
    if "type" in schema and not _is_of(value, schema["type"]):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {})) for item in value)
    if not isinstance(value, dict):
        return True
    properties = schema.get("properties", {})
    if not value.keys() >= set(schema.get("required", ())):
        return False
    return all(fits(item, properties.get(name, {})) for name, item in value.items())


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _TYPES[kind])
