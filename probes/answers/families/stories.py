"""Word problems."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

from families.item import Item, family, integer, number

NAMES = ("Amira", "Bruno", "Chen", "Dalia", "Emre", "Freya", "Goran", "Hana", "Ivan", "Jun", "Kofi", "Lena")


@family(1)
def sharing(rng: random.Random) -> Item:
    """Equal shares."""
    people, each, fruit = rng.randint(3, 9), rng.randint(4, 12), rng.choice(["apples", "plums", "pears", "figs"])
    question = f"{people} friends share {people * each} {fruit} equally. How many does each get?"
    return integer(question, people * each // people, each)


@family(1)
def given_away(rng: random.Random) -> Item:
    """Some given away, some bought."""
    name, first, gone, more = rng.choice(NAMES), rng.randint(20, 40), rng.randint(5, 15), rng.randint(4, 18)
    question = f"{name} has {first} stickers, gives {gone} away and then buys {more}. How many stickers are there now?"
    return integer(question, first - gone + more, first + more - gone)


@family(2)
def change(rng: random.Random) -> Item:
    """Change from a note."""
    name, pens, pen, books, book = rng.choice(NAMES), rng.randint(2, 6), rng.randint(2, 4), rng.randint(2, 4), 11
    paid = pens * pen + books * book
    question = (
        f"{name} buys {pens} pens at {pen} euros each and {books} notebooks at {book} euros each, and pays with a "
        "100-euro note. How many euros of change are due?"
    )
    return integer(question, 100 - paid, 100 - sum([pen] * pens + [book] * books))


@family(2)
def journey(rng: random.Random) -> Item:
    """A distance from two speeds and times."""
    a, b, s, t = rng.randint(2, 5), rng.randint(2, 4), 10 * rng.randint(5, 9), 10 * rng.randint(8, 12)
    question = f"A train runs {a} hours at {s} km/h, then {b} hours at {t} km/h. How many kilometres is that in total?"
    return integer(question, a * s + b * t, sum([s] * a) + sum([t] * b))


@family(2)
def recipe(rng: random.Random) -> Item:
    """A recipe for more people."""
    people, grams, factor = rng.choice([2, 4, 6]), 50 * rng.randint(3, 9), rng.randint(2, 5)
    wanted = people * factor
    question = f"A recipe for {people} people needs {grams} g of flour. How many grams are needed for {wanted} people?"
    return integer(question, grams * wanted // people, grams * factor)


@family(2)
def doubling(rng: random.Random) -> Item:
    """Something that doubles."""
    start, every, times = rng.randint(3, 9), rng.choice([2, 3, 4]), rng.randint(4, 7)
    question = (
        f"A culture of {start} cells doubles every {every} hours. How many cells are there after {every * times} hours?"
    )
    again = start
    for _ in range(times):
        again += again
    return integer(question, start * 2**times, again)


@family(3)
def ages(rng: random.Random) -> Item:
    """Two ages from a sum and a factor."""
    older, younger = rng.sample(NAMES, 2)
    child, factor, years = rng.randint(6, 14), rng.randint(3, 5), rng.randint(2, 6)
    total = child + factor * child + 2 * years
    question = (
        f"{older} is {factor} times as old as {younger}. In {years} years the sum of their ages will be {total}. "
        f"How old is {younger} now?"
    )
    again = next(x for x in range(1, 100) if x + years + factor * x + years == total)
    return integer(question, child, again)


@family(3)
def discount(rng: random.Random) -> Item:
    """A discount, then a tax."""
    price, off, tax = 100 * rng.randint(2, 9), rng.choice([10, 20, 30, 40]), rng.choice([5, 10, 20])
    question = (
        f"A coat costs {price} dollars. It is reduced by {off} %, then {tax} % tax is added to the reduced price. "
        "What is the final price in dollars?"
    )
    reduced = Fraction(price * (100 - off), 100)
    return number(question, reduced + reduced * tax / 100, Fraction(price * (100 - off) * (100 + tax), 10_000))


@family(3)
def overtime(rng: random.Random) -> Item:
    """Wages with overtime."""
    name, rate, hours = rng.choice(NAMES), 2 * rng.randint(7, 14), rng.randint(43, 52)
    question = (
        f"{name} earns {rate} dollars an hour, and one and a half times as much for every hour beyond 40 in a week. "
        f"How many dollars are earned in a week of {hours} hours?"
    )
    again = sum(rate if hour < 40 else rate + rate // 2 for hour in range(hours))
    return integer(question, 40 * rate + (hours - 40) * rate * 3 // 2, again)


@family(3)
def handshakes(rng: random.Random) -> Item:
    """Everybody with everybody, but for those who know each other."""
    people, couples = rng.randint(9, 16), rng.randint(2, 4)
    question = (
        f"At a party of {people} people, {couples} couples among them, everybody shakes hands once with everybody "
        "except with their own partner. How many handshakes are there?"
    )
    pairs = [
        (i, j) for i, j in itertools.combinations(range(people), 2) if not (i % 2 == 0 and j == i + 1 < 2 * couples)
    ]
    return integer(question, math.comb(people, 2) - couples, len(pairs))


@family(4)
def working_together(rng: random.Random) -> Item:
    """Two pumps and a leak."""
    a, b, leak = rng.choice([(6, 12, 12), (4, 6, 12), (3, 6, 4), (10, 15, 30), (8, 12, 24), (5, 20, 10), (9, 18, 12)])
    times = rng.randint(2, 4)
    a, b, leak = a * times, b * times, leak * times
    rate = Fraction(1, a) + Fraction(1, b) - Fraction(1, leak)
    question = (
        f"One pump fills a tank in {a} minutes, another in {b} minutes, and a leak empties the full tank in {leak} "
        "minutes. With both pumps and the leak at work, in how many minutes is the empty tank full? Be exact."
    )
    return number(question, 1 / rate, Fraction(a * b * leak, b * leak + a * leak - a * b))


@family(4)
def dilution(rng: random.Random) -> Item:
    """How much water dilutes a solution."""
    (strong, weak), litres = rng.choice([(40, 25), (60, 45), (30, 20), (80, 50), (50, 35)]), rng.randint(6, 25)
    question = (
        f"How many litres of water must be added to {litres} litres of a {strong} % acid solution to get a {weak} % "
        "solution? Give the exact value, as a fraction if it is not whole."
    )
    water = Fraction(litres * strong, weak) - litres
    return number(question, water, Fraction(litres * (strong - weak), weak))


@family(4)
def two_draws(rng: random.Random) -> Item:
    """A probability of drawing two of one colour."""
    red, blue, green = rng.randint(3, 6), rng.randint(2, 5), rng.randint(2, 4)
    balls = ["r"] * red + ["b"] * blue + ["g"] * green
    pairs = list(itertools.combinations(balls, 2))
    question = (
        f"A bag holds {red} red, {blue} blue and {green} green balls. Two are drawn without putting the first back. "
        "What is the probability that both have the same colour? Answer with an exact fraction."
    )
    same = math.comb(red, 2) + math.comb(blue, 2) + math.comb(green, 2)
    again = Fraction(sum(a == b for a, b in pairs), len(pairs))
    return number(question, Fraction(same, math.comb(len(balls), 2)), again, hint="<fraction>")


@family(5)
def ways_to_pay(rng: random.Random) -> Item:
    """In how many ways coins make an amount."""
    coins, total = rng.choice([(1, 2, 5, 10), (2, 3, 7), (1, 5, 10, 25), (3, 4, 5), (1, 3, 4, 9)]), rng.randint(27, 48)
    ways = [1] + [0] * total
    for coin in coins:
        for amount in range(coin, total + 1):
            ways[amount] += ways[amount - coin]
    named = f"{', '.join(map(str, coins[:-1]))} and {coins[-1]}"
    question = (
        f"A country has coins of {named} cents. In how many ways can one pay exactly {total} cents, if the order "
        "of the "
        "coins does not matter and there are enough of each?"
    )
    return integer(question, ways[total], _ways(coins, total))


def _ways(coins: tuple[int, ...], total: int) -> int:
    """The same, coin by coin."""
    if not coins:
        return int(total == 0)
    return sum(_ways(coins[:-1], total - spent) for spent in range(0, total + 1, coins[-1]))


@family(5)
def blocked_paths(rng: random.Random) -> Item:
    """Paths on a grid around a blocked crossing."""
    width, height = rng.randint(5, 7), rng.randint(4, 6)
    x, y = rng.randint(1, width - 1), rng.randint(1, height - 1)
    counts = [[1] * (height + 1) for _ in range(width + 1)]
    for i, j in itertools.product(range(width + 1), range(height + 1)):
        if (i, j) == (x, y):
            counts[i][j] = 0
        elif i or j:
            counts[i][j] = (counts[i - 1][j] if i else 0) + (counts[i][j - 1] if j else 0)
    through = math.comb(x + y, x) * math.comb(width - x + height - y, width - x)
    question = (
        f"On a grid one walks from (0, 0) to ({width}, {height}) in steps of 1, each to the right or upwards, and "
        "never "
        f"through ({x}, {y}). How many different paths are there?"
    )
    return integer(question, math.comb(width + height, width) - through, counts[width][height])
