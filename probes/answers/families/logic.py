"""Reasoning from what is said."""

from __future__ import annotations

import itertools
import random

from families.item import Item, family, integer, word, yes_no

NAMES = ("Anna", "Boris", "Clara", "David", "Elena", "Felix", "Greta", "Henry", "Irina", "Jonas")
KINDS = ("wugs", "blickets", "daxes", "feps", "zorks", "mips", "toves", "borogoves")


@family(1)
def taller(rng: random.Random) -> Item:
    """The tallest of three."""
    a, b, c = people = rng.sample(NAMES, 3)
    first, second = rng.sample([f"{a} is taller than {b}.", f"{b} is taller than {c}."], 2)
    return word(f"{first} {second} Who is the tallest?", a, next(p for p in people if p not in {b, c}), among=people)


@family(2)
def last_holder(rng: random.Random) -> Item:
    """A thing that is passed on."""
    chain = [rng.choice(NAMES)]
    for _ in range(rng.randint(4, 6)):
        chain.append(rng.choice([n for n in NAMES if n != chain[-1]]))
    moves = " ".join(f"{a} passes it to {b}." for a, b in itertools.pairwise(chain))
    holder = chain[0]
    for sentence in moves.split(". "):
        holder = sentence.rstrip(".").split()[-1]
    return word(f"{chain[0]} holds a lamp. {moves} Who holds the lamp now?", chain[-1], holder, among=NAMES)


@family(3)
def syllogism(rng: random.Random) -> Item:
    """Whether a conclusion follows from two premises."""
    a, b, c = rng.sample(KINDS, 3)
    first, second, third = (
        rng.choice(["all", "no", "some"]),
        rng.choice(["all", "no"]),
        rng.choice(["all", "some", "no"]),
    )
    question = (
        f"{first.capitalize()} {a} are {b}. {second.capitalize()} {b} are {c}. There is at least one of each kind. "
        "Does it "
        f"follow that {third} {a} are {c}?"
    )
    valid = {("all", "all"): {"all", "some"}, ("all", "no"): {"no"}, ("some", "all"): {"some"}}
    return yes_no(question, third in valid.get((first, second), set()), _follows(first, second, third))


def _follows(first: str, second: str, third: str) -> bool:
    """The same by looking for a counterexample among all worlds whose every kind has a member."""

    def holds(quantifier: str, subject: int, predicate: int, world: tuple[tuple[bool, ...], ...]) -> bool:
        members = [being[predicate] for being in world if being[subject]]
        return {"all": all(members), "no": not any(members), "some": any(members)}[quantifier]

    beings = list(itertools.product([False, True], repeat=3))
    worlds = (w for n in (1, 2, 3) for w in itertools.combinations(beings, n))
    return all(
        holds(third, 0, 2, world)
        for world in worlds
        if all(any(being[kind] for being in world) for kind in range(3))
        and holds(first, 0, 1, world)
        and holds(second, 1, 2, world)
    )


@family(3)
def boolean_expression(rng: random.Random) -> Item:
    """A boolean expression."""
    p, q, r = (rng.choice([True, False]) for _ in range(3))
    source = rng.choice(
        ["(p and not q) or (q and r)", "not (p or q) or r", "(p or q) and not (q and r)", "not p and (q or not r)"]
    )
    value = {
        "(p and not q) or (q and r)": r if q else p,
        "not (p or q) or r": r or not (p or q),
        "(p or q) and not (q and r)": not r if q else p,
        "not p and (q or not r)": False if p else q or not r,
    }[source]
    again = bool(eval(source, {"p": p, "q": q, "r": r}))  # noqa: S307  (one of the expressions above)
    said = f"p is {str(p).lower()}, q is {str(q).lower()} and r is {str(r).lower()}"
    question = f"If {said}, is the expression `{source}` true?"
    return yes_no(question, value, again)


@family(3)
def fifth_of_five(rng: random.Random) -> Item:
    """Somebody's place in an order of five."""
    order = rng.sample(NAMES, 5)
    clues = [f"{a} finished right before {b}." for a, b in itertools.pairwise(order)]
    shown = rng.sample(clues, len(clues))
    place = rng.randint(1, 3)
    question = f"Five people ran a race. {' '.join(shown)} Who finished in place {place + 1}?"
    fits = [
        p
        for p in itertools.permutations(sorted(order))
        if all(f"{a} finished right before {b}." in clues for a, b in itertools.pairwise(p))
    ]
    return word(question, order[place], fits[0][place] if len(fits) == 1 else "several", among=order)


@family(4)
def swapped_cups(rng: random.Random) -> Item:
    """Where a ball is after many swaps."""
    cups, ball = list("ABCDE"), rng.choice("ABCDE")
    swaps = [tuple(rng.sample(cups, 2)) for _ in range(9)]
    place, contents = ball, {cup: cup == ball for cup in cups}
    for a, b in swaps:
        place = b if place == a else a if place == b else place
        contents[a], contents[b] = contents[b], contents[a]
    said = ", ".join(f"{a} and {b}" for a, b in swaps)
    question = (
        f"Five cups stand at the places A, B, C, D and E, with a ball under the one at {ball}. The cups at these "
        "pairs of "
        f"places are swapped, one pair after another: {said}. At which place is the ball?"
    )
    return word(question, place, next(cup for cup, full in contents.items() if full), among=cups)


@family(4)
def walk(rng: random.Random) -> Item:
    """A walk with turns; the distance from the start along the streets."""
    legs = [(rng.choice(["left", "right"]), rng.randint(1, 9)) for _ in range(7)]
    x = y = 0
    dx, dy = 0, 1
    position, heading = 0j, 1j
    for turn, length in legs:
        dx, dy = (-dy, dx) if turn == "left" else (dy, -dx)
        x, y = x + dx * length, y + dy * length
        heading *= 1j if turn == "left" else -1j
        position += heading * length
    said = ", ".join(f"turns {turn} and walks {length}" for turn, length in legs)
    question = (
        f"A robot faces north on a grid. It {said}. How many steps is its place from the start, if it may only step "
        "north, south, east and west?"
    )
    return integer(question, abs(x) + abs(y), round(abs(position.real) + abs(position.imag)))


@family(4)
def seating(rng: random.Random) -> Item:
    """Who sits in the middle, by elimination."""
    people = a, b, c, d, e = tuple(rng.sample(NAMES, 5))
    clues, middle = rng.choice(
        [
            ([f"{a} sits at the left end.", f"{b} sits right next to {a}.", f"{c} sits at the right end.",
              f"{d} sits right next to {c}."], e),
            ([f"{a} and {b} sit at the ends.", f"{c} sits right next to {a}.", f"{d} sits right next to {b}."], e),
            ([f"{a} sits in the second seat from the left.", f"{b} and {c} are neighbours.",
              f"{d} sits somewhere to the left of {a}.", f"{c} sits at the right end."], e),
        ]
    )  # fmt: skip
    said = " ".join(rng.sample(clues, len(clues)))
    question = (
        f"{', '.join(sorted(people)[:-1])} and {max(people)} sit in a row of five seats. {said} Who sits in the "
        "middle seat?"
    )
    fits = {seats[2] for seats in itertools.permutations(people) if all(_seated(clue, seats) for clue in clues)}
    return word(question, middle, "/".join(fits), among=people)


def _seated(clue: str, seats: tuple[str, ...]) -> bool:
    """Whether a clue holds, by what it says."""
    places = [seats.index(word.strip(".")) for word in clue.split() if word.strip(".") in seats]
    first, last = places[0], places[-1]
    return next(
        holds
        for phrase, holds in {
            "at the left end": first == 0,
            "at the right end": first == 4,
            "at the ends": {first, last} == {0, 4},
            "second seat from the left": first == 1,
            "somewhere to the left": first < last,
            "": abs(first - last) == 1,
        }.items()
        if phrase in clue
    )


@family(5)
def knights_and_knaves(rng: random.Random) -> Item:
    """How many of four tell the truth."""
    while True:
        people = rng.sample(NAMES, 4)
        claims = [_claim(rng, i) for i in range(4)]
        worlds = [
            w
            for w in itertools.product([True, False], repeat=4)
            if all(_holds(c, w) == w[i] for i, c in enumerate(claims))
        ]
        if len(worlds) == 1:
            said = " ".join(f'{p} says: "{_say(c, people)}"' for p, c in zip(people, claims, strict=True))
            question = (
                "On an island everybody either always tells the truth or always lies. "
                f"{said} How many of the four tell the truth?"
            )
            numbered = [n for n in range(16) if all(_holds(c, _bits(n)) == _bits(n)[i] for i, c in enumerate(claims))]
            return integer(question, sum(worlds[0]), numbered[0].bit_count())


def _bits(n: int) -> tuple[bool, ...]:
    return tuple(bool(n >> i & 1) for i in range(4))


def _claim(rng: random.Random, speaker: int) -> tuple[str, int, int]:
    a, b = rng.sample([i for i in range(4) if i != speaker], 2)
    return rng.choice(["liar", "same", "count"]), a, b


def _holds(claim: tuple[str, int, int], world: tuple[bool, ...]) -> bool:
    kind, a, b = claim
    return {"liar": not world[a], "same": world[a] == world[b], "count": sum(world) == 1 + (a + b) % 3}[kind]


def _say(claim: tuple[str, int, int], people: list[str]) -> str:
    kind, a, b = claim
    return {
        "liar": f"{people[a]} is a liar.",
        "same": f"{people[a]} and {people[b]} are of the same kind.",
        "count": f"Exactly {1 + (a + b) % 3} of the four of us tell the truth.",
    }[kind]
