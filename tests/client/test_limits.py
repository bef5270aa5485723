"""Slots that are halved where a provider asks for less, and come back with its answers."""

import asyncio

import pytest

from qcheck.client.limits import Limiter, Limiters


class Clock:
    """Time that stands still unless told otherwise."""

    now = 0.0

    def __call__(self):
        return self.now


async def most_at_once(limiter, exchanges=40):
    """How many of `exchanges` were ever under way together."""
    busy = most = 0

    async def one():
        nonlocal busy, most
        async with limiter.slot():
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    await asyncio.gather(*(one() for _ in range(exchanges)))
    return most


def limiter_of(slots, clock=None):
    limiter = Limiter(clock or Clock())
    limiter.widen(slots)
    return limiter


async def test_every_client_brings_its_slots_along():
    limiter = limiter_of(3)
    assert await most_at_once(limiter) == 3
    limiter.widen(2)
    assert await most_at_once(limiter) == 5


async def test_a_refusal_halves_the_slots_and_a_round_of_answers_brings_back_one():
    limiter = limiter_of(16)
    limiter.slow_down(0, 0.0)
    assert limiter.slots == 8
    await most_at_once(limiter)
    assert await most_at_once(limiter) == 8
    for _ in range(9):
        limiter.answered()
    assert limiter.slots == 9
    assert await most_at_once(limiter) == 9
    for _ in range(1000):
        limiter.answered()
    assert await most_at_once(limiter) == limiter.slots == 16


async def test_exchanges_that_were_under_way_together_halve_once():
    limiter = limiter_of(16)
    tickets = []

    async def refused():
        async with limiter.slot() as ticket:
            tickets.append(ticket)
            await asyncio.sleep(0)
            limiter.slow_down(ticket, 0.0)

    await asyncio.gather(*(refused() for _ in range(16)))
    assert limiter.slots == 8
    await refused()
    assert limiter.slots == 4


async def test_one_slot_is_always_left():
    limiter = limiter_of(2)
    for ticket in range(10):
        limiter.slow_down(ticket, 0.0)
    await most_at_once(limiter)
    assert await most_at_once(limiter) == limiter.slots == 1


async def test_a_cancelled_exchange_gives_its_slot_back():
    limiter = limiter_of(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0), limiter.slot():
            await asyncio.sleep(60)
    assert await most_at_once(limiter) == 1


def test_the_longest_pause_holds_and_passes():
    clock = Clock()
    limiter = limiter_of(4, clock)
    assert limiter.pause_s == 0
    limiter.slow_down(0, 7.0)
    limiter.slow_down(0, 2.0)
    clock.now = 3.0
    assert limiter.pause_s == 4.0
    clock.now = 8.0
    assert limiter.pause_s == 0


def test_an_account_is_a_host_and_a_key_and_without_a_key_an_address():
    of = Limiters().of
    assert of("https://api.example/v1", "k") is of("https://API.example/v2", "k")
    assert of("https://api.example/v1", "k") is not of("https://api.example/v1", "other")
    assert of("https://api.example/v1", "k") is not of("https://api.example:8443/v1", "k")
    assert of("http://127.0.0.1:1/a/v1", None) is of("http://127.0.0.1:1/a/v1", None)
    assert of("http://127.0.0.1:1/a/v1", None) is not of("http://127.0.0.1:1/b/v1", None)
