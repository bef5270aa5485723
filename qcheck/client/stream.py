"""Answers that come as server-sent events, put together to the body that the same answer has in one piece.

https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing an event stream": events end at an empty line,
and lines that begin with a colon are comments, which OpenRouter and others send to keep the connection alive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from qcheck.client.calls import merged
from qcheck.client.fields import MalformedError, as_list, as_object, loads

__all__ = ["is_stream", "put_together"]

_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_DONE, _ERROR = b"[DONE]", b"error"
_MAX_CHOICES = 128
# Of the whole answer and of its choice, whatever the last chunk says that says it at all.
_OF_ANSWER = ("model", "system_fingerprint", "provider", "usage", "x_groq", "error")
_OF_CHOICE = ("finish_reason", "usage", "error")
# What comes in pieces.
_OF_MESSAGE = ("content", "reasoning_content", "reasoning", "reasoning_details", "tool_calls")
_OF_LOGPROBS = ("content", "tokens", "token_logprobs", "top_logprobs")


def is_stream(body: bytes) -> bool:
    """Whether a body is a stream of events: no JSON begins like one, so that it need not be known beforehand."""
    return body.lstrip().startswith(_FIELDS)


def _events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type of each event, "" where it has none, and its data."""
    kind, data = b"", list[bytes]()
    for line in (*body.splitlines(), b""):
        if line.startswith(b"event:"):
            kind = line.removeprefix(b"event:").strip()
        elif line.startswith(b"data:"):
            data.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif not line:
            if data:
                yield kind, b"\n".join(data)
            kind, data = b"", []


class _Pieces:
    """Texts and lists by name, piece by piece."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._pieces: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, piece: Mapping[str, Any]) -> None:
        for name in self._names:
            if piece.get(name) is not None:
                self._pieces[name].append(piece[name])

    def joined(self) -> dict[str, Any]:
        return {name: _joined(name, pieces) for name, pieces in self._pieces.items()}


def _joined(name: str, pieces: list[Any]) -> Any:
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return list(chain.from_iterable(pieces))
    raise MalformedError(f"the pieces of {name} are of different kinds")


def put_together(body: bytes) -> dict[str, Any]:
    """The whole answer of a stream, of a chat or a plain completion. Raises MalformedError, also if it breaks off."""
    answer: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    message, completion, logprobs = _Pieces(_OF_MESSAGE), _Pieces(("text",)), _Pieces(_OF_LOGPROBS)
    done = begun = said = False
    for kind, data in _events(body):
        if data.strip() == _DONE:
            done = True
            break
        chunk = as_object(loads(data), "a chunk")
        if kind == _ERROR and chunk.get("error") is None:
            chunk = {"error": chunk}
        answer |= {name: chunk[name] for name in _OF_ANSWER if chunk.get(name) is not None}
        for part in as_list(chunk.get("choices"), _MAX_CHOICES, "choices"):
            piece = as_object(part, "a choice")
            if piece.get("index", 0) == 0:
                begun = True
                choice |= {name: piece[name] for name in _OF_CHOICE if piece.get(name) is not None}
                delta = as_object(piece.get("delta"), "delta")
                said = said or any(delta.get(name) for name in ("content", "tool_calls"))
                if said and not delta and piece.get("message"):
                    continue  # the last chunk may repeat what came in pieces
                message.add(delta or as_object(piece.get("message"), "message"))
                completion.add(piece)
                logprobs.add(as_object(piece.get("logprobs"), "logprobs"))
    if not done and "finish_reason" not in choice and "error" not in answer:
        raise MalformedError("the stream breaks off")
    if not begun and "error" not in answer:
        raise MalformedError("the stream holds no answer")
    whole = message.joined()
    if "tool_calls" in whole:
        whole["tool_calls"] = merged(whole["tool_calls"])
    words = completion.joined() or {"message": whole}
    return answer | {"choices": [choice | words | {"logprobs": logprobs.joined()}]}
