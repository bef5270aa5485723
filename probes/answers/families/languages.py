"""Small word problems in other languages."""

from __future__ import annotations

import random

from families.item import Item, family, integer


@family(2)
def german(rng: random.Random) -> Item:
    """Eggs in boxes."""
    boxes, broken = rng.randint(6, 15), rng.randint(3, 9)
    question = (
        f"Ein Bauer packt {boxes} Schachteln mit je zehn Eiern. {broken} Eier zerbrechen. Wie viele Eier sind noch "
        "ganz?"
    )
    return integer(question, 10 * boxes - broken, sum([10] * boxes) - broken, "de")


@family(2)
def french(rng: random.Random) -> Item:
    """Pages of a book."""
    pages, days, left = rng.randint(12, 30), rng.randint(4, 9), rng.randint(15, 60)
    question = (
        f"Léa lit {pages} pages par jour. Après {days} jours il lui reste {left} pages. Combien de pages a le livre ?"
    )
    return integer(question, pages * days + left, left + sum([pages] * days), "fr")


@family(2)
def spanish(rng: random.Random) -> Item:
    """Seats of buses."""
    buses, seats, empty = rng.randint(3, 7), rng.randint(32, 54), rng.randint(5, 20)
    question = (
        f"Un colegio alquila {buses} autobuses de {seats} plazas. Quedan {empty} plazas libres. ¿Cuántas están "
        "ocupadas?"
    )
    return integer(question, buses * seats - empty, sum([seats] * buses) - empty, "es")


@family(3)
def italian(rng: random.Random) -> Item:
    """The rest of a rope."""
    pieces, length, more = rng.randint(4, 9), rng.randint(12, 35), rng.randint(5, 30)
    total = pieces * length + more
    question = (
        f"Da una corda di {total} cm si tagliano {pieces} pezzi uguali e restano {more} cm. Quanti cm misura ogni "
        "pezzo?"
    )
    return integer(question, length, (total - more) // pieces, "it")


@family(3)
def portuguese(rng: random.Random) -> Item:
    """Bicycles and cars by their wheels."""
    bikes, cars = rng.randint(5, 15), rng.randint(4, 12)
    question = (
        f"Num estacionamento há {bikes + cars} veículos, entre bicicletas (2 rodas) e carros (4 rodas), com "
        f"{2 * bikes + 4 * cars} rodas no total. Quantos carros há?"
    )
    again = next(n for n in range(bikes + cars + 1) if 4 * n + 2 * (bikes + cars - n) == 2 * bikes + 4 * cars)
    return integer(question, cars, again, "pt")


@family(2)
def dutch(rng: random.Random) -> Item:
    """Tickets for a family."""
    adults, children, adult, child = rng.randint(2, 4), rng.randint(2, 5), rng.randint(11, 18), rng.randint(4, 9)
    question = (
        f"Een kaartje kost {adult} euro voor volwassenen en {child} euro voor kinderen. Hoeveel euro betalen "
        f"{adults} "
        f"volwassenen en {children} kinderen samen?"
    )
    return integer(question, adults * adult + children * child, sum([adult] * adults + [child] * children), "nl")


@family(3)
def polish(rng: random.Random) -> Item:
    """Apples halved twice."""
    last = rng.randint(7, 20)
    start = 4 * last
    question = (
        f"Liczba jabłek w koszu wynosi {start}. W poniedziałek sprzedano połowę, a we wtorek połowę reszty. Ile jabłek "
        "zostało w koszu?"
    )
    return integer(question, last, start - start // 2 - (start - start // 2) // 2, "pl")


@family(3)
def swedish(rng: random.Random) -> Item:
    """Two runners."""
    a, b, hours = rng.randint(9, 12), rng.randint(13, 17), rng.randint(2, 5)
    question = (
        f"Två cyklister startar samtidigt från samma plats åt motsatta håll, i {a} km/h och {b} km/h. Hur många "
        "kilometer är "
        f"det mellan dem efter {hours} timmar?"
    )
    return integer(question, (a + b) * hours, a * hours + b * hours, "sv")


@family(3)
def russian(rng: random.Random) -> Item:
    """A number thought of."""
    n, k, plus = rng.randint(6, 25), rng.randint(3, 6), rng.randint(8, 40)
    question = (
        f"Маша задумала число, умножила его на {k}, прибавила {plus} и получила {n * k + plus}. Какое число она "
        "задумала?"
    )
    return integer(question, n, next(x for x in range(100) if x * k + plus == n * k + plus), "ru")


@family(3)
def chinese(rng: random.Random) -> Item:
    """Chickens and rabbits."""
    chickens, rabbits = rng.randint(6, 20), rng.randint(5, 15)
    question = f"笼子里有鸡和兔共{chickens + rabbits}只，一共有{2 * chickens + 4 * rabbits}只脚。请问兔子有多少只？"
    again = (2 * chickens + 4 * rabbits - 2 * (chickens + rabbits)) // 2
    return integer(question, rabbits, again, "zh")


@family(3)
def japanese(rng: random.Random) -> Item:
    """Pencils and erasers."""
    pencils, price, paid = rng.randint(3, 8), rng.randint(6, 9) * 10, 1000
    question = f"1本{price}円の鉛筆を{pencils}本買って、{paid}円札を出しました。おつりは何円ですか。"
    return integer(question, paid - pencils * price, paid - sum([price] * pencils), "ja")
