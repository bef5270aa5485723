"""Sorting, choosing and counting in collections."""

from __future__ import annotations

import random
import statistics
from fractions import Fraction

from families.item import Item, family, integer, listing, number

ANIMALS = ("ant", "bear", "cat", "deer", "eel", "fox", "goat", "hare", "ibex", "jay", "koala", "lynx", "mole", "newt")


def _insertion_sorted(values: list[int]) -> list[int]:
    result: list[int] = []
    for value in values:
        place = sum(other <= value for other in result)
        result.insert(place, value)
    return result


@family(1)
def ascending(rng: random.Random) -> Item:
    """Five numbers in order."""
    numbers = rng.sample(range(1, 99), 5)
    question = f"Sort these numbers from smallest to largest: {', '.join(map(str, numbers))}."
    return listing(question, sorted(numbers), _insertion_sorted(numbers))


@family(1)
def largest(rng: random.Random) -> Item:
    """The largest of six numbers."""
    numbers = rng.sample(range(10, 999), 6)
    return integer(f"Which is the largest of {', '.join(map(str, numbers))}?", max(numbers), sorted(numbers)[-1])


@family(2)
def in_both(rng: random.Random) -> Item:
    """The members of both of two lists."""
    a, b = rng.sample(ANIMALS, 6), rng.sample(ANIMALS, 6)
    while not 2 <= len(set(a) & set(b)) <= 4:
        b = rng.sample(ANIMALS, 6)
    question = f"First list: {', '.join(a)}. Second list: {', '.join(b)}. Which animals stand in both lists?"
    return listing(question, sorted(set(a) & set(b)), [x for x in ANIMALS if x in a and x in b], ordered=False)


@family(2)
def second_largest(rng: random.Random) -> Item:
    """The second largest number."""
    numbers = rng.sample(range(-40, 99), 7)
    again = max(n for n in numbers if n != max(numbers))
    return integer(f"What is the second largest of {', '.join(map(str, numbers))}?", sorted(numbers)[-2], again)


@family(2)
def mean(rng: random.Random) -> Item:
    """A mean that has at most one decimal."""
    numbers = [rng.randint(2, 30) for _ in range(5)]
    question = f"What is the arithmetic mean of {', '.join(map(str, numbers))}? Give the exact value."
    return number(question, Fraction(sum(numbers), 5), statistics.mean(map(Fraction, numbers)))


@family(3)
def in_one_only(rng: random.Random) -> Item:
    """The members of exactly one of two lists."""
    a, b = rng.sample(ANIMALS, 6), rng.sample(ANIMALS, 6)
    while not 4 <= len(set(a) ^ set(b)) <= 8:
        b = rng.sample(ANIMALS, 6)
    question = f"A: {', '.join(a)}. B: {', '.join(b)}. Which animals stand in exactly one of the two lists?"
    return listing(question, sorted(set(a) ^ set(b)), [x for x in ANIMALS if (x in a) != (x in b)], ordered=False)


@family(3)
def either_language(rng: random.Random) -> Item:
    """Inclusion and exclusion."""
    both, only_a, only_b, none = rng.randint(4, 15), rng.randint(5, 20), rng.randint(5, 20), rng.randint(3, 12)
    total = both + only_a + only_b + none
    question = (
        f"Of {total} students {only_a + both} speak French, {only_b + both} speak Spanish and {none} speak "
        "neither. How many "
        "speak both?"
    )
    return integer(question, (only_a + both) + (only_b + both) + none - total, both)


@family(3)
def median(rng: random.Random) -> Item:
    """A median of nine numbers."""
    numbers = rng.sample(range(-50, 150), 9)
    again = next(n for n in numbers if sum(m < n for m in numbers) == 4)
    return integer(f"What is the median of {', '.join(map(str, numbers))}?", statistics.median_low(numbers), again)


@family(3)
def descending_decimals(rng: random.Random) -> Item:
    """Decimals of different lengths in order."""
    whole = rng.randint(1, 9)
    parts = rng.sample(["05", "5", "45", "455", "6", "06", "09", "9", "095", "41", "409", "1"], 5)
    decimals = [f"{whole}.{p}" for p in parts]
    question = f"Sort from largest to smallest: {', '.join(decimals)}."
    again = [f"{whole}.{p}" for p in sorted(parts, key=lambda p: -int(p.ljust(3, "0")))]
    descending = sorted(decimals, key=float, reverse=True)
    return listing(question, descending, again)


@family(4)
def first_appearances(rng: random.Random) -> Item:
    """A list without repetitions."""
    numbers = [rng.randint(1, 12) for _ in range(18)]
    question = (
        "Remove all repetitions from this list, keeping the first appearance of each number: "
        f"{', '.join(map(str, numbers))}."
    )
    again = [n for i, n in enumerate(numbers) if n not in numbers[:i]]
    return listing(question, list(dict.fromkeys(numbers)), again)


def _digit_sum(n: int) -> int:
    return n % 10 + _digit_sum(n // 10) if n else 0


@family(5)
def by_digit_sum(rng: random.Random) -> Item:
    """An order by digit sums, then by size."""
    numbers = rng.sample(range(1000, 9999), 9)
    question = (
        "Sort these numbers by the sum of their digits, smallest sum first, and where sums are equal by size: "
        f"{', '.join(map(str, numbers))}."
    )
    again = [n for total in range(1, 37) for n in _insertion_sorted(numbers) if _digit_sum(n) == total]
    return listing(question, sorted(numbers, key=lambda n: (sum(map(int, str(n))), n)), again)


@family(5)
def inversions(rng: random.Random) -> Item:
    """How many pairs of a list are out of order."""
    numbers = rng.sample(range(10, 99), 10)
    pairs = sum(a > b for i, a in enumerate(numbers) for b in numbers[i + 1 :])
    swaps, work = 0, list(numbers)
    for end in range(len(work) - 1, 0, -1):
        for i in range(end):
            if work[i] > work[i + 1]:
                work[i], work[i + 1] = work[i + 1], work[i]
                swaps += 1
    question = (
        f"In the list {', '.join(map(str, numbers))}, how many pairs of numbers are out of order, that is, how "
        "often does a "
        "larger number stand somewhere before a smaller one?"
    )
    return integer(question, pairs, swaps)
