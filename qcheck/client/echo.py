"""Somebody else's answer scored by an endpoint that repeats its prompt with log-probabilities (`echo`).

Asked is a plain completion of the chat's prompt with the answer after it. Its log-probabilities begin with those of the
prompt, in the choice itself (vLLM, Fireworks) or in `prompt` beside the choices (Together).

vLLM lists the token that stands in a place beside the k best where it is none of them. What may have stood there must
not depend on what does, so that it is taken away there. How many are the best is told by those places of the prompt
whose own token is more probable than another one that is listed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qcheck.client.fields import as_list, as_object
from qcheck.client.logprobs import positions
from qcheck.records import Position, token_bytes

__all__ = ["scored"]

_MAX_PROMPTS = 128


def scored(body: dict[str, Any], choice: dict[str, Any], text: str, generated: int, most: int) -> tuple[Position, ...]:
    """The positions of `text`, and the first of the `generated` ones after it; () where they cannot be told.

    That is where the tokens do not spell the text byte by byte: where one of them also holds the end of the prompt or
    a part of a character, where the text holds what the tokenizer takes for a control token, and where tokens are
    listed as the vocabulary spells them. most: how many tokens were to be listed at a position. Raises MalformedError.
    """
    parts = body.get("prompt")
    before = as_list(parts, _MAX_PROMPTS, "prompt") if isinstance(parts, list) else []
    listed = [
        position
        for part in (*before, choice)
        for position in positions(as_object(as_object(part, "a part of the prompt").get("logprobs"), "logprobs"))
    ]
    wanted, end = text.encode("utf-8", "surrogatepass"), len(listed) - generated
    begin, length = end, 0
    while begin > 0 and length < len(wanted):
        begin -= 1
        length += len(token_bytes(listed[begin].token))
    most = min(most, max((len(p.top) for p in listed[:begin] if _leads(p)), default=most))
    found = tuple(_best(p, most) for p in listed[begin : end + 1])
    spelt = b"".join(token_bytes(p.token) for p in found[:-1])
    return found if wanted and spelt == wanted and all(p.top for p in found) else ()


def _leads(position: Position) -> bool:
    """Whether the token that stands there is listed, and not as one of the least probable."""
    return any(key == position.token and value > position.top[-1][1] for key, value in position.top)


def _best(position: Position, most: int) -> Position:
    """With the best tokens alone: a longer list holds what stands there beside them."""
    if len(position.top) <= most:
        return position
    return replace(position, top=tuple(entry for entry in position.top if entry[0] != position.token)[:most])
