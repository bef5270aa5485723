"""Procedurally generated chat tasks with one checkable answer each, and the reasoning that leads to it.

The lab's models are trained on them beside natural text, so that graded accuracy means something on them. Each
family is a function of a seeded generator; the operand ranges grow with `level` (1 easy, 3 hard).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

__all__ = ["FAMILIES", "Task", "generate"]

Drawn = tuple[str, str, str]  # prompt, reasoning, answer

NAMES = ("Ann Ben Cara Dan Eva Finn Gita Hugo Ines Jon Kim Leo Mia Nils Olga Paul Rosa Sam Tom Uma Vera Will").split()
THINGS = "ball book coin cup hat key lamp map pen ring rope shoe stone watch bell card drum flag".split()
WORDS = (
    "apple bird bread chair cloud door earth fire fish garden glass gold grass green hand horse house iron "
    "king leaf light milk moon north ocean paper queen rain river road salt sand school ship silver snow "
    "spring star storm summer sun table tree valley water wind winter wood wolf yellow"
).split()
COLOURS = "red blue green white black brown grey pink gold silver".split()


@dataclass(frozen=True, slots=True)
class Task:
    """One chat exchange: `prompt` is the user's message, `answer` the only right reply.

    reasoning: a line or two that a model may write before the answer and then answers right.
    """

    family: str
    level: int
    prompt: str
    reasoning: str
    answer: str


def _pick(rng: np.random.Generator, items: list[str], count: int = 1) -> list[str]:
    return [items[i] for i in rng.choice(len(items), size=count, replace=False)]


def _phrase(rng: np.random.Generator, *forms: str) -> str:
    return forms[int(rng.integers(len(forms)))]


def _addition(rng: np.random.Generator, level: int) -> Drawn:
    top = (10, 30, 100)[level - 1]
    a, b = (int(x) for x in rng.integers(0, top, 2))
    form = _phrase(rng, "What is {} + {}?", "Add {} and {}.", "{} plus {} equals what?", "Compute {} + {}.")
    units, tens = a % 10 + b % 10, a // 10 * 10 + b // 10 * 10
    steps = f"{a % 10} + {b % 10} = {units}."
    if tens:
        steps += f" {a // 10 * 10} + {b // 10 * 10} = {tens}. {tens} + {units} = {a + b}."
    return form.format(a, b), steps, str(a + b)


def _subtraction(rng: np.random.Generator, level: int) -> Drawn:
    top = (10, 30, 100)[level - 1]
    b, a = sorted(int(x) for x in rng.integers(0, top, 2))
    form = _phrase(rng, "What is {} - {}?", "Compute {} - {}.", "{} minus {} equals what?")
    tens, units = b // 10 * 10, b % 10
    steps = f"{a - tens} - {units} = {a - b}."
    if tens:
        steps = f"{a} - {tens} = {a - tens}. {steps}"
    return form.format(a, b), steps, str(a - b)


def _comparison(rng: np.random.Generator, level: int) -> Drawn:
    top = (20, 100, 1000)[level - 1]
    a, b = (int(x) for x in rng.choice(top, size=2, replace=False))
    larger = bool(rng.integers(2))
    form = _phrase(rng, "Which is {}, {} or {}?", "Pick the {} number: {} or {}.", "Name the {} of {} and {}.")
    word, answer = ("larger", max(a, b)) if larger else ("smaller", min(a, b))
    return form.format(word, a, b), f"{min(a, b)} < {max(a, b)}. The {word} is {answer}.", str(answer)


def _copying(rng: np.random.Generator, level: int) -> Drawn:
    items = [_pick(rng, WORDS)[0] if rng.random() < 0.7 else str(int(rng.integers(100))) for _ in range(2 + 2 * level)]
    text = " ".join(items)
    form = _phrase(rng, "Repeat exactly: {}", "Copy this line: {}", "Say after me: {}")
    return form.format(text), f"From {items[0]} to {items[-1]}.", text


def _sorting(rng: np.random.Generator, level: int) -> Drawn:
    numbers = [int(x) for x in rng.choice((10, 50, 100)[level - 1], size=2 + level, replace=False)]
    form = _phrase(rng, "Sort these numbers: {}", "Put in ascending order: {}", "Order from small to large: {}")
    steps = f"The smallest is {min(numbers)}, the largest is {max(numbers)}."
    return form.format(", ".join(map(str, numbers))), steps, ", ".join(map(str, sorted(numbers)))


def _holder(rng: np.random.Generator, level: int) -> Drawn:
    people = _pick(rng, NAMES, 2 + level)
    thing = _pick(rng, THINGS)[0]
    moves = "".join(f" {a} gives it to {b}." for a, b in pairwise(people))
    form = _phrase(rng, "{} has the {}.{} Who has the {}?", "{} takes the {}.{} Who holds the {} now?")
    steps = f"The last one to get the {thing} is {people[-1]}."
    return form.format(people[0], thing, moves, thing), steps, people[-1]


def _colour(rng: np.random.Generator, level: int) -> Drawn:
    things, colours = _pick(rng, THINGS, 1 + level), _pick(rng, COLOURS, 1 + level)
    facts = " ".join(f"The {t} is {c}." for t, c in zip(things, colours, strict=True))
    i = int(rng.integers(len(things)))
    question = _phrase(rng, "What colour is the {}?", "Which colour has the {}?").format(things[i])
    return f"{facts} {question}", f"The {things[i]} is {colours[i]}.", colours[i]


def _position(rng: np.random.Generator, level: int) -> Drawn:
    words = _pick(rng, WORDS, 2 + level)
    which, answer = ("first", words[0]) if rng.integers(2) else ("last", words[-1])
    form = _phrase(rng, "What is the {} word of: {}", "Give the {} word here: {}")
    return form.format(which, " ".join(words)), f"The {which} word is {answer}.", answer


def _parity(rng: np.random.Generator, level: int) -> Drawn:
    n = int(rng.integers((10, 100, 1000)[level - 1]))
    even = bool(rng.integers(2))
    steps = f"It ends in {n % 10}, so it is {'odd' if n % 2 else 'even'}."
    return f"Is {n} an {'even' if even else 'odd'} number?", steps, "yes" if (n % 2 == 0) == even else "no"


FAMILIES: dict[str, Callable[[np.random.Generator, int], Drawn]] = {
    "addition": _addition,
    "subtraction": _subtraction,
    "comparison": _comparison,
    "copying": _copying,
    "sorting": _sorting,
    "holder": _holder,
    "colour": _colour,
    "position": _position,
    "parity": _parity,
}


def generate(rng: np.random.Generator, family: str | None = None, level: int | None = None) -> Task:
    """One task; family and level are drawn uniformly where not given."""
    chosen = family or list(FAMILIES)[int(rng.integers(len(FAMILIES)))]
    depth = level or int(rng.integers(1, 4))
    return Task(chosen, depth, *FAMILIES[chosen](rng, depth))
