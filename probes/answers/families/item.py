"""What a template is: a function that draws one question with its right answer, computed in two ways."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from qcheck.expected import Expected, IntegerAnswer, JsonAnswer, ListAnswer, NumberAnswer, TextAnswer, WordAnswer

__all__ = [
    "FAMILIES",
    "Family",
    "Item",
    "ask",
    "draw",
    "end_line",
    "family",
    "integer",
    "json_value",
    "listing",
    "number",
    "text",
    "word",
    "yes_no",
]

END_LINES: Final = {
    "en": "Work briefly and end with a line `Answer: {}`.",
    "de": "Fasse dich kurz und ende mit einer Zeile `Antwort: {}`.",
    "fr": "Sois bref et termine par une ligne `Réponse : {}`.",
    "es": "Sé breve y termina con una línea `Respuesta: {}`.",
    "it": "Sii breve e termina con una riga `Risposta: {}`.",
    "pt": "Seja breve e termine com uma linha `Resposta: {}`.",
    "nl": "Houd het kort en eindig met een regel `Antwoord: {}`.",
    "pl": "Odpowiedz krótko i zakończ wierszem `Odpowiedź: {}`.",
    "sv": "Fatta dig kort och avsluta med en rad `Svar: {}`.",
    "ru": "Отвечай кратко и закончи строкой `Ответ: {}`.",
    "zh": "请简短作答，最后一行写成 `答案：{}`。",
    "ja": "簡潔に答え、最後の行を `答え：{}` としてください。",
}
HINTS: Final = {
    "integer": "<number>",
    "number": "<number>",
    "choice": "<letter>",
    "word": "<word>",
    "list": "<items, separated by commas>",
    "text": "<text>",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A question as it is put, with its answer. language: ISO 639-1."""

    prompt: str
    answer: Expected
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Family:
    """A template: its name, subject (its module), level from 1 to 5, and the function that draws an item."""

    name: str
    subject: str
    level: int
    function: Callable[[random.Random], Item]


FAMILIES: dict[str, Family] = {}


def family(level: int) -> Callable[[Callable[[random.Random], Item]], Callable[[random.Random], Item]]:
    """Register a template of that level under its function's name."""

    def register(function: Callable[[random.Random], Item]) -> Callable[[random.Random], Item]:
        name, subject = function.__name__.replace("_", "-"), function.__module__.rpartition(".")[2]
        if name in FAMILIES:
            raise ValueError(f"two templates are called {name}")
        FAMILIES[name] = Family(name, subject, level, function)
        return function

    return register


def draw(template: Family, seed: int, count: int) -> list[Item]:
    """`count` different items of a template; the same seed gives the same ones, whatever other templates exist."""
    rng = random.Random(f"{seed}/{template.name}")  # noqa: S311  (a draw, no secret)
    items: dict[str, Item] = {}
    while len(items) < count:
        item = template.function(rng)
        items.setdefault(item.prompt, item)
    return list(items.values())


def ask(question: str, end: str) -> str:
    """The prompt: a question and how it is to be answered, on a line of its own where a block stands before it."""
    return question + ("" if question.endswith("\n") else " ") + end


def end_line(kind: str, language: str = "en", hint: str | None = None) -> str:
    """How a prompt asks for its answer of that kind."""
    return END_LINES[language].format(hint or (HINTS[kind] if language == "en" else "…"))


def _agree(value: object, again: object) -> None:
    if value != again:
        raise AssertionError(f"two ways to compute an answer differ: {value!r} and {again!r}")


def integer(question: str, value: int, again: int, language: str = "en") -> Item:
    """A question whose answer is a whole number."""
    _agree(value, again)
    return Item(ask(question, end_line("integer", language)), IntegerAnswer(value), language)


def number(question: str, value: Fraction, again: Fraction, *, percent: bool = False, hint: str | None = None) -> Item:
    """A question whose answer is a number, exactly."""
    _agree(value, again)
    return Item(ask(question, end_line("number", hint=hint)), NumberAnswer(str(value), percent=percent))


def word(question: str, value: str, again: str, among: Sequence[str] = (), hint: str | None = None) -> Item:
    """A question whose answer is a word or name."""
    _agree(value, again)
    return Item(ask(question, end_line("word", hint=hint)), WordAnswer(value, among=tuple(among)))


def yes_no(question: str, value: bool, again: bool) -> Item:
    """A question to be answered with yes or no."""
    _agree(value, again)
    answer = WordAnswer("yes" if value else "no", among=("yes", "no"))
    return Item(ask(question, end_line("word", hint="<yes or no>")), answer)


def listing(question: str, value: Sequence[object], again: Sequence[object], *, ordered: bool = True) -> Item:
    """A question whose answer is a list of words or numbers."""
    _agree(list(value), list(again))
    return Item(ask(question, end_line("list")), ListAnswer(tuple(map(str, value)), ordered))


def text(question: str, value: str, again: str, accept: Sequence[str] = (), hint: str | None = None) -> Item:
    """A question whose answer is one exact line."""
    _agree(value, again)
    return Item(ask(question, end_line("text", hint=hint)), TextAnswer(value, tuple(accept)))


def json_value(question: str, value: Any, again: Any) -> Item:
    """A question to be answered with JSON alone."""
    _agree(value, again)
    return Item(ask(question, "Reply with the JSON alone."), JsonAnswer(value))
