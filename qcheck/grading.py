"""Whether a response gives the right answer.

Tolerant of the ways in which people and models write an answer: in a sentence, in Markdown or LaTeX, with units,
quotes or thousands separators, or with the token that ends an answer behind it. Strict where it matters: of several
announced answers the last one counts, and a text that announces none but names two different ones is wrong. Reasoning
in `<think>` tags does not count.

Deterministic, linear in the length of the text, and nothing of it is ever run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction
from typing import Final, TypeAlias, TypeVar

from qcheck.expected import (
    ChoiceAnswer,
    Expected,
    IntegerAnswer,
    JsonAnswer,
    ListAnswer,
    NumberAnswer,
    TextAnswer,
    ToolCallsAnswer,
    WordAnswer,
)
from qcheck.finalanswer import passages, plain, statements, without_end_marks, without_reasoning
from qcheck.jsonio import loads
from qcheck.numerals import lone_number, numbers
from qcheck.toolcalls import read_made, same

__all__ = ["grade"]

T = TypeVar("T", bound=Hashable)
_Mention: TypeAlias = tuple[int, T]  # where a statement names an answer, and which
_Reading: TypeAlias = tuple[str, Iterable[_Mention[T]]]  # the statement in the form in which those places count

_NEGATION = re.compile(r"\b(?:not|never|neither)\b|n't\b", re.IGNORECASE)
_LETTER = re.compile(
    r"\((?P<bracketed>[A-Z])\)|(?<![\w'.])(?:"
    r"(?:option|choice|letter|answer) \(?(?P<named>[A-Z])(?![\w'])\)?"
    r"|(?P<marked>[A-Z])[).:](?!\w)"
    r"|(?-i:(?P<bare>[B-HJ-Z]|A(?! (?!or |and )[a-z])))(?![\w']))",
    re.IGNORECASE,
)
_COPULA = re.compile(r" (?:is|are|was|ist|est|es|è|é) ", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:the|a|an) ", re.IGNORECASE)
_ACCENTS = re.compile(r"(?<=[a-z\u00df-\u02af])[\u0300-\u036f]+")
_EDGES: Final = " \n\t'\".,;:!?()[]{}"
_BULLET = re.compile(r"^(?:[-*•+]|\d{1,3}[.)]) ", re.MULTILINE)
_SEPARATOR = re.compile(r"[,;\n]|(?<!\w)(?:and|then)(?!\w)|&|→|->|<|>")


def grade(text: str, expected: Expected) -> bool:
    """Whether the response `text` gives the `expected` answer. Never raises, whatever the text.

    Tool calls are given as `qcheck.toolcalls.made_of` keeps them.
    """
    if isinstance(expected, ToolCallsAnswer):
        return _grade_calls(text, expected)
    spoken = without_end_marks(without_reasoning(text))
    if isinstance(expected, JsonAnswer):
        return _grade_json(spoken, expected)
    words = plain(spoken)
    match expected:
        case IntegerAnswer():
            return _sole(words, lambda s: (s, numbers(s, fractions=False))) == expected.value
        case NumberAnswer():
            number = _sole(words, lambda s: (s, numbers(s, percent=expected.percent)))
            return number is not None and expected.admits(number)
        case ChoiceAnswer():
            return _sole(words, lambda s: _choices(s, expected)) == expected.value
        case WordAnswer():
            return _grade_word(words, expected)
        case ListAnswer():
            return _grade_list(words, expected)
        case TextAnswer():
            return _grade_text(words, expected)


def _sole(text: str, read: Callable[[str], _Reading[T]]) -> T | None:
    """The answer that the best statement with any mention names; None if it names several or negates it."""
    for statement, named in map(read, statements(text)):
        mentions = iter(named)
        if (mention := next(mentions, None)) is None:
            continue
        start, value = mention
        for at, other in mentions:
            if other != value:
                return None
            start = min(start, at)
        return None if _NEGATION.search(statement[:start]) else value
    return None


def _phrases(statement: str, among: Iterable[str]) -> _Reading[str]:
    """A statement, folded, and where it names one of some folded phrases, as whole words."""
    folded = _folded(statement)
    longest_first = sorted(among, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)"
    return folded, ((match.start(), match[0]) for match in re.finditer(pattern, folded))


def _choices(statement: str, expected: ChoiceAnswer) -> _Reading[str]:
    """The letters that a statement names, and where it is an option's text, or names no letter, those of the texts."""
    letters = {_bare(plain(option)): letter for letter, option in expected.by_letter.items()}
    alone = statement.strip(_EDGES).upper()
    if alone in expected.by_letter:
        return statement, [(0, alone)]
    named = [(m.start(), m[m.lastgroup or 0].upper()) for m in _LETTER.finditer(statement)]
    named = [mention for mention in named if mention[1] in expected.by_letter]
    rest = _bare(_LETTER.sub("", statement))
    if rest in letters:
        return statement, [*named, (0, letters[rest])]
    if named:
        return statement, named
    folded, phrases = _phrases(statement, letters)
    return folded, ((start, letters[phrase]) for start, phrase in phrases)


def _folded(text: str) -> str:
    """`text` without case and accents; on other than Latin letters marks make another letter, as in かぎ or й."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))


def _bare(text: str) -> str:
    """A word or phrase folded, without the article, quotes and punctuation around it."""
    return _folded(_ARTICLE.sub("", text.strip(_EDGES)).strip(_EDGES))


def _grade_word(text: str, expected: WordAnswer) -> bool:
    right = {_bare(plain(form)) for form in (expected.value, *expected.accept)}
    if expected.among:
        members = right | {_bare(plain(member)) for member in expected.among}
        return _sole(text, lambda s: _phrases(s, members)) in right
    said = next(filter(None, statements(text)), "")
    lead = [match.end() for match in _COPULA.finditer(said)][-1:]
    return _bare(said) in right or any(_bare(said[end:]) in right for end in lead)


def _item(text: str) -> Fraction | str:
    """An item of a list: a number where it is nothing else, whatever its form, otherwise a bare word."""
    text = text.strip(_EDGES)
    number = lone_number(text)
    return _bare(text) if number is None else number


def _grade_list(text: str, expected: ListAnswer) -> bool:
    wanted = [_item(plain(item)) for item in expected.value]
    passage = next(passages(text))
    lead, _, rest = passage.partition("\n")
    block = (rest.strip() if lead.endswith(":") else passage).split("\n\n", 1)[0]
    line = block.split("\n", 1)[0].rpartition(": ")[2].strip(_EDGES)
    for pieces in (_SEPARATOR.split(line), line.split(), _BULLET.sub("", block).split("\n")):
        items = [_item(piece) for piece in pieces if piece.strip(_EDGES)]
        if items == wanted or (not expected.ordered and sorted(map(str, items)) == sorted(map(str, wanted))):
            return True
    return False


def _grade_text(text: str, expected: TextAnswer) -> bool:
    right = {_unquoted(plain(form)) for form in (expected.value, *expected.accept)}
    passage = next(passages(text))
    line = passage if passage is text else passage.split("\n", 1)[0]
    ways = {_unquoted(line), _unquoted(line.removesuffix(".")), _unquoted(line).removesuffix(".")}
    return not right.isdisjoint(ways)


def _unquoted(text: str) -> str:
    return text.strip("\"' ")


def _grade_json(text: str, expected: JsonAnswer) -> bool:
    try:
        return same(loads(text), expected.value)  # whatever its strings announce
    except ValueError:
        pass
    for passage in passages(text):
        opening = re.search(r"[{\[]", passage)
        if opening:
            end = max(passage.rfind("}"), passage.rfind("]"))
            try:
                return same(loads(passage[opening.start() : end + 1]), expected.value)
            except ValueError:
                return False
    return False


def _grade_calls(kept: str, expected: ToolCallsAnswer) -> bool:
    try:
        made = read_made(kept)
    except ValueError:
        return False
    left = list(made.calls)
    for wanted in expected.value:
        alike = (i for i, c in enumerate(left) if c.name == wanted.name and same(c.arguments, wanted.arguments))
        if (found := next(alike, None)) is None:
            return False
        del left[found]  # not by equality, to which true is 1
    return not left and (bool(expected.value) or made.says)
