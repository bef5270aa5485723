"""Calls of functions, wherever a provider puts them; and those that it refuses to pass on."""

from __future__ import annotations

import json
from typing import Any, Final

from qcheck.client.fields import MalformedError, as_list, as_object, as_text
from qcheck.records import Response, ToolCall
from qcheck.toolcalls import REFUSED

__all__ = ["merged", "refused_call", "tool_calls"]

_MAX_CALLS: Final = 1_000
_MAX_PIECES: Final = 100_000  # of a stream


def tool_calls(value: Any) -> tuple[ToolCall, ...]:
    """The calls in a message's `tool_calls`. Raises MalformedError.

    Arguments are a text or, at some servers, the object itself. They are kept as they are: what is wrong with them is
    the model's answer.
    """
    return tuple(_call(as_object(item, "a tool call")) for item in as_list(value, _MAX_CALLS, "tool_calls"))


def _call(item: dict[str, Any]) -> ToolCall:
    function = as_object(item.get("function"), "the function of a tool call")
    name, arguments = as_text(function.get("name"), "the name of a tool call"), function.get("arguments")
    if not name:
        raise MalformedError("a tool call names no function")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(name, as_text(arguments, "the arguments of a tool call"))


def merged(pieces: Any) -> list[dict[str, Any]]:
    """The calls of a stream, put together from its pieces. Raises MalformedError.

    A piece continues the call of its `index`, unless it has an id of its own: some servers count no further than 0.
    Without an index it is a call by itself.
    """
    calls: list[dict[str, Any]] = []
    latest: dict[Any, dict[str, Any]] = {}
    for part in as_list(pieces, _MAX_PIECES, "tool_calls"):
        piece = as_object(part, "a tool call")
        index, function = piece.get("index"), as_object(piece.get("function"), "the function of a tool call")
        call = latest.get(index) if isinstance(index, int) else None
        if call is None or (piece.get("id") and piece["id"] != call["id"]):
            call = {"id": piece.get("id"), "function": {"name": None, "arguments": []}}
            calls.append(call)
            if isinstance(index, int):
                latest[index] = call
        told = call["function"]
        told["name"] = told["name"] or function.get("name")
        if (arguments := function.get("arguments")) is not None:
            told["arguments"].append(arguments)
    return [{"function": _whole(call["function"])} for call in calls]


def _whole(function: dict[str, Any]) -> dict[str, Any]:
    pieces = function["arguments"]
    if len(pieces) == 1 and isinstance(pieces[0], dict):
        return function | {"arguments": pieces[0]}
    return function | {"arguments": "".join(as_text(piece, "the arguments of a tool call") for piece in pieces)}


def refused_call(value: Any) -> Response | None:
    """The answer that a provider kept to itself because the model's call was invalid (Groq); None for anything else.

    Behind an aggregator the provider's own words stand in `metadata.raw`.
    """
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return None
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if error.get("code") != REFUSED and not (isinstance(raw, str) and f'"{REFUSED}"' in raw):
        return None
    said = error.get("failed_generation")
    text = as_text(said, "the failed generation") if isinstance(said, str) else ""
    return Response(text, (), None, None, None, REFUSED, None, None)
