"""How a thinking model is kept from thinking, found out at endpoints of which it is known, over real sockets."""

import asyncio
from datetime import UTC, datetime
from typing import get_args

import pytest
from aiohttp import web
from offers import OFFER
from open_endpoint import OpenEndpoint, listening
from thinking_endpoint import FORMAT, Shown, ThinkingEndpoint, answer

from qcheck.jobs.check import check
from qcheck.jobs.discover import discover, planned
from qcheck.jobs.known import KnownOffer, hopeless
from qcheck.jobs.thinking import in_words
from qcheck.registry.config import EndpointSettings
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import WRITTEN, Dialect, Endpoint, Price, ThinkingSwitch
from qcheck.run.budget import Budget, Limits

UNKNOWN = Dialect(thinking_off="unknown")
CAPS = get_args(Shown)
TELLING = [way for way in get_args(ThinkingSwitch) if way not in ("none", "never", "assistant")]


async def no_sleep(_):
    pass


async def found_at(served, dialect=UNKNOWN, *, offer=None, limits=None, app=None, **fields):
    """What was found at an endpoint, and the attempts that were handed on."""
    attempts = []
    async with listening(app or served.application(), dialect=dialect, **fields) as endpoint:
        budget = Budget(limits or Limits(), {endpoint.name: endpoint.price} if endpoint.price else {})
        known = {endpoint.name: offer} if offer else {}
        plan = planned(endpoint, offer)
        (found,) = await discover([endpoint], {}, known, budget, attempts.append, sleep=no_sleep)
    assert len({a.seq for a in attempts}) <= plan.most
    asked = list(dict.fromkeys(a.seq for a in attempts))
    assert len(asked) >= (0 if limits or app else plan.fewest)
    assert asked == [-1 - i for i in range(len(asked))]
    return found, attempts


def form_for(way):
    return {"prompt_format": FORMAT} if way in WRITTEN else {}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("way", TELLING)
async def test_the_one_way_that_acts_is_found(way, strict):
    found, _ = await found_at(ThinkingEndpoint(way=way, strict=strict), **form_for(way))
    assert found.offer.thinking_off == found.endpoint.dialect.thinking_off == way
    assert found.offer.listed == (0 if way == "completions" else 20)  # whose form of lists this endpoint has not


@pytest.mark.parametrize("ends", ["eos", "eos_token", "end_turn", "COMPLETE"])
async def test_it_is_found_whatever_the_word_for_an_answer_that_the_model_has_ended(ends):
    for said in (UNKNOWN, Dialect(thinking_off="reasoning")):
        found, _ = await found_at(ThinkingEndpoint(way="reasoning", ends=ends), said)
        assert found.offer.thinking_off == "reasoning"


@pytest.mark.parametrize("ends", ["length", "max_tokens", "content_filter", ""])
async def test_an_answer_that_nobody_says_has_ended_is_no_way(ends):
    found, _ = await found_at(ThinkingEndpoint(way="reasoning", ends=ends))
    assert found.endpoint.dialect.thinking_off == "not found"


@pytest.mark.parametrize("shown", CAPS)
async def test_it_is_found_however_thoughts_are_shown_or_hidden(shown):
    found, _ = await found_at(ThinkingEndpoint(way="enable_thinking", shown=shown))
    assert found.offer.thinking_off == "enable_thinking"


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("shown", CAPS)
async def test_where_no_way_acts_none_is_found_and_nothing_else_asked(shown, strict):
    found, attempts = await found_at(ThinkingEndpoint(shown=shown, strict=strict), prompt_format=FORMAT)
    assert (found.endpoint.dialect.thinking_off, found.offer) == ("not found", None)
    assert {a.probe_id for a in attempts} == {"product"}
    assert hopeless(found.endpoint)
    assert set(lost_observables(found.endpoint)) >= {"logprobs", "greedy_text", "prompt_tokens"}


async def test_a_model_that_does_not_think_by_default_needs_nothing():
    found, attempts = await found_at(ThinkingEndpoint(by_default=False))
    assert found.offer.thinking_off == "none"
    assert [a.probe_id for a in attempts] == ["product", "line", "plain", "greedy"]


async def test_an_answer_that_is_begun_and_not_continued_is_no_way():
    """A server that renders it as a turn of its own shows the model another prompt, even if it does not think."""

    class Closing(ThinkingEndpoint):
        def _thinks(self, body):
            return len(body.get("messages", ())) == 1

    found, attempts = await found_at(Closing(way=None), prompt_format=FORMAT)
    assert found.endpoint.dialect.thinking_off == "completions"
    assert "line" in {a.probe_id for a in attempts}


async def test_the_second_question_decides_too():
    class Sometimes(ThinkingEndpoint):
        def _thinks(self, body):
            return "Repeat" in body["messages"][0]["content"]

    found, attempts = await found_at(Sometimes())
    assert found.endpoint.dialect.thinking_off == "not found"
    assert {a.probe_id for a in attempts} == {"product", "line"}


async def test_other_temperatures_may_be_accepted_without_a_thought():
    """As at Moonshot: one temperature alone while it thinks, another while it does not."""

    class Pinned(ThinkingEndpoint):
        def _refusal(self, body):
            only = 1.0 if self._thinks(body) else 0.6
            return f"only {only} temperature is allowed" if body["temperature"] != only else super()._refusal(body)

    found, _ = await found_at(Pinned(way="thinking.type"))
    assert (found.offer.thinking_off, found.offer.temperature) == ("thinking.type", 0.6)
    found, _ = await found_at(ThinkingEndpoint(way="reasoning", warm=1.0))
    assert (found.offer.thinking_off, found.offer.temperature) == ("reasoning", None)


class Explains(ThinkingEndpoint):
    """Tells how to multiply instead of doing it."""

    async def _answer(self, request):
        body = await request.json()
        if "Compute" in body["messages"][0]["content"]:
            return web.json_response(answer("To multiply these two, we first write", "length", 32))
        return await super()._answer(request)


async def test_what_the_registry_says_stands_until_an_answer_shows_a_thought():
    said = Dialect(thinking_off="reasoning")
    found, attempts = await found_at(ThinkingEndpoint(way="reasoning"), said)
    assert (found.endpoint.dialect.thinking_off, len(attempts)) == ("reasoning", 3)
    found, _ = await found_at(ThinkingEndpoint(way="enable_thinking", shown="empty"), said)
    assert found.endpoint.dialect.thinking_off == found.offer.thinking_off == "enable_thinking"

    found, attempts = await found_at(Explains(way="reasoning"), said)
    assert (found.endpoint.dialect.thinking_off, found.offer.thinking_off) == ("reasoning", None)
    assert [a.probe_id for a in attempts] == ["product", "line", "plain", "greedy"]
    again, attempts = await found_at(Explains(way="reasoning"), said, offer=found.offer)
    assert (again.offer, [a.probe_id for a in attempts]) == (found.offer, ["greedy", "product", "line"])
    found, _ = await found_at(Explains(), said, offer=found.offer)
    assert found.endpoint.dialect.thinking_off == "not found"
    found, _ = await found_at(Explains(way="reasoning"))
    assert found.endpoint.dialect.thinking_off == "not found"  # as nobody says so, and no answer ends


async def test_what_the_user_states_is_neither_asked_nor_overruled():
    stated = EndpointSettings(thinking_off="reasoning").dialect(UNKNOWN)
    found, attempts = await found_at(ThinkingEndpoint(way="reasoning"), stated)
    assert (found.endpoint.dialect, found.offer.thinking_off, len(attempts)) == (stated, None, 2)


async def test_one_question_tells_that_it_still_acts_and_one_thought_has_all_asked_anew():
    known = OFFER.model_copy(update={"thinking_off": "reasoning"})
    found, attempts = await found_at(ThinkingEndpoint(way="reasoning"), offer=known)
    assert (found.offer, found.endpoint.dialect.thinking_off) == (known, "reasoning")
    assert [a.probe_id for a in attempts] == ["greedy", "product"]
    for shown in ("field", "empty"):
        found, attempts = await found_at(ThinkingEndpoint(way="enable_thinking", shown=shown), offer=known)
        assert found.endpoint.dialect.thinking_off == "enable_thinking"
        assert attempts[1].probe_id == "product"


class Wordy(ThinkingEndpoint):
    """Thinks about a story in words, with lists and without tags, as about all else."""

    async def _answer(self, request):
        if "story" in (await request.json())["messages"][0]["content"]:
            return await OpenEndpoint._answer(self, request)
        return await super()._answer(request)


@pytest.mark.parametrize("shown", CAPS)
async def test_a_way_that_acted_before_is_not_believed_where_words_and_lists_may_be_a_thought(shown):
    known = OFFER.model_copy(update={"thinking_off": "enable_thinking"})
    found, attempts = await found_at(Wordy(shown=shown), offer=known)
    assert (found.endpoint.dialect.thinking_off, found.offer) == ("not found", None)
    assert [a.probe_id for a in attempts][:2] == ["greedy", "product"]


async def test_where_the_search_is_cut_off_nothing_is_known_and_nothing_judged():
    served = ThinkingEndpoint(way="reasoning_effort")
    for limits in (Limits(max_requests=3), Limits(budget_usd=2e-3)):
        found, attempts = await found_at(served, limits=limits, price=Price(1.0, 10.0))
        assert (found.endpoint.dialect.thinking_off, found.offer) == ("unknown", None)
        assert 0 < len(attempts) <= 3
        assert all(a.charged_usd is not None for a in attempts)


@pytest.mark.parametrize("shown", CAPS)
async def test_what_the_registry_says_does_not_stand_where_a_thought_is_hidden(shown):
    """The switch that it names is ignored, and no way acts."""
    said = Dialect(thinking_off="reasoning")
    found, _ = await found_at(ThinkingEndpoint(shown=shown), said)
    assert (found.endpoint.dialect.thinking_off, found.offer) == ("not found", None)


class Stalling(ThinkingEndpoint):
    """Answers nothing that has these words in it."""

    words = ""

    async def _answer(self, request):
        if self.words in (await request.json())["messages"][0]["content"]:
            await asyncio.sleep(5)
        return await super()._answer(request)


async def test_a_way_that_was_found_stays_found_where_the_time_ends():
    served = Stalling(way="none", by_default=False)
    served.words = "story"
    found, _ = await found_at(served, limits=Limits(deadline_s=2.0))
    assert (found.endpoint.dialect.thinking_off, found.offer) == ("none", None)


@pytest.mark.parametrize(("shown", "told"), [("empty", "unknown"), ("uncapped", "reasoning")])
async def test_what_the_registry_says_is_no_longer_known_once_an_answer_speaks_against_it(shown, told):
    """Where the search for another way ends early."""
    said = Dialect(thinking_off="reasoning")
    served = ThinkingEndpoint(way="reasoning" if told == "reasoning" else "enable_thinking", shown=shown)
    found, _ = await found_at(served, said, limits=Limits(max_requests=2))
    assert found.endpoint.dialect.thinking_off == told


async def test_no_refusals_lead_to_more_requests_than_were_planned():
    class Nagging(ThinkingEndpoint):
        """Wants more tokens each time, and takes none."""

        def _refusal(self, body):
            return f"max_tokens: at least {len(self.asked) % 60 + 3} tokens" if "Compute" in str(body) else None

    found, attempts = await found_at(Nagging(), prompt_format=FORMAT)
    assert found.endpoint.dialect.thinking_off == "not found"
    assert len(attempts) > 20  # those of `found_at` are within the plan


async def test_a_way_that_was_found_is_kept_where_nothing_else_is():
    class Poor(ThinkingEndpoint):
        """Thinks about a story, whatever it is told."""

        def _thinks(self, body):
            return "logprobs" in body or super()._thinks(body)

    found, _ = await found_at(Poor(way="reasoning"))
    assert (found.endpoint.dialect.thinking_off, found.offer) == ("reasoning", None)


async def test_one_that_does_not_answer_is_not_one_without_a_way():
    async def fail(_):
        return web.json_response({"error": {"message": "overloaded"}}, status=503)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fail)
    found, _ = await found_at(None, app=app)
    assert found.endpoint.dialect.thinking_off == "unknown"
    assert not hopeless(found.endpoint)


async def test_a_check_says_what_was_tried_and_what_to_set():
    async with listening(ThinkingEndpoint(way="enable_thinking").application(), dialect=UNKNOWN) as endpoint:
        known = []
        offer = await check("small", endpoint, None, Limits(), sleep=no_sleep, on_known=known.append)
    told = offer.capabilities[-1]
    assert (told.name, told.offered, told.value) == ("thinking_off", "yes", "enable_thinking")
    assert told.evidence == (
        "told nothing: it thinks; chat_template_kwargs: it thinks; enable_thinking: it answers at once"
    )
    assert offer.settings == {"thinking_off": "enable_thinking"}
    assert [it.thinking_off for it in known] == ["enable_thinking"]


async def test_a_check_of_what_cannot_be_told_goes_on_and_is_not_relied_upon():
    async with listening(ThinkingEndpoint(strict=True).application(), dialect=UNKNOWN) as endpoint:
        known = []
        offer = await check("small", endpoint, None, Limits(), sleep=no_sleep, on_known=known.append)
    told = offer.capabilities[-1]
    assert (told.offered, told.value, offer.settings.get("thinking_off")) == ("unknown", None, None)
    assert "reasoning: HTTP 400: Unrecognized request argument supplied: reasoning" in told.evidence
    assert (offer.stopped, known) == (None, [])


def endpoint_of(dialect):
    return Endpoint("p", "p", "https://host/v1", "m", None, dialect=dialect)


def test_the_words_for_a_plan():
    day = datetime(2026, 11, 29, tzinfo=UTC)
    offer = KnownOffer(**OFFER.model_dump() | {"found": day, "thinking_off": "chat_template_kwargs"})
    endpoint = endpoint_of(UNKNOWN)
    assert "found out first" in in_words(endpoint, None)
    assert in_words(endpoint, offer) == "off by chat_template_kwargs, found 2026-11-29"
    assert in_words(endpoint_of(Dialect(thinking_off="none")), None) == "off by itself, as the registry has it"
    stated = EndpointSettings(thinking_off="reasoning").dialect(UNKNOWN)
    assert in_words(endpoint_of(stated), offer) == "off by reasoning, as qcheck.toml says"
    assert in_words(endpoint_of(Dialect()), None) is None
