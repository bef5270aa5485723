"""What the value of a trait may be: each form says in words what it takes, and reads the text of a spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["HOURS", "NOTHING", "TEXT", "Value", "number", "one_of", "shares", "whole", "words"]

_HOURS: Final = re.compile(r"([0-9]{1,2})-([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Value:
    """A form of values.

    takes: what it accepts, to stand after "the trait takes". read: the arguments of the trait that a text stands for;
    "" where the spec gives no value; raises ValueError for what the form does not accept.
    """

    takes: str
    read: Callable[[str], tuple[Any, ...]]


def _check(accepted: bool) -> None:
    if not accepted:
        raise ValueError("not a value of this form")


def _nothing(text: str) -> tuple[()]:
    _check(not text)
    return ()


def _text(text: str) -> tuple[str]:
    _check(bool(text.strip()))
    return (text,)


def _hours(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    _check(match is not None)
    assert match is not None
    first, end = int(match[1]), int(match[2])
    _check(first <= 23 and end <= 24 and first != end)
    return first, end


NOTHING: Final = Value("no value", _nothing)
TEXT: Final = Value("a text", _text)
HOURS: Final = Value("two different hours of the day", _hours)


def whole(low: int, high: int) -> Value:
    """A whole number from `low` to `high`."""

    def read(text: str) -> tuple[int]:
        value = int(text)
        _check(low <= value <= high)
        return (value,)

    return Value(f"a whole number from {low} to {high}", read)


def number(low: float, high: float) -> Value:
    """A number from `low` to `high`."""

    def read(text: str) -> tuple[float]:
        value = float(text)
        _check(low <= value <= high)  # false of NaN, too
        return (value,)

    return Value(f"a number from {low:g} to {high:g}", read)


def one_of(*choices: str) -> Value:
    """One of a few words."""

    def read(text: str) -> tuple[str]:
        _check(text in choices)
        return (text,)

    return Value(" or ".join(choices), read)


def words(known: Collection[str]) -> Value:
    """One or more of the `known` words, joined by + signs."""

    def read(text: str) -> tuple[tuple[str, ...]]:
        found = tuple(text.split())  # a + sign is a space once it is URL-decoded
        _check(bool(found) and set(found) <= set(known))
        return (found,)

    return Value(f"one or more of {', '.join(known)}, joined by +", read)


def shares(known: Collection[str]) -> Value:
    """WORD:SHARE pairs joined by + signs: shares from 0 to 1 that add up to at most 1, no word twice."""

    def read(text: str) -> tuple[tuple[tuple[str, float], ...]]:
        pairs = [item.partition(":") for item in text.split()]
        found = {word: float(share) for word, _, share in pairs}
        _check(0 < len(found) == len(pairs) and set(found) <= set(known))
        _check(all(0 <= share <= 1 for share in found.values()) and sum(found.values()) <= 1 + 1e-9)
        return (tuple(found.items()),)

    kinds = ", ".join(known)
    return Value(f"KIND:SHARE pairs joined by +, their shares at most 1 together, of the kinds {kinds}", read)
