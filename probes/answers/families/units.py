"""Units and ways to write numbers."""

from __future__ import annotations

import random
from fractions import Fraction

from families.item import Item, family, integer, number, text

ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
    (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def _to_roman(n: int) -> str:
    written = ""
    for value, sign in ROMAN:
        written += sign * (n // value)
        n %= value
    return written


def _from_roman(written: str) -> int:
    values = [{sign: value for value, sign in ROMAN}[c] for c in written]
    return sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))


@family(1)
def metres(rng: random.Random) -> Item:
    """Kilometres and metres in metres."""
    km, m = rng.randint(2, 15), 50 * rng.randint(1, 19)
    return integer(f"How many metres are {km} km and {m} m?", 1000 * km + m, int(f"{km}{m:03d}"))


@family(2)
def litres(rng: random.Random) -> Item:
    """The volume of a box in litres."""
    a, b, c = (10 * rng.randint(2, 9) for _ in range(3))
    question = f"An aquarium is {a} cm long, {b} cm wide and {c} cm high inside. How many litres does it hold?"
    return integer(question, a * b * c // 1000, a // 10 * (b // 10) * (c // 10))


@family(2)
def fahrenheit(rng: random.Random) -> Item:
    """Celsius in Fahrenheit."""
    celsius = 5 * rng.randint(-6, 40)
    return integer(
        f"What is {celsius} degrees Celsius in degrees Fahrenheit?", celsius * 9 // 5 + 32, 9 * (celsius // 5) + 32
    )


@family(2)
def from_roman(rng: random.Random) -> Item:
    """A Roman numeral."""
    n = rng.randint(40, 900)
    return integer(f"Which number is the Roman numeral {_to_roman(n)}?", n, _from_roman(_to_roman(n)))


@family(3)
def to_roman(rng: random.Random) -> Item:
    """A number in Roman numerals."""
    n = rng.randint(1000, 2999)
    digits = (
        ("", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"),
        ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"),
        ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"),
    )
    again = "M" * (n // 1000) + "".join(row[int(d)] for row, d in zip(digits, f"{n % 1000:03d}", strict=True))
    return text(f"Write {n} as a Roman numeral.", _to_roman(n), again, hint="<numeral>")


@family(3)
def metres_per_second(rng: random.Random) -> Item:
    """Kilometres per hour in metres per second."""
    speed = 9 * rng.randint(3, 40)
    question = f"A car drives at {speed} km/h. How many metres per second is that, exactly?"
    return number(question, Fraction(speed * 1000, 3600), Fraction(speed) / Fraction("3.6"))


@family(3)
def time_zones(rng: random.Random) -> Item:
    """A time in another zone."""
    here, there = rng.sample([-8, -5, -3, 0, 1, 2, 3, 8, 9, 10], 2)
    hour, minute = rng.randint(0, 23), rng.choice([0, 15, 30, 45])
    question = (
        f"It is {hour:02d}:{minute:02d} in a city at UTC{here:+d}. What time of day is it at that moment in a city "
        "at "
        f"UTC{there:+d}, in 24-hour form?"
    )
    value = (hour - here + there) % 24
    again = range(24)[(hour + (there - here)) - 24 * ((hour + there - here) // 24)]
    written = f"{value:02d}:{minute:02d}"
    return text(question, written, f"{again:02d}:{minute:02d}", accept=[f"{value}:{minute:02d}"], hint="<HH:MM>")


@family(4)
def fuel(rng: random.Random) -> Item:
    """A consumption over a distance with a price."""
    rate, distance, price = (
        Fraction(rng.randint(45, 95), 10),
        40 * rng.randint(5, 20),
        Fraction(rng.randint(31, 45), 20),
    )
    question = (
        f"A car uses {float(rate)} litres per 100 km. Fuel costs {float(price):.2f} euros a litre. How many euros "
        "does the "
        f"fuel for {distance} km cost? Do not round."
    )
    return number(question, rate * distance / 100 * price, price * Fraction(distance, 100) * rate)
