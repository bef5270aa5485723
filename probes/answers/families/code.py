"""What a piece of code prints. The generator runs each of its own snippets to check what it computed."""

from __future__ import annotations

import contextlib
import io
import itertools
import random

from families.item import Item, family, integer, text

WORDS = ("planet", "marble", "candle", "window", "hammer", "silver", "garden", "bottle", "timber", "rocket")


def _printed(source: str) -> str:
    """What one of this module's snippets prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, {})  # noqa: S102  (a snippet written below, never anybody else's)
    return out.getvalue().strip()


def _ask(source: str) -> str:
    return f"What does this Python program print?\n\n```python\n{source}\n```\n\n"


@family(1)
def assignments(rng: random.Random) -> Item:
    """Two assignments."""
    a, b = rng.randint(3, 20), rng.randint(3, 20)
    source = f"x = {a}\ny = x + {b}\nprint(y)"
    return integer(_ask(source), a + b, int(_printed(source)))


@family(2)
def running_total(rng: random.Random) -> Item:
    """A loop that adds up."""
    start, stop, k = rng.randint(1, 4), rng.randint(6, 9), rng.randint(2, 5)
    source = f"total = 0\nfor i in range({start}, {stop}):\n    total += {k} * i\nprint(total)"
    return integer(_ask(source), k * (stop * (stop - 1) - start * (start - 1)) // 2, int(_printed(source)))


@family(2)
def slice_of_a_list(rng: random.Random) -> Item:
    """The sum of a slice."""
    numbers = [rng.randint(1, 30) for _ in range(8)]
    low, high = rng.randint(1, 3), rng.randint(5, 7)
    source = f"a = {numbers}\nprint(sum(a[{low}:{high}]))"
    again = sum(n for i, n in enumerate(numbers) if low <= i < high)
    return integer(_ask(source), int(_printed(source)), again)


@family(3)
def nested_loops(rng: random.Random) -> Item:
    """Pairs that satisfy a condition."""
    n, m, k = rng.randint(5, 8), rng.randint(5, 8), rng.choice([3, 4])
    source = (
        f"count = 0\nfor i in range({n}):\n    for j in range(i, {m}):\n        if (i + j) % {k} == 0:\n"
        "            count += 1\nprint(count)"
    )
    pairs = ((i, j) for i, j in itertools.product(range(n), range(m)) if j >= i)
    return integer(_ask(source), sum((i + j) % k == 0 for i, j in pairs), int(_printed(source)))


@family(3)
def string_methods(rng: random.Random) -> Item:
    """A chain of string methods."""
    word, i, j = rng.choice(WORDS), rng.randint(0, 2), rng.randint(4, 6)
    old = word[rng.randint(1, 4)]
    source = f's = "{word}"\nprint(s.replace("{old}", "{old * 2}")[{i}:{j}].upper())'
    doubled = "".join(c * 2 if c == old else c for c in word).upper()
    return text(_ask(source), "".join(doubled[x] for x in range(i, min(j, len(doubled)))), _printed(source))


@family(3)
def comprehension(rng: random.Random) -> Item:
    """A filtered list comprehension."""
    n, a, b = rng.randint(12, 20), rng.choice([2, 3]), rng.choice([4, 5])
    source = f"print(sum([x * x for x in range({n}) if x % {a} == 0 and x % {b} != 0]))"
    return integer(_ask(source), sum(x**2 for x in range(0, n, a) if x % b), int(_printed(source)))


@family(3)
def word_counts(rng: random.Random) -> Item:
    """A dictionary that counts."""
    letters = [rng.choice("abcd") for _ in range(12)]
    source = (
        f'counts = {{}}\nfor c in "{"".join(letters)}":\n    counts[c] = counts.get(c, 0) + 1\n'
        "print(max(counts.values()) * 10 + min(counts.values()))"
    )
    counts = sorted(letters.count(c) for c in set(letters))
    return integer(_ask(source), 10 * counts[-1] + counts[0], int(_printed(source)))


@family(4)
def recursion(rng: random.Random) -> Item:
    """A recurrence of two terms."""
    p, q, n = rng.randint(1, 3), rng.randint(1, 3), rng.randint(6, 8)
    source = (
        f"def f(n):\n    if n < 2:\n        return n + 1\n    return {p} * f(n - 1) + {q} * f(n - 2)\n\nprint(f({n}))"
    )
    values = [1, 2]
    while len(values) <= n:
        values.append(p * values[-1] + q * values[-2])
    return integer(_ask(source), values[n], int(_printed(source)))


@family(4)
def collatz(rng: random.Random) -> Item:
    """The number of steps to 1."""
    n = rng.choice([k for k in range(11, 60) if k not in {27, 31, 41, 47, 54, 55}])
    source = (
        f"n, steps = {n}, 0\nwhile n != 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n    steps += 1\nprint(steps)"
    )

    def steps(k: int) -> int:
        return 0 if k == 1 else 1 + steps(3 * k + 1 if k % 2 else k // 2)

    return integer(_ask(source), steps(n), int(_printed(source)))


@family(4)
def bit_operations(rng: random.Random) -> Item:
    """And, or, exclusive or, shifts."""
    a, b, c = rng.randint(70, 250), rng.randint(70, 250), rng.randint(1, 3)
    source = f"a, b = {a}, {b}\nprint((a & b) ^ (a | b) >> {c})"
    both = sum(1 << i for i in range(8) if a >> i & 1 and b >> i & 1)
    either = sum(1 << i for i in range(8) if a >> i & 1 or b >> i & 1)
    return integer(_ask(source), both ^ (either // 2**c), int(_printed(source)))


@family(5)
def stack_machine(rng: random.Random) -> Item:
    """A long program for a stack."""
    program: list[str] = []
    stack: list[int] = []
    for _ in range(18):
        operation = rng.choice(["push", "add", "mul", "swap", "dup"]) if len(stack) > 1 else "push"
        if operation == "push" or (operation == "mul" and max(map(abs, stack[-2:])) > 60):
            n = rng.randint(2, 9)
            program.append(f"push {n}")
            stack.append(n)
            continue
        program.append(operation)
        top, below = stack.pop(), stack.pop()
        stack += {"add": [below + top], "mul": [below * top], "swap": [top, below], "dup": [below, top, top]}[operation]
    question = (
        "A stack machine starts with an empty stack. `push n` puts n on top; `add` and `mul` take the top two values "
        "off and put their sum or product on; `swap` exchanges the top two; `dup` puts a copy of the top on top. What "
        f"is the sum of all values on the stack after this program?\n\n{', '.join(program)}\n\n"
    )
    return integer(question, sum(stack), sum(_run(program)))


def _run(program: list[str]) -> list[int]:
    """The stack after a program, by an interpreter of its own."""
    stack: tuple[int, ...] = ()
    for line in program:
        match line.split():
            case ["push", n]:
                stack = (*stack, int(n))
            case ["add"]:
                stack = (*stack[:-2], stack[-2] + stack[-1])
            case ["mul"]:
                stack = (*stack[:-2], stack[-2] * stack[-1])
            case ["swap"]:
                stack = (*stack[:-2], stack[-1], stack[-2])
            case ["dup"]:
                stack = (*stack, stack[-1])
    return list(stack)


@family(5)
def registers(rng: random.Random) -> Item:
    """A loop that shuffles three variables."""
    a, b, c, n, m = (
        rng.randint(1, 9),
        rng.randint(1, 9),
        rng.randint(1, 9),
        rng.randint(6, 9),
        rng.choice([97, 101, 89]),
    )
    source = (
        f"a, b, c = {a}, {b}, {c}\nfor i in range({n}):\n    a, b, c = b, (a + b * c) % {m}, (c + i * a) % {m}\n"
        "print(a + b + c)"
    )
    for i in range(n):
        a, b, c = b, (b * c + a) % m, (i * a + c) % m
    return integer(_ask(source), a + b + c, int(_printed(source)))
