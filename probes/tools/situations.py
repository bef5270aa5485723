"""What the probes of the `tools` suite are about: each situation draws a request and the only right calls."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from functions import CURRENCIES, FUNCTIONS, ROOMS, UNITS

__all__ = ["SITUATIONS", "Item"]

CITIES = (
    "Lyon", "Porto", "Kyoto", "Denver", "Oslo", "Lima", "Nairobi", "Perth", "Quito", "Graz", "Ghent", "Cork", "Turin",
    "Boston", "Osaka", "Tunis", "Hanoi", "Riga", "Basel", "Malmo", "Dakar", "Leeds", "Bergen", "Austin",
)  # fmt: skip
AIRPORTS = ("AMS", "BER", "CDG", "DUB", "FRA", "GVA", "HEL", "JFK", "LHR", "MAD", "NRT", "OSL", "PRG", "SFO", "VIE")
NAMES = ("Amira", "Bruno", "Chidi", "Dana", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Lena")
TOPICS = ("Budget review", "Design walk", "Hiring round", "Release plan", "Safety drill", "Sales call", "Stand-up")
TICKERS = ("AAPL", "AMD", "BA", "CSCO", "DIS", "IBM", "INTC", "KO", "MCD", "MSFT", "NKE", "NVDA", "PFE", "T", "WMT")
STREETS = ("Mill Lane", "Station Road", "Church Street", "Park Avenue", "Harbour Row", "Orchard Close")
GOODS = ("LAMP", "DESK", "VASE", "SHELF", "STOOL", "CLOCK", "FRAME")
SUBJECTS = (
    "a lighthouse", "an old bridge", "the first snow", "a lost glove", "a quiet library", "morning trains",
    "a paper boat", "two rivers", "an empty theatre", "the last bus", "a stone garden", "a broken clock",
)  # fmt: skip
FORMS = ("a haiku", "a limerick", "one sentence", "a short riddle", "a title for a poem")
WORDS = ("harbour", "whisper", "lantern", "thunder", "meadow", "gravel", "velvet", "compass", "orchard", "timber")
ASKED = ("a synonym of", "an opposite of", "a rhyme for", "the German word for", "the French word for")
UNKNOWN = (
    "Water the plants on the balcony for {} minutes.", "Print {} copies of my boarding pass.",
    "Order a taxi for {} people to the opera.", "Lower the blinds by {} percent.", "Charge my car to {} percent.",
    "Translate page {} of the manual that I sent you.", "Turn the radio to channel {}.", "Read me chapter {} aloud.",
)  # fmt: skip

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Item:
    """A conversation, the functions that may be called, and the calls that are right."""

    messages: list[dict[str, Any]]
    tools: list[str]
    calls: list[Call]


Situation = Callable[[random.Random], Item]
SITUATIONS: dict[str, tuple[int, Situation]] = {}  # by name: the level, and what draws


def situation(level: int) -> Callable[[Situation], Situation]:
    """Register a situation under its function's name."""

    def register(function: Situation) -> Situation:
        SITUATIONS[function.__name__.replace("_", "-")] = level, function
        return function

    return register


def declared(rng: random.Random, needed: Iterable[str], like: Iterable[str] = ()) -> list[str]:
    """The functions that a probe needs, those that are like them, and one to three others, in any order."""
    names = list(dict.fromkeys((*needed, *like)))
    names += rng.sample([name for name in FUNCTIONS if name not in names], rng.randint(1, 3))
    rng.shuffle(names)
    return names


def asked(rng: random.Random, ways: Iterable[str], calls: list[Call], like: Iterable[str] = ()) -> Item:
    """One of several ways to ask for these calls."""
    tools = declared(rng, [name for name, _ in calls], like)
    return Item([{"role": "user", "content": rng.choice(list(ways))}], tools, calls)


def some_day(rng: random.Random) -> tuple[str, str]:
    """A day as people write it, and as functions want it."""
    day = date(2031, 1, 1) + timedelta(days=rng.randrange(1400))
    return rng.choice((f"{day.day} {day:%B} {day.year}", f"{day:%B} {day.day}, {day.year}")), day.isoformat()


def some_time(rng: random.Random) -> str:
    """A time of day."""
    return f"{rng.randrange(24):02}:{5 * rng.randrange(12):02}"


def listed(words: Iterable[str]) -> str:
    """Words joined as in a sentence."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


@situation(1)
def weather(rng: random.Random) -> Item:
    """A forecast in one of two units."""
    city, (day, iso), unit = rng.choice(CITIES), some_day(rng), rng.choice(("celsius", "fahrenheit"))
    ways = (
        f"What will the weather be in {city} on {day}? In degrees {unit.title()}, please.",
        f"I am in {city} on {day}. Get me the weather forecast in {unit}.",
    )
    return asked(rng, ways, [("get_weather", {"city": city, "date": iso, "unit": unit})], ["get_air_quality"])


@situation(1)
def air(rng: random.Random) -> Item:
    """The air, and not the weather."""
    city, (day, iso) = rng.choice(CITIES), some_day(rng)
    ways = (f"How clean will the air be in {city} on {day}?", f"Give me the air quality of {city} for {day}.")
    return asked(rng, ways, [("get_air_quality", {"city": city, "date": iso})], ["get_weather"])


@situation(1)
def currency(rng: random.Random) -> Item:
    """An amount in another currency."""
    (source, target), amount = rng.sample(CURRENCIES, 2), rng.randrange(200, 90000) / 4
    ways = (f"How much is {amount:.2f} {source} in {target}?", f"Convert {amount:.2f} {source} to {target}.")
    call = "convert_currency", {"amount": amount, "source": source, "target": target}
    return asked(rng, ways, [call], ["convert_units"])


@situation(1)
def measure(rng: random.Random) -> Item:
    """A measure in another unit."""
    pair, value = 2 * rng.randrange(3), rng.randrange(11, 900)
    source, target = rng.sample(UNITS[pair : pair + 2], 2)
    ways = (
        f"Use the tool to convert {value} {source} to {target}.",
        f"{value} {source}: call the converter, in {target}.",
    )
    call = "convert_units", {"value": value, "source": source, "target": target}
    return asked(rng, ways, [call], ["convert_currency"])


@situation(1)
def ring(rng: random.Random) -> Item:
    """A timer or an alarm."""
    if rng.random() < 0.5:
        minutes = rng.randint(2, 180)
        ways = [f"Ring in {minutes} minutes.", f"Remind me when {minutes} minutes are over."]
        return asked(rng, ways, [("set_timer", {"minutes": minutes})], ["set_alarm"])
    time = some_time(rng)
    return asked(rng, [f"Wake me at {time}.", f"Ring at {time}."], [("set_alarm", {"time": time})], ["set_timer"])


@situation(2)
def event(rng: random.Random) -> Item:
    """Five arguments, one of them a list."""
    title, (day, iso), start = rng.choice(TOPICS), some_day(rng), some_time(rng)
    minutes, names = 5 * rng.randint(2, 36), rng.sample(NAMES, rng.randint(1, 4))
    ways = (
        f'Put "{title}" into my calendar on {day} at {start}, for {minutes} minutes, with {listed(names)}.',
        f'Plan an event "{title}" with {listed(names)}: {day}, {start}, {minutes} minutes.',
    )
    arguments = {"title": title, "date": iso, "start": start, "duration_minutes": minutes, "attendees": names}
    return asked(rng, ways, [("create_event", arguments)])


@situation(2)
def flights(rng: random.Random) -> Item:
    """Five arguments, whose order misleads in one of the ways to ask."""
    (origin, destination), (day, iso), cabin = (
        rng.sample(AIRPORTS, 2),
        some_day(rng),
        rng.choice(("economy", "business")),
    )
    people = rng.randint(1, 6)
    ways = (
        f"Find flights to {destination} from {origin} on {day} for a party of {people} in {cabin} class.",
        f"{people} x {cabin} class, {origin} to {destination}, {day}: what flights are there?",
    )
    arguments = {"origin": origin, "destination": destination, "date": iso, "passengers": people, "cabin": cabin}
    return asked(rng, ways, [("search_flights", arguments)])


@situation(2)
def order(rng: random.Random) -> Item:
    """Nested arguments."""
    items = [{"sku": f"{g}-{rng.randint(10, 99)}", "quantity": rng.randint(1, 12)} for g in rng.sample(GOODS, 2)]
    street, postcode = f"{rng.choice(STREETS)} {rng.randint(1, 90)}", str(rng.randint(10000, 99999))
    city, customer = rng.choice(CITIES), f"C-{rng.randint(100, 999)}"
    goods = listed(f"{i['quantity']} x {i['sku']}" for i in items)
    ways = (
        f"Customer {customer} orders {goods}, to be sent to {street}, {postcode} {city}.",
        f"Place an order for {customer}: {goods}. Ship it to: {street}, {postcode} {city}.",
    )
    ship_to = {"street": street, "city": city, "postcode": postcode}
    return asked(rng, ways, [("place_order", {"customer_id": customer, "items": items, "ship_to": ship_to})])


@situation(2)
def complaint(rng: random.Random) -> Item:
    """One of four similar functions."""
    number, amount = f"A-{rng.randint(1000, 9999)}", rng.randrange(8, 400) / 4
    ways, name = rng.choice(
        (
            (
                (f"Stop {number}, it has not been shipped yet.", f"I no longer want {number}; it is not shipped."),
                "cancel",
            ),
            ((f"{number} has arrived and I want to send it back.", f"I need a return label for {number}."), "return"),
            ((f"Where is my order {number}?", f"What is the state of order {number}?"), "get"),
        )
    )
    calls: list[Call] = [(f"{name}_order", {"order_id": number})]
    if rng.random() < 0.25:
        ways = (
            f"{number} had a scratch: pay {amount:.2f} euros back.",
            f"Pay back {amount:.2f} euros of order {number}.",
        )
        calls = [("refund_order", {"order_id": number, "amount_eur": amount})]
    return asked(rng, ways, calls, ("cancel_order", "return_order", "refund_order", "get_order"))


@situation(3)
def forecasts(rng: random.Random) -> Item:
    """The same function for several cities."""
    cities, (day, iso), unit = (
        rng.sample(CITIES, rng.randint(2, 3)),
        some_day(rng),
        rng.choice(("celsius", "fahrenheit")),
    )
    ways = (
        f"Get the weather forecasts of {listed(cities)} for {day} in {unit}, all at once.",
        f"On {day}, where is the weather best: {listed(cities)}? Get all of the forecasts in {unit} at the same time.",
    )
    return asked(rng, ways, [("get_weather", {"city": c, "date": iso, "unit": unit}) for c in cities])


@situation(3)
def house(rng: random.Random) -> Item:
    """Different functions at once, with truth values and numbers."""
    dark, bright, warm = rng.sample(ROOMS, 3)
    degrees = rng.randrange(32, 47) / 2
    ways = (
        f"All at once: light off in the {dark}, light on in the {bright}, {degrees:g} degrees in the {warm}.",
        f"Heat the {warm} to {degrees:g} degrees. Also turn on the {bright} light and turn off the one in the {dark}, "
        "in one go.",
    )
    calls: list[Call] = [
        ("switch_light", {"room": dark, "on": False}),
        ("switch_light", {"room": bright, "on": True}),
        ("set_temperature", {"room": warm, "celsius": degrees}),
    ]
    return asked(rng, ways, calls)


@situation(3)
def shares(rng: random.Random) -> Item:
    """The same function with one short argument, several times."""
    tickers = rng.sample(TICKERS, rng.randint(2, 4))
    ways = (
        f"Latest prices of {listed(tickers)}, all at once.",
        f"Look up the shares {listed(tickers)} at the same time.",
    )
    return asked(rng, ways, [("get_stock_price", {"ticker": t}) for t in tickers])


def _words_wanted(rng: random.Random) -> str:
    """A request that words answer, and that no function has to do with."""
    if rng.random() < 0.5:
        return f"Write {rng.choice(FORMS)} about {listed(rng.sample(SUBJECTS, 2))}."
    one, other = rng.sample(WORDS, 2)
    return f"Tell me {rng.choice(ASKED)} '{one}', and {rng.choice(ASKED)} '{other}'."


@situation(2)
def words(rng: random.Random) -> Item:
    """No call, as none is needed."""
    return Item([{"role": "user", "content": _words_wanted(rng)}], declared(rng, ()), [])


@situation(2)
def unknown(rng: random.Random) -> Item:
    """No call, as none does what is wanted."""
    content = rng.choice(UNKNOWN).format(rng.randint(2, 40)) + " If none of your tools can do that, just say so."
    return Item([{"role": "user", "content": content}], declared(rng, ()), [])


@situation(1)
def undeclared(rng: random.Random) -> Item:
    """No function at all: what prompts cost in tokens where no tools are declared."""
    return Item([{"role": "user", "content": _words_wanted(rng)}], [], [])


def second_turn(rng: random.Random, question: str, first: Call, result: Any, calls: list[Call], thought: str) -> Item:
    """A conversation in which one call was made and answered; with the thought before it in half of all cases."""
    name, arguments = first
    made = {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": json.dumps(arguments)}]}
    if rng.random() < 0.5:
        made["reasoning"] = thought
    messages = [{"role": "user", "content": question}, made, {"role": "tool", "content": json.dumps(result)}]
    return Item(messages, declared(rng, [name, *(called for called, _ in calls)]), calls)


@situation(2)
def customer(rng: random.Random) -> Item:
    """The next call needs what the first one gave."""
    person, number = rng.choice(NAMES), f"C-{rng.randint(100, 999)}"
    email = f"{person.lower()}.{rng.randint(10, 99)}@example.org"
    return second_turn(
        rng,
        f"Which orders has the customer with the e-mail {email}?",
        ("find_customer", {"email": email}),
        {"customer_id": number, "name": person},
        [("list_orders", {"customer_id": number})],
        "I need the customer's id before I can list the orders, so I look it up by e-mail.",
    )


@situation(3)
def shipped(rng: random.Random) -> Item:
    """The next call depends on what the first one gave."""
    number, on_its_way = f"A-{rng.randint(1000, 9999)}", rng.random() < 0.5
    item = second_turn(
        rng,
        f"Cancel order {number} if it has not been shipped; if it has, send me a return label.",
        ("get_order", {"order_id": number}),
        {"order_id": number, "state": "shipped" if on_its_way else "packed, not shipped"},
        [("return_order" if on_its_way else "cancel_order", {"order_id": number})],
        "Whether it can be cancelled depends on its state, so I ask for that first.",
    )
    return Item(item.messages, list(dict.fromkeys((*item.tools, "cancel_order", "return_order"))), item.calls)


@situation(2)
def told(rng: random.Random) -> Item:
    """No further call, as the first one gave what is wanted."""
    ticker, price = rng.choice(TICKERS), rng.randrange(2000, 60000) / 100
    return second_turn(
        rng,
        f"What does a share of {ticker} cost?",
        ("get_stock_price", {"ticker": ticker}),
        {"ticker": ticker, "price_usd": price},
        [],
        "I do not know today's price, so I look it up.",
    )
