"""What a check finds at endpoints of which it is known what they offer, over real sockets."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from open_endpoint import Failing, OpenEndpoint, listening

from qcheck.errors import ConfigurationError
from qcheck.jobs.check import check, planned
from qcheck.jsonio import pretty
from qcheck.registry.config import ProviderSettings
from qcheck.registry.types import Dialect, Price
from qcheck.run.budget import Limits

CANARY = "sk-canary-0123456789"
EVERYTHING = dict.fromkeys(
    (
        "logprobs", "raw_logprobs", "prompt_logprobs", "greedy", "seed", "n", "one_token", "tools", "json_schema",
        "stream_usage", "model", "fingerprint",
    ),
    "yes",
) | {"lattice": "no", "caching": "no"}  # fmt: skip


# With a seed for all samples a repeated one is the same, as if it had been kept.
SEEDED = EVERYTHING | {"caching": "unknown"}


def seeded(endpoint):
    """So that what is sampled is the same in every run of the tests."""
    return replace(endpoint, extra_body={"seed": 3})


async def no_sleep(_):
    pass


async def checked(endpoint, limits=None, **options):
    return await check("small", endpoint, CANARY, limits or Limits(), sleep=no_sleep, **options)


async def checked_open(served, **fields):
    async with listening(served.application(), **fields) as endpoint:
        return await checked(endpoint)


def offered(offer):
    return {c.name: c.offered for c in offer.capabilities}


def value(offer, name):
    return next(c.value for c in offer.capabilities if c.name == name)


def evidence(offer, name):
    return next(c.evidence for c in offer.capabilities if c.name == name)


async def test_what_offers_everything():
    offer = await checked_open(OpenEndpoint())
    assert offered(offer) == EVERYTHING
    assert (offer.stopped, offer.settings, offer.requests) == (None, {}, 13)
    assert (value(offer, "logprobs"), value(offer, "model")) == (20, "small")


@pytest.mark.parametrize(
    ("served", "otherwise", "known"),
    [
        (OpenEndpoint(after_temperature=True), {"raw_logprobs": "no"}, {"after_temperature": True}),
        (OpenEndpoint(most=5), {}, {"top_logprobs_max": 5}),
        (OpenEndpoint(form="integer"), {}, {"logprobs": "integer"}),
        (OpenEndpoint(least=16), {"one_token": "no"}, {"min_tokens": 16}),
        (OpenEndpoint(limit="max_completion_tokens"), {}, {"max_tokens": "max_completion_tokens"}),
        (OpenEndpoint(pinned=0.6), {"greedy": "no", "raw_logprobs": "unknown"}, {}),
        (
            OpenEndpoint(refused=("logprobs",)),
            {"logprobs": "no", "raw_logprobs": "unknown", "lattice": "unknown", "prompt_logprobs": "no"},
            {"top_logprobs_max": 0},
        ),
        (
            OpenEndpoint(most=0),
            {"logprobs": "no", "raw_logprobs": "unknown", "lattice": "unknown", "prompt_logprobs": "no"},
            {"top_logprobs_max": 0},
        ),
        (
            Failing(),
            {"logprobs": "no"} | dict.fromkeys(("raw_logprobs", "lattice", "prompt_logprobs"), "unknown"),
            {"top_logprobs_max": 0},
        ),
        (OpenEndpoint(refused=("seed",)), {"seed": "no"}, {}),
        (OpenEndpoint(refused=("tools",), refusal=403), {"tools": "unknown"}, {}),
        (
            OpenEndpoint(refused=("n", "tools", "response_format", "stream_options", "echo")),
            dict.fromkeys(("n", "tools", "json_schema", "stream_usage", "prompt_logprobs"), "no"),
            {},
        ),
        (OpenEndpoint(streams=False), {"stream_usage": "no"}, {}),
        (OpenEndpoint(guesses=True), {"stream_usage": "no"}, {}),
        (OpenEndpoint(echo=False), {"prompt_logprobs": "no"}, {}),
        (OpenEndpoint(caches=True), {"caching": "yes"}, {}),
        (
            OpenEndpoint(usage=False),
            {"one_token": "unknown", "tools": "unknown", "caching": "unknown", "stream_usage": "no"},
            {},
        ),
    ],
    ids=lambda it: "" if isinstance(it, OpenEndpoint) else "+".join(it) or "-",
)
async def test_one_thing_is_otherwise(served, otherwise, known):
    offer = await checked_open(served)
    assert offered(offer) == EVERYTHING | otherwise
    assert offer.settings == known
    assert ProviderSettings(**known).dialect(Dialect()) != Dialect() or not known
    assert offer.stopped is None
    assert offer.requests <= planned(await _nowhere())[1]


async def test_a_call_that_the_provider_finds_invalid_shows_that_tools_reach_the_model():
    offer = await checked_open(OpenEndpoint(refuses_calls=True))
    assert offered(offer) == EVERYTHING
    assert "a way that the provider finds invalid" in evidence(offer, "tools")


async def _nowhere():
    async with listening(web.Application()) as endpoint:
        return endpoint


async def test_what_is_known_is_checked_and_not_believed():
    known = Dialect(top_logprobs_max=5, after_temperature=True, min_tokens=16, thinking_off="never")
    offer = await checked_open(OpenEndpoint(), dialect=known)
    assert offered(offer) == EVERYTHING
    assert offer.settings == {"top_logprobs_max": 20, "after_temperature": False, "min_tokens": 1}


@pytest.mark.parametrize("count", [0, 200, 10**9])
async def test_a_limit_that_is_not_kept_is_no_least_number(count):
    answer = (200, _json(choices=[{"message": {"content": "Yes"}}], usage={"completion_tokens": count}))
    async with listening(scripted(answer)) as endpoint:
        offer = await checked(endpoint)
    assert offered(offer)["one_token"] == ("no" if count else "unknown")
    assert "min_tokens" not in offer.settings


async def test_a_refusal_is_told_in_the_endpoints_words():
    offer = await checked_open(OpenEndpoint(refused=("seed",)))
    assert evidence(offer, "seed") == "refused: HTTP 400: seed is not supported with this model"


@pytest.mark.parametrize(
    ("spec", "otherwise", "known"),
    [
        ("honest", {}, {}),
        (
            "honest?no_logprobs",
            {"logprobs": "no", "raw_logprobs": "unknown", "lattice": "unknown"},
            {"top_logprobs_max": 0},
        ),
        (
            "honest?reject=logprobs+seed+tools",
            {"logprobs": "no", "raw_logprobs": "unknown", "lattice": "unknown", "seed": "no", "tools": "no"},
            {"top_logprobs_max": 0},
        ),
        ("honest?k=5", {}, {"top_logprobs_max": 5}),
        ("honest?k=0", {"logprobs": "no", "raw_logprobs": "unknown", "lattice": "unknown"}, {"top_logprobs_max": 0}),
        ("honest?after_temperature=0.6", {"raw_logprobs": "unknown"}, {}),
        ("honest?temperature=0.6", {"greedy": "no", "raw_logprobs": "unknown"}, {}),
        (
            "honest?ignore=temperature+seed",
            {"greedy": "no", "raw_logprobs": "unknown", "seed": "no"},
            {},
        ),
        ("honest?round=2", {"lattice": "yes"}, {}),
        ("honest?lattice=8", {"lattice": "yes"}, {}),
        ("honest?min_tokens=16", {"one_token": "no"}, {"min_tokens": 16}),
        ("honest?cache", {"caching": "yes"}, {}),
        ("honest?ignore=tools", {"tools": "no"}, {}),
    ],
)
async def test_real_engines(lab, spec, otherwise, known):
    # The lab neither streams nor echoes, and llama.cpp gives no more choices than it has slots.
    not_here = dict.fromkeys(("prompt_logprobs", "stream_usage", "n", "fingerprint"), "no")
    endpoint = await asyncio.to_thread(lab.endpoint, spec)
    takes_seeds = "seed" not in spec
    ours = (SEEDED if takes_seeds else EVERYTHING) | not_here
    offer = await checked(seeded(endpoint) if takes_seeds else endpoint)
    assert offered(offer) == ours | otherwise
    assert offer.settings == known


async def test_llama_cpp_itself_whose_samplers_cut_the_tail_off(lab):
    offer = await checked(seeded(await asyncio.to_thread(lab.engine, "honest")))
    assert offered(offer) == SEEDED | {"prompt_logprobs": "no", "n": "no"}


async def test_steps_of_a_grid_are_told(lab):
    offer = await checked(await asyncio.to_thread(lab.endpoint, "honest?lattice=8"))
    assert value(offer, "lattice") == 1 / 8
    assert "lattice of logits" not in evidence(offer, "lattice")


async def test_a_lattice_of_logits_counts_as_twice_as_coarse_as_its_differences_show():
    offer = await checked_open(OpenEndpoint(logit_step=1 / 8))
    assert value(offer, "lattice") == 1 / 4
    assert "multiples of 0.125; the values are not: a lattice of logits" in evidence(offer, "lattice")


def scripted(*replies):
    """An endpoint that sends these statuses and bodies in turn, and then the last one again and again."""
    left = list(replies)

    async def reply(_):
        status, body = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    return app


def _json(**body):
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "message", "requests"),
    [
        (401, "invalid api key", 1),
        (402, "no credits", 1),
        (404, "Not found the model m or Permission denied", 1),
        (400, "bad request", 1),
        (503, "overloaded", 2),
    ],
)
async def test_an_endpoint_that_does_not_answer_is_unavailable(status, message, requests):
    async with listening(scripted((status, _json(error={"message": message})))) as endpoint:
        offer = await checked(endpoint)
    assert (offer.stopped, offer.reason) == ("unavailable", f"HTTP {status}: {message}")
    assert set(offered(offer).values()) == {"unknown"}
    assert offer.requests == requests


async def test_one_that_takes_too_long_is_unavailable():
    async def stall(_):
        await asyncio.sleep(5)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stall)
    async with listening(app) as endpoint:
        offer = await checked(endpoint, timeout_s=0.05)
    assert (offer.stopped, offer.reason) == ("unavailable", "no complete answer within 0.05 s")


async def test_one_that_stops_answering_is_unavailable_and_keeps_what_was_seen():
    answer = (200, _json(model="m", choices=[{"message": {"content": "Yes"}}], usage={"completion_tokens": 1}))
    async with listening(scripted(answer, (500, b""))) as endpoint:
        offer = await checked(endpoint)
    assert offer.stopped == "unavailable"
    assert {name for name, found in offered(offer).items() if found == "yes"} == {"model", "one_token"}


async def test_nobody_there_is_unavailable():
    offer = await checked(await _nowhere())
    assert offer.stopped == "unavailable"
    assert offer.requests == 0


async def test_a_budget_is_kept():
    served = OpenEndpoint()
    async with listening(served.application(), price=Price(1.0, 10.0)) as endpoint:
        offer = await checked(endpoint, Limits(budget_usd=0.001))
        everything = await checked(endpoint, Limits(budget_usd=1.0))
    assert (offer.stopped, everything.stopped) == ("budget", None)
    assert 0 < offer.cost_usd <= 0.001 < everything.cost_usd <= planned(endpoint)[2]
    assert offered(offer)["tools"] == "unknown"


async def test_a_budget_needs_a_price():
    with pytest.raises(ConfigurationError, match="price is unknown"):
        await checked(await _nowhere(), Limits(budget_usd=1.0))


async def test_a_key_that_an_endpoint_repeats_is_not_told():
    async def repeat(request):
        words = f"no such key: {request.headers['Authorization']}\x1b[2J"
        return web.json_response({"error": {"message": words}}, status=400)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", repeat)
    async with listening(app) as endpoint:
        told = pretty(await checked(endpoint))
    assert "no such key: Bearer [key]" in told
    assert CANARY not in told
    assert "u001b" not in told


def some(**fields):
    """An object of these fields, any of which may be missing or of another kind."""
    return ODD | st.fixed_dictionaries({}, optional={name: ODD | value for name, value in fields.items()})


def several(value):
    return st.lists(ODD | value, max_size=3)


ODD = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-3, 0) | st.sampled_from(["", "Yes", "\x1b[2J", "-inf"])
)
TOKEN = some(token=st.just("a"), logprob=st.just(-1.0), bytes=several(ODD), top_logprobs=several(some(token=ODD)))
LOGPROBS = some(content=several(TOKEN), tokens=several(ODD), token_logprobs=several(ODD))
CHOICE = some(message=some(content=ODD), text=ODD, logprobs=LOGPROBS)
USAGE = some(prompt_tokens=ODD, completion_tokens=ODD, cached_tokens=ODD)
ANSWER = some(choices=several(CHOICE), usage=USAGE, model=ODD, error=ODD, prompt=several(some(logprobs=LOGPROBS)))
PLAIN = {"choices": [{"message": {"content": "Yes"}}]}
BODIES = (ANSWER | st.just(PLAIN)).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)
REPLIES = st.tuples(st.sampled_from([200, 200, 200, 400, 404, 422, 429, 500]), BODIES)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(REPLIES, min_size=1, max_size=8))
def test_whatever_comes_is_no_crash_and_gives_nothing_away(replies):
    async def once():
        async with listening(scripted((200, json.dumps(PLAIN).encode()), *replies)) as endpoint:
            return await checked(endpoint)

    offer = asyncio.run(once())
    pretty(offer)
    ProviderSettings(**offer.settings)  # nothing is proposed that qcheck.toml does not take
    found = offered(offer)
    assert len(found) == len(EVERYTHING)
    # Nothing so small can show these.
    assert not {n for n in ("raw_logprobs", "greedy", "seed", "lattice") if found[n] == "yes"}


async def test_what_gives_nothing_at_all_offers_nothing():
    async with listening(scripted((200, json.dumps(PLAIN).encode()))) as endpoint:
        offer = await checked(endpoint)
    assert set(offered(offer).values()) == {"no", "unknown", "yes"}
    assert [name for name, found in offered(offer).items() if found == "yes"] == ["json_schema"]
    assert offer.settings == {"top_logprobs_max": 0}
