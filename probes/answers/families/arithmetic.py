"""Numbers."""

from __future__ import annotations

import math
import random
from fractions import Fraction

from families.item import Item, family, integer, number, text


@family(1)
def sum_of_two(rng: random.Random) -> Item:
    """A sum of two-digit numbers."""
    a, b = rng.randint(12, 89), rng.randint(12, 89)
    return integer(f"What is {a} + {b}?", a + b, b - (-a))


@family(1)
def difference(rng: random.Random) -> Item:
    """A difference of two-digit numbers."""
    b, a = sorted(rng.sample(range(11, 100), 2))
    return integer(f"Subtract {b} from {a}.", a - b, len(range(b, a)))


@family(1)
def small_product(rng: random.Random) -> Item:
    """A product from the multiplication table."""
    a, b = rng.randint(3, 12), rng.randint(3, 12)
    return integer(f"How much is {a} times {b}?", a * b, sum([a] * b))


@family(2)
def sum_of_five(rng: random.Random) -> Item:
    """A sum of five three-digit numbers."""
    numbers = [rng.randint(101, 989) for _ in range(5)]
    again = 100 * sum(n // 100 for n in numbers) + sum(n % 100 for n in numbers)
    return integer(f"Add up these numbers: {', '.join(map(str, numbers))}.", sum(numbers), again)


@family(2)
def product_two_digits(rng: random.Random) -> Item:
    """A product of two-digit numbers."""
    a, b = rng.randint(13, 97), rng.randint(13, 97)
    return integer(f"Multiply {a} by {b}.", a * b, ((a + b) ** 2 - (a - b) ** 2) // 4)


@family(2)
def remainder(rng: random.Random) -> Item:
    """A remainder of a division by a small number."""
    a, b = rng.randint(200, 999), rng.randint(6, 19)
    return integer(f"What remains when {a} is divided by {b}?", a % b, a - b * (a // b))


@family(2)
def precedence(rng: random.Random) -> Item:
    """Multiplication before addition."""
    a, b, c, d = (rng.randint(3, 19) for _ in range(4))
    return integer(f"Evaluate {a} + {b} × {c} - {d}.", a + b * c - d, -d + c * b + a)


@family(2)
def percentage(rng: random.Random) -> Item:
    """A percentage that comes out whole."""
    p, n = rng.choice([5, 15, 20, 25, 30, 35, 40, 60, 75]), 20 * rng.randint(4, 60)
    return integer(f"What is {p} % of {n}?", p * n // 100, n // 20 * p // 5)


@family(3)
def product_three_digits(rng: random.Random) -> Item:
    """A product of three-digit numbers."""
    a, b = rng.randint(112, 987), rng.randint(112, 987)
    return integer(f"Compute {a} × {b}.", a * b, sum(a * int(d) * 10**i for i, d in enumerate(reversed(str(b)))))


@family(3)
def sum_of_fractions(rng: random.Random) -> Item:
    """A sum of two fractions in lowest terms."""
    b, d = rng.sample(range(3, 13), 2)
    a, c = rng.randint(1, b - 1), rng.randint(1, d - 1)
    again = Fraction(a * d + c * b, b * d)
    question = f"What is {a}/{b} + {c}/{d}? Give the exact value as a fraction."
    return number(question, Fraction(a, b) + Fraction(c, d), again, hint="<fraction>")


@family(3)
def percentage_change(rng: random.Random) -> Item:
    """A change in per cent."""
    old, change = 40 * rng.randint(2, 20), rng.choice([-75, -60, -40, -35, -15, -5, 5, 15, 35, 45, 65, 85])
    new = old + old * change // 100
    verb = "rises" if change > 0 else "falls"
    question = f"A price {verb} from {old} to {new} dollars. By how many per cent does it change? Leave the sign out."
    return number(question, Fraction(100 * abs(new - old), old), Fraction(abs(change)), percent=True)


@family(3)
def greatest_common_divisor(rng: random.Random) -> Item:
    """A greatest common divisor."""
    g = rng.randint(6, 24)
    a, b = (g * k for k in rng.sample(range(5, 30), 2))
    again = max(d for d in range(1, a + 1) if a % d == b % d == 0)
    return integer(f"What is the greatest common divisor of {a} and {b}?", math.gcd(a, b), again)


@family(3)
def least_common_multiple(rng: random.Random) -> Item:
    """A least common multiple of three numbers."""
    a, b, c = rng.sample(range(4, 25), 3)
    again = next(n for n in range(c, a * b * c + 1, c) if n % a == n % b == 0)
    return integer(f"Find the least common multiple of {a}, {b} and {c}.", math.lcm(a, b, c), again)


@family(3)
def from_binary(rng: random.Random) -> Item:
    """A binary number in decimal."""
    n = rng.randint(70, 500)
    again = sum(1 << i for i in range(10) if n >> i & 1)
    return integer(f"Convert the binary number {n:b} to decimal.", int(f"{n:b}", 2), again)


@family(4)
def to_hexadecimal(rng: random.Random) -> Item:
    """A decimal number in hexadecimal."""
    n = rng.randint(3000, 60000)
    digits, rest = "", n
    while rest:
        digits, rest = "0123456789abcdef"[rest % 16] + digits, rest // 16
    question = f"Write the decimal number {n} in hexadecimal, in lower case and without a prefix."
    return text(question, f"{n:x}", digits, accept=[f"{n:X}", f"0x{n:x}", f"0x{n:X}"], hint="<hexadecimal number>")


@family(4)
def alternating_sum(rng: random.Random) -> Item:
    """A long sum with changing signs."""
    terms = [rng.randint(11, 99) * rng.choice([1, -1]) for _ in range(12)]
    written = "".join(f" {'-' if t < 0 else '+'} {abs(t)}" for t in terms[1:])
    again = sum(t for t in terms if t > 0) - sum(-t for t in terms if t < 0)
    return integer(f"Evaluate {terms[0]}{written}.", sum(terms), again)


@family(4)
def primes_between(rng: random.Random) -> Item:
    """How many primes lie in a range."""
    low = rng.randint(100, 300)
    high = low + rng.randint(40, 70)
    trial = sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(low, high + 1))
    composites = {a * b for a in range(2, high) for b in range(2, high // a + 1)}
    question = f"How many prime numbers are there from {low} to {high}, both included?"
    return integer(question, trial, len(set(range(low, high + 1)) - composites))


@family(5)
def product_five_digits(rng: random.Random) -> Item:
    """A product of five-digit numbers."""
    a, b = rng.randint(12345, 98765), rng.randint(12345, 98765)
    return integer(f"What is {a} × {b}?", a * b, sum(a * int(d) * 10**i for i, d in enumerate(reversed(str(b)))))


@family(5)
def power_modulo(rng: random.Random) -> Item:
    """A power modulo a two-digit number."""
    a, b, m = rng.randint(3, 19), rng.randint(40, 99), rng.choice([41, 43, 47, 53, 59, 61, 67, 71])
    return integer(f"What is the remainder of {a}^{b} divided by {m}?", pow(a, b, m), a**b % m)


@family(5)
def digits_of_a_power(rng: random.Random) -> Item:
    """The sum of the digits of a large power."""
    a, b = rng.choice([6, 7, 8, 9, 11, 12, 13]), rng.randint(11, 16)
    rest, total = a**b, 0
    while rest:
        rest, digit = divmod(rest, 10)
        total += digit
    return integer(f"What is the sum of the decimal digits of {a}^{b}?", sum(map(int, str(a**b))), total)
