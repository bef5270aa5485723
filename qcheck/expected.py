"""What a probe's right answer is: one frozen type for each kind of answer that can be checked without judging.

A suite writes them as `{"kind": "integer", "value": 42}`; `qcheck.grading` compares texts with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_uppercase
from typing import Any, Literal, TypeAlias

__all__ = [
    "ChoiceAnswer",
    "Expected",
    "IntegerAnswer",
    "JsonAnswer",
    "ListAnswer",
    "NumberAnswer",
    "TextAnswer",
    "ToolCallsAnswer",
    "WantedCall",
    "WordAnswer",
]

_EXACT_NUMBER = re.compile(r"-?\d{1,30}(?:\.\d{1,30}|/[1-9]\d{0,29})?")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


@dataclass(frozen=True, slots=True)
class IntegerAnswer:
    """A whole number."""

    value: int
    kind: Literal["integer"] = "integer"


@dataclass(frozen=True, slots=True)
class NumberAnswer:
    """A number, exactly: "0.75", "-3" or "7/12".

    tolerance: how far an answer may lie from it. percent: whether the value is a percentage (12.5 for 12.5 %); where
    it is not, "75 %" means 0.75.
    """

    value: str
    tolerance: str = "0"
    percent: bool = False
    kind: Literal["number"] = "number"

    def __post_init__(self) -> None:
        for text in (self.value, self.tolerance):
            _require(bool(_EXACT_NUMBER.fullmatch(text)), f"{text!r} is neither a decimal number nor a fraction")

    def admits(self, number: Fraction) -> bool:
        """Whether `number` lies within the tolerance."""
        return abs(number - Fraction(self.value)) <= Fraction(self.tolerance)


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """The letter of the right one among `options`, which the prompt lists as A, B, C, …"""

    value: str
    options: tuple[str, ...]
    kind: Literal["choice"] = "choice"

    def __post_init__(self) -> None:
        _require(2 <= len(self.options) <= len(ascii_uppercase), "options: 2 to 26 are needed")
        _require(self.value in self.by_letter, f"value: a letter from A to {max(self.by_letter)} is needed")

    @property
    def by_letter(self) -> dict[str, str]:
        """The options by their letters."""
        return dict(zip(ascii_uppercase, self.options, strict=False))


@dataclass(frozen=True, slots=True)
class WordAnswer:
    """A word, name or short phrase, whatever its case and accents.

    accept: other spellings that are as right. among: the closed set that the answer is from, if there is one ("yes",
    "no"); then the answer may stand in a sentence, so long as it names no other member.
    """

    value: str
    accept: tuple[str, ...] = ()
    among: tuple[str, ...] = ()
    kind: Literal["word"] = "word"

    def __post_init__(self) -> None:
        _require(all(text.strip() for text in (self.value, *self.accept, *self.among)), "an empty word is no answer")
        _require(not self.among or self.value in self.among, "value: not one of `among`")


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """Several words or numbers, in this order unless not `ordered`."""

    value: tuple[str, ...]
    ordered: bool = True
    kind: Literal["list"] = "list"

    def __post_init__(self) -> None:
        _require(len(self.value) > 0, "value: an empty list is no answer")
        _require(not any(set(item) & set(",;\n") for item in self.value), "value: an item holds a separator")


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """One line, exactly: case and punctuation count, white space does not. accept: other forms that are as right."""

    value: str
    accept: tuple[str, ...] = ()
    kind: Literal["text"] = "text"

    def __post_init__(self) -> None:
        texts = (self.value, *self.accept)
        _require(all(text.strip() and "\n" not in text for text in texts), "value: one line that is not empty")


@dataclass(frozen=True, slots=True)
class JsonAnswer:
    """A JSON object or array; the order of keys and the form of numbers do not count."""

    value: Any
    kind: Literal["json"] = "json"

    def __post_init__(self) -> None:
        _require(isinstance(self.value, dict | list), "value: an object or an array is needed")


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call of a function, with the JSON value of its arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCallsAnswer:
    """Calls of declared functions, in any order; where there are none, words in their place."""

    value: tuple[WantedCall, ...]
    kind: Literal["tool_calls"] = "tool_calls"


Expected: TypeAlias = (
    IntegerAnswer | NumberAnswer | ChoiceAnswer | WordAnswer | ListAnswer | TextAnswer | JsonAnswer | ToolCallsAnswer
)
