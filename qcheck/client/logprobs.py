"""Log-probabilities out of a response, in the chat form or the older completions form, as `Position`s."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from qcheck.client.fields import MalformedError, as_list
from qcheck.records import Position, token_key

__all__ = ["positions"]

ZERO_PROBABILITY = -9999.0  # vLLM's and others' way to write -inf
MINUS_INFINITY = ("-inf", "-Infinity")  # JSON has no number for it
ROUNDING = 1e-3  # nats above zero that are rounding, not a mistake
ALIKE = 1e-3  # nats, or of a sum of probabilities: what rounding may make of one value
MOST_TOGETHER = 1.25  # that listed probabilities may sum to, where values lie on a coarse grid
MAX_POSITIONS = 100_000
MAX_TOP = 1_000
MAX_TOKEN = 4_096  # characters or bytes of one token


def _logprob(value: Any) -> float | None:
    """A log-probability in nats; None where the provider wrote null."""
    if value is None:
        return None
    if value in MINUS_INFINITY:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedError("a log-probability is no number")
    if not value <= ROUNDING:  # true of NaN, too
        raise MalformedError("a log-probability is above zero or not a number")
    return -math.inf if value <= ZERO_PROBABILITY else min(float(value), 0.0)


def _token(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise MalformedError(f"a token is no text of at most {MAX_TOKEN} characters")
    return value


def _key(entry: dict[str, Any]) -> str:
    """The key of a chat-form token: by its bytes, else its text, else its id (llama.cpp `id`, Fireworks `token_id`)."""
    numbers = as_list(entry.get("bytes"), MAX_TOKEN, "the bytes of a token")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 255 for n in numbers):
        raise MalformedError("the bytes of a token are no bytes")
    token_id = entry.get("id", entry.get("token_id"))
    if isinstance(token_id, bool) or not isinstance(token_id, int) or abs(token_id) > 2**31:
        token_id = None
    return token_key(_token(entry.get("token")), bytes(numbers), token_id)


def _ranked(pairs: Iterable[tuple[str, float | None]]) -> tuple[tuple[str, float], ...]:
    """Falling order, ties by key; of a key that stands twice the most probable; without those that give no number."""
    best: dict[str, float] = {}
    for key, value in pairs:
        if value is not None:
            best[key] = max(value, best.get(key, -math.inf))
    return tuple(sorted(best.items(), key=lambda pair: (-pair[1], pair[0])))


def _entry(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError("a token is no object")
    return value


def _position(token: str, logprob: float | None, others: tuple[tuple[str, float], ...]) -> Position:
    """One position. Some servers list beside the token that was taken the *other* ones alone (LMDeploy did).

    It is then added, if it would stand in the list, does not stand there by another name, and all together have at most
    1. Where another one is as probable, or all have more than 1, it is not known what the list leaves out, and there is
    none; nor is there where values are no natural logarithms of probabilities.
    """
    listed = [value for _, value in others if value > -math.inf]
    if sum(map(math.exp, listed)) > MOST_TOGETHER:
        return Position(token, logprob, ())
    if listed and logprob is not None and logprob > listed[-1] and token not in dict(others):
        with_taken, equal = _ranked([*others, (token, logprob)]), [k for k, v in others if abs(v - logprob) <= ALIKE]
        if not any(_may_be_one(token, key) for key in equal):
            fits = not equal and sum(math.exp(value) for _, value in with_taken) <= 1 + ALIKE
            return Position(token, logprob, with_taken if fits else ())
    return Position(token, logprob, others)


def _may_be_one(key: str, other: str) -> bool:
    """Whether two keys may be names of one token: of one without a text, or but for how spaces are written."""
    plain = [k.strip("= Ġ▁") if k.startswith("=") else None for k in (key, other)]
    return None in plain or plain[0] == plain[1]


def _own(ranked: tuple[tuple[str, float], ...], before: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """A list, or nothing where it is the one before it once more: no two positions have the same distribution.

    SGLang's streams repeat the list of the first token in a chunk of several (issue 39260).
    """
    told = sum(value > -math.inf for _, value in ranked)
    return () if told > 1 and ranked == before else ranked


def _from_chat(content: list[Any]) -> tuple[Position, ...]:
    """`[{token, logprob, bytes, top_logprobs: [{token, logprob, bytes}]}]`."""
    read: list[Position] = []
    before: tuple[tuple[str, float], ...] = ()
    for item in map(_entry, content):
        top = map(_entry, as_list(item.get("top_logprobs"), MAX_TOP, "top_logprobs"))
        ranked = _ranked((_key(other), _logprob(other.get("logprob"))) for other in top)
        read.append(_position(_key(item), _logprob(item.get("logprob")), _own(ranked, before)))
        before = ranked
    return tuple(read)


def _from_completions(logprobs: dict[str, Any]) -> tuple[Position, ...]:
    """`{tokens: […], token_logprobs: […], top_logprobs: [{token: logprob}]}`."""
    tokens = as_list(logprobs.get("tokens"), MAX_POSITIONS, "tokens")
    values = as_list(logprobs.get("token_logprobs"), MAX_POSITIONS, "token_logprobs")
    tops = as_list(logprobs.get("top_logprobs"), MAX_POSITIONS, "top_logprobs") or [None] * len(tokens)
    if not len(tokens) == len(values) == len(tops):
        raise MalformedError("tokens, token_logprobs and top_logprobs differ in length")
    read: list[Position] = []
    before: tuple[tuple[str, float], ...] = ()
    for token, value, top in zip(tokens, values, tops, strict=True):
        others = _entry({} if top is None else top)
        if len(others) > MAX_TOP:
            raise MalformedError(f"top_logprobs has more than {MAX_TOP} entries")
        ranked = _ranked((token_key(_token(text), None, None), _logprob(other)) for text, other in others.items())
        read.append(_position(token_key(_token(token), None, None), _logprob(value), _own(ranked, before)))
        before = ranked
    return tuple(read)


def positions(logprobs: dict[str, Any]) -> tuple[Position, ...]:
    """The positions in the `logprobs` object of a choice, () where it holds none. Raises MalformedError."""
    content = as_list(logprobs.get("content"), MAX_POSITIONS, "content")
    return _from_chat(content) if content else _from_completions(logprobs)
