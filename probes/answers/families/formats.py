"""Answers in a given form: JSON from prose or tables, and forms to be kept."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random

from families.item import Item, family, json_value, text

NAMES = ("Ada", "Bo", "Cleo", "Dov", "Esme", "Finn", "Gus", "Hal", "Ida", "Joe", "Kai", "Liv")
CITIES = ("Lisbon", "Oslo", "Prague", "Quito", "Riga", "Seville", "Turin", "Utrecht", "Vienna", "Warsaw")
GOODS = ("bolt", "nut", "washer", "hinge", "screw", "bracket", "clamp", "hook")


@family(1)
def capitals(rng: random.Random) -> Item:
    """A phrase in capitals."""
    phrase = f"{rng.choice(GOODS)} and {rng.choice(CITIES)}".lower()
    again = "".join(chr(ord(c) - 32) if c.isalpha() else c for c in phrase)
    return text(f'Write "{phrase}" in capital letters.', phrase.upper(), again)


@family(2)
def person_record(rng: random.Random) -> Item:
    """A person's data as JSON."""
    name, city, age = rng.choice(NAMES), rng.choice(CITIES), rng.randint(21, 80)
    question = (
        f'"My name is {name}, I turned {age} last week and I have lived in {city} for ten years." Extract a JSON '
        "object with "
        'the keys "name" (string), "age" (number) and "city" (string).'
    )
    again = json.loads(f'{{"age": {age}, "city": "{city}", "name": "{name}"}}')
    return json_value(question, {"name": name, "age": age, "city": city}, again)


@family(2)
def array_of_numbers(rng: random.Random) -> Item:
    """The numbers of a sentence as a JSON array."""
    goods, counts = rng.sample(GOODS, 4), rng.sample(range(11, 99), 4)
    listed = ", ".join(f"{n} {g}s" for n, g in zip(counts, goods, strict=True))
    question = f"The box holds {listed}. Give the counts in the order of mention as a JSON array of numbers."
    return json_value(question, counts, [int(word) for word in listed.split() if word.isdigit()])


@family(3)
def table_to_objects(rng: random.Random) -> Item:
    """A CSV table as JSON."""
    rows = [(rng.choice(GOODS) + str(i), rng.randint(1, 90), rng.choice([True, False])) for i in range(1, 4)]
    table = "item,count,in_stock\n" + "\n".join(f"{a},{b},{'yes' if c else 'no'}" for a, b, c in rows)
    question = (
        "Turn this CSV into a JSON array of objects, with `count` as a number and `in_stock` as true or "
        f"false:\n\n{table}\n\n"
    )
    read = csv.DictReader(io.StringIO(table))
    again = [r | {"count": int(r["count"]), "in_stock": r["in_stock"] == "yes"} for r in read]
    return json_value(question, [{"item": a, "count": b, "in_stock": c} for a, b, c in rows], again)


@family(3)
def renamed_keys(rng: random.Random) -> Item:
    """An object with other keys."""
    old, new = rng.sample(["alpha", "beta", "gamma", "delta"], 4), rng.sample(["north", "east", "south", "west"], 4)
    values = rng.sample(range(100), 4)
    source = dict(zip(old, values, strict=True))
    renames = ", ".join(f"{a} to {b}" for a, b in zip(old, new, strict=True))
    question = f"Rename the keys of this JSON object ({renames}) and keep its values: {json.dumps(source)}."
    return json_value(
        question, {b: source[a] for a, b in zip(old, new, strict=True)}, dict(zip(new, values, strict=True))
    )


@family(4)
def grouped_orders(rng: random.Random) -> Item:
    """Orders summed by customer."""
    people = rng.sample(NAMES, 3)
    orders = [(rng.choice(people), rng.randint(5, 60)) for _ in range(9)]
    said = "; ".join(f"{p} {n}" for p, n in orders)
    totals: dict[str, int] = {}
    for person, amount in orders:
        totals[person] = totals.get(person, 0) + amount
    question = f"Orders: {said}. Give the total of each customer as a JSON object from name to number."
    grouped = itertools.groupby(sorted(orders), key=lambda order: order[0])
    return json_value(question, totals, {person: sum(n for _, n in group) for person, group in grouped})


@family(4)
def nested_selection(rng: random.Random) -> Item:
    """A filtered, sorted and reshaped array."""
    people = rng.sample(NAMES, 6)
    ages = rng.sample(range(18, 70), 6)
    cities = {name: rng.choice(CITIES[:3]) for name in people}
    data = [{"name": n, "age": a, "city": cities[n]} for n, a in zip(people, ages, strict=True)]
    limit = sorted(ages)[2] - 1
    question = (
        f"From this JSON take the people older than {limit}, oldest first, and give a JSON array of objects with "
        "only the "
        f'keys "name" and "city": {json.dumps(data)}.'
    )
    chosen = sorted(((a, n) for n, a in zip(people, ages, strict=True) if a > limit), reverse=True)
    oldest_first = [d for age in range(99, limit, -1) for d in data if d["age"] == age]
    again = [{k: v for k, v in d.items() if k != "age"} for d in oldest_first]
    return json_value(question, [{"name": n, "city": cities[n]} for _, n in chosen], again)


@family(5)
def transposed(rng: random.Random) -> Item:
    """A matrix turned by a quarter."""
    matrix = [[rng.randint(10, 99) for _ in range(5)] for _ in range(4)]
    question = (
        "Rotate this matrix by 90 degrees clockwise, then replace every number by its value modulo 7. Give the "
        "result as a "
        f"JSON array of rows: {json.dumps(matrix)}."
    )
    value = [[n % 7 for n in row] for row in (list(column)[::-1] for column in zip(*matrix, strict=True))]
    again = [[matrix[3 - j][i] % 7 for j in range(4)] for i in range(5)]
    return json_value(question, value, again)
