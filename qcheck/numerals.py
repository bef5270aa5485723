"""Numbers as people write them, read exactly.

Expects characters as `qcheck.finalanswer.plain` leaves them: ASCII digits and signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

__all__ = ["lone_number", "numbers"]

_SIGN: Final = r"(?P<sign>-|\+|minus |negative )?"
# Not inside a word (though right behind a Chinese or Japanese one), a longer number, or a version such as 1.2.3.
_START: Final = r"(?<![^\W\u3040-\u9fff])(?<![.^])(?<!\d,)"
_NUMBER = re.compile(
    rf"{_START}{_SIGN}"
    r"(?P<whole>[1-9]\d{0,2}(?:(?:,\d{3}){1,9}+|(?: \d{3}){1,9}+|(?:['_]\d{3}){1,9}+|(?:\.\d{3}){2,9}+)(?!\d)"
    r"|\d{1,40}+)?(?P<decimals>[.,]\d{1,40}+)?(?<=\d)(?![.,]?\d|e[+-]?\d|\^)(?P<percent> ?%| per ?cent\b)?",
    re.IGNORECASE,
)
_FRACTION = re.compile(
    rf"{_START}(?<!/){_SIGN}(?:(?P<whole>\d{{1,15}}) )?(?P<above>\d{{1,15}}) ?/ ?(?P<below>\d{{1,15}})(?![\d/])",
    re.IGNORECASE,
)
_UP_TO_LAST_EQUALS = re.compile(r"^.*[=≈]", re.MULTILINE)
_NUMERIC = re.compile(r"[-+\d.,/ '_%]+")
_WORDS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
# ASCII, since without regard to case the dotless ı would match i.
_WORD = re.compile(rf"(?ai:({'|'.join(_WORDS)}))(?![\w-]|(?i: (?:hundred|thousand|million|point|and|or|to)\b))")


def numbers(statement: str, *, fractions: bool = True, percent: bool = False) -> Iterator[tuple[int, Fraction]]:
    """Where in a statement numbers stand, and their values; of a line with equals signs those behind the last.

    fractions: whether "3/4" is one number, or two. percent: whether "5 %" is 5, for the question asks for a
    percentage, or 1/20. A number in words counts where the statement begins with it. Numbers with an exponent or with
    more than 40 digits are not read.
    """
    statement = _UP_TO_LAST_EQUALS.sub(_blank, statement)
    if fractions:
        for match in _FRACTION.finditer(statement):
            if int(match["below"]):
                value = int(match["whole"] or 0) + Fraction(int(match["above"]), int(match["below"]))
                yield match.start(), _signed(match, value)
        statement = _FRACTION.sub(_blank, statement)
    for match in _NUMBER.finditer(statement):
        whole, decimals = re.sub(r"\D", "", match["whole"] or "0"), (match["decimals"] or ".")[1:]
        value = Fraction(int(whole + decimals), 10 ** len(decimals))
        yield match.start(), _signed(match, value / 100 if match["percent"] and not percent else value)
    if word := _WORD.match(statement):
        yield 0, Fraction(_WORDS.index(word[1].lower()))


def lone_number(text: str) -> Fraction | None:
    """The value of `text` where it is one number and nothing else, otherwise None."""
    values = [value for _, value in numbers(text)] if _NUMERIC.fullmatch(text) else []
    return values[0] if len(values) == 1 else None


def _signed(match: re.Match[str], value: Fraction) -> Fraction:
    return value if match["sign"] in {None, "+"} else -value


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])
