"""What a run finds out about endpoints of which it is known what they offer, over real sockets."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from aiohttp import web
from offers import NOW, OFFER
from open_endpoint import Failing, OpenEndpoint, listening
from thinking_endpoint import FORMAT

from qcheck.jobs.discover import discover, planned
from qcheck.jobs.known import VALID_FOR, recall, remember, with_offer
from qcheck.registry.config import EndpointSettings
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import Dialect, Endpoint, Price
from qcheck.run.budget import Budget, Limits

CANARY = "sk-canary-0123456789"


async def no_sleep(_):
    pass


async def found_at(endpoint, *, offer=None, texts="instead", limits=None, price=None, seq=-1):
    """What was found, and the attempts that were handed on."""
    attempts = []
    budget = Budget(limits or Limits(), {endpoint.name: price} if price else {})
    known = {endpoint.name: offer} if offer else {}
    keys = {endpoint.name: CANARY}
    (found,) = await discover([endpoint], keys, known, budget, attempts.append, texts=texts, seq=seq, sleep=no_sleep)
    return found, attempts


async def found_open(served, *, dialect=None, offer=None, texts="instead", **fields):
    fields |= {"dialect": dialect} if dialect else {}
    async with listening(served.application(), **fields) as endpoint:
        return await found_at(endpoint, offer=offer, texts=texts)


@pytest.mark.parametrize(
    ("served", "fields", "otherwise", "requests"),
    [
        (OpenEndpoint(), {}, {}, 2),
        (OpenEndpoint(most=5), {}, {"top_logprobs_max": 5, "listed": 5}, 3),
        (OpenEndpoint(form="integer"), {}, {"logprobs": "integer"}, 4),
        (OpenEndpoint(form="integer", most=5), {}, {"logprobs": "integer", "top_logprobs_max": 5, "listed": 5}, 5),
        (OpenEndpoint(least=16), {}, {"min_tokens": 16}, 3),
        (OpenEndpoint(limit="max_completion_tokens"), {}, {"max_tokens": "max_completion_tokens"}, 3),
        (OpenEndpoint(refused=("logprobs",)), {}, {"top_logprobs_max": 0, "listed": 0}, 5),
        (OpenEndpoint(), {"temperature": 0.6}, {"after_temperature": False, "greedy": None}, 4),
        (
            OpenEndpoint(after_temperature=True),
            {"temperature": 0.6},
            {"after_temperature": True, "greedy": None},
            4,
        ),
        (OpenEndpoint(pinned=0.6), {}, {"temperature": 0.6, "greedy": False}, 4),
    ],
)
async def test_what_is_otherwise_is_found_with_few_requests(served, fields, otherwise, requests):
    found, attempts = await found_open(served, **fields)
    assert found.offer is not None
    same = {"found": NOW, "qcheck_version": "0"}
    expected = OFFER.model_dump() | otherwise
    got = found.offer.model_copy(update=same).model_dump()
    if fields:  # raw lists at another temperature are shown only where 0 and 1 are seen to act
        expected |= {name: got[name] for name in ("after_temperature", "greedy") if expected[name] is not True}
    assert got == expected
    assert len(served.asked) == len(attempts) == requests
    assert found.endpoint == with_offer(replace(found.endpoint), found.offer)


async def test_what_was_asked_is_numbered_below_the_plan_and_charged():
    served = OpenEndpoint()
    async with listening(served.application(), model_id="m", price=Price(1.0, 2.0)) as endpoint:
        _, attempts = await found_at(endpoint, price=endpoint.price)
        _, later = await found_at(endpoint, price=endpoint.price, seq=-3)
    assert [[a.seq for a in them] for them in (attempts, later)] == [[-1, -2], [-3, -4]]
    assert all(a.discovery and a.charged_usd for a in (*attempts, *later))


async def test_how_text_is_decoded_is_asked_only_where_it_matters():
    served = OpenEndpoint(refused=("logprobs",))
    found, attempts = await found_open(served, texts="unused")
    assert ([a.probe_id for a in attempts], found.offer.greedy) == (["plain", "greedy", "greedy"], None)


async def test_who_is_judged_by_texts_beside_lists_is_seen_to_decode_greedily_by_those():
    found, attempts = await found_open(OpenEndpoint(), texts="judged")
    assert (len(attempts), found.offer.greedy) == (2, True)
    unknown = OFFER.model_copy(update={"greedy": None})
    found, attempts = await found_open(OpenEndpoint(), offer=unknown, texts="judged")
    assert (len(attempts), found.offer.greedy) == (2, True)


async def test_who_ignores_temperature_0_is_found_out_before_its_texts_are_judged():
    found, _ = await found_open(OpenEndpoint(refused=("logprobs",), falsy=0.7), texts="judged")
    assert found.offer.greedy is None
    found, _ = await found_open(OpenEndpoint(refused=("logprobs",)), texts="judged")
    assert found.offer.greedy


async def test_what_the_user_states_is_neither_asked_nor_overruled():
    stated = EndpointSettings(top_logprobs_max=3, max_tokens="max_completion_tokens").dialect(Dialect())
    served = OpenEndpoint(limit="max_completion_tokens")
    found, attempts = await found_open(served, dialect=stated)
    assert found.endpoint.dialect == stated
    assert {body.get("top_logprobs") for body in served.asked} == {None, 3}
    assert len(attempts) == 2


async def test_one_request_tells_that_a_known_offer_still_holds():
    served = OpenEndpoint()
    found, attempts = await found_open(served, offer=OFFER)
    assert (found.offer, len(attempts)) == (OFFER, 1)


@pytest.mark.parametrize(
    "served", [OpenEndpoint(most=5), OpenEndpoint(refused=("logprobs",)), OpenEndpoint(limit="max_completion_tokens")]
)
async def test_an_offer_that_no_longer_holds_is_asked_anew(served):
    found, attempts = await found_open(served, offer=OFFER)
    assert found.offer not in (None, OFFER)
    assert attempts[0].outcome == "failed"
    assert [a.seq for a in attempts] == [-1 - i for i in range(len(attempts))]
    assert found.endpoint.dialect != Dialect()


async def test_limits_hold_for_what_is_found_out_too():
    served = OpenEndpoint()
    async with listening(served.application(), price=Price(1.0, 10.0)) as endpoint:
        none, spent = await found_at(endpoint, limits=Limits(max_requests=1))
        assert (none.offer, len(spent)) == (None, 1)
        none, spent = await found_at(endpoint, limits=Limits(budget_usd=1e-5), price=endpoint.price)
        assert (none.offer, spent) == (None, [])
        assert planned(endpoint, None, texts="instead").cost_usd > 0


async def test_a_deadline_ends_it_and_what_was_in_flight_is_charged():
    async def stall(_):
        await asyncio.sleep(5)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stall)
    async with listening(app, price=Price(1.0, 10.0)) as endpoint:
        found, attempts = await found_at(endpoint, limits=Limits(deadline_s=0.8), price=endpoint.price)
    assert found.offer is None
    assert [(a.outcome, a.charged_usd > 0) for a in attempts] == [("retried", True)]


async def test_the_plan_names_the_fewest_and_the_most():
    failing = Failing(least=16, most=0, form="integer", failures=2)
    for served in (OpenEndpoint(), OpenEndpoint(most=5, least=16), OpenEndpoint(refused=("logprobs",)), failing):
        async with listening(served.application()) as endpoint:
            _, attempts = await found_at(endpoint)
            requests = len({a.seq for a in attempts})
            plan = planned(endpoint, None, texts="instead")
        assert plan.fewest <= requests <= plan.most
    assert planned(endpoint, OFFER, texts="instead").fewest == 1
    never = replace(endpoint, dialect=Dialect(thinking_off="never"))
    assert planned(never, None, texts="instead").most == 0


async def test_of_a_model_that_always_thinks_the_name_alone_is_asked():
    async def models(_):
        return web.json_response({"data": [{"id": "org/m"}]})

    app = web.Application()
    app.router.add_get("/{path:.*}", models)
    async with listening(app, model_id=None, dialect=Dialect(thinking_off="never")) as endpoint:
        found, attempts = await found_at(endpoint)
    assert (found.endpoint.model_id, found.offer) == ("org/m", None)
    assert [(a.seq, a.probe_id) for a in attempts] == [(-1, "models")]
    assert planned(endpoint, None, texts="instead").most == 1


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    endpoint = Endpoint("p", "https://host/v1", "https://host/v1", None, "P_KEY")
    current = OFFER.model_copy(update={"qcheck_version": __import__("qcheck").__version__})
    remember(endpoint, "model", current)
    (file,) = tmp_path.rglob("*.json")
    return endpoint, current, file


def test_an_offer_is_kept_for_some_days(kept):
    endpoint, offer, _ = kept
    assert recall(endpoint, "model", NOW) == offer
    assert recall(endpoint, "model", NOW + VALID_FOR) == offer
    assert recall(endpoint, "model", NOW + VALID_FOR + timedelta(seconds=1)) is None
    assert recall(endpoint, "model", NOW - timedelta(seconds=1)) is None


def test_an_offer_is_of_one_address_and_model(kept):
    endpoint, _, _ = kept
    assert recall(endpoint, "another", NOW) is None
    assert recall(replace(endpoint, display="https://other/v1"), "model", NOW) is None
    assert recall(replace(endpoint, model_id="n"), "model", NOW) is None


@pytest.mark.parametrize(
    "damage", [lambda text: text[:-9], lambda text: "[1]", lambda text: text.replace("20", "-3"), lambda _: ""]
)
def test_a_damaged_offer_is_none(kept, damage):
    endpoint, _, file = kept
    file.write_text(damage(file.read_text()))
    assert recall(endpoint, "model", NOW) is None


def test_an_offer_of_another_version_is_none(kept):
    endpoint, offer, _ = kept
    remember(endpoint, "model", offer.model_copy(update={"qcheck_version": "0.0.1"}))
    assert recall(endpoint, "model", NOW) is None


async def test_that_nothing_is_given_and_how_texts_are_decoded_is_asked_each_time():
    """One answer without lists, of an upstream that gives none, must not take them away for a week."""
    nothing = OFFER.model_copy(update={"listed": 0, "top_logprobs_max": 0, "greedy": None})
    found, attempts = await found_open(OpenEndpoint(), offer=nothing)
    assert (found.offer.listed, len(attempts)) == (20, 2)
    found, attempts = await found_open(OpenEndpoint(refused=("logprobs",)), offer=nothing)
    assert (found.offer.listed, found.offer.greedy, len(attempts)) == (0, True, 5)


async def test_lists_at_a_pinned_temperature_are_the_models_own_only_where_that_is_shown():
    """Whether it was known beforehand that no other is accepted or not, and also where nothing could be found."""
    for known in (0.0, 0.6):
        found, _ = await found_open(OpenEndpoint(pinned=0.6), temperature=known)
        assert found.offer.after_temperature is None
        assert "before the temperature of 0.6" in lost_observables(found.endpoint)["logprobs"]
    unavailable = Endpoint("p", "p", "http://127.0.0.1:9/v1", "m", None, temperature=0.6)
    found, _ = await found_at(unavailable)
    assert found.offer is None
    assert "logprobs" in lost_observables(found.endpoint)
    stated = EndpointSettings(after_temperature=False).dialect(Dialect())
    found, _ = await found_open(OpenEndpoint(pinned=0.6), temperature=0.6, dialect=stated)
    assert "logprobs" not in lost_observables(found.endpoint)


async def test_a_temperature_that_nobody_can_mean_is_not_believed():
    found, _ = await found_open(OpenEndpoint(pinned=5.0))
    assert found.offer is None


def test_an_offer_is_of_one_temperature_and_what_the_user_states(kept):
    endpoint, _, _ = kept
    assert recall(replace(endpoint, temperature=0.6), "model", NOW) is None
    stated = EndpointSettings(top_logprobs_max=3).dialect(endpoint.dialect)
    assert recall(replace(endpoint, dialect=stated), "model", NOW) is None


def test_an_offer_is_of_one_chat_template_and_no_way_that_needs_one_is_taken_without(kept):
    endpoint, offer, _ = kept
    assert recall(replace(endpoint, prompt_format=FORMAT), "model", NOW) is None
    begun = offer.model_copy(update={"thinking_off": "prefix"})
    thinking = replace(endpoint, dialect=Dialect(thinking_off="unknown"))
    assert with_offer(thinking, begun).dialect.thinking_off == "unknown"
    assert with_offer(replace(thinking, prompt_format=FORMAT), begun).dialect.thinking_off == "prefix"


async def test_a_refusal_inside_an_http_200_is_one():
    class Within(OpenEndpoint):
        async def _answer(self, request):
            given = await super()._answer(request)
            if given.status == 400:
                error = {"code": 400, "message": "top_logprobs must be at most 5"}
                return web.json_response({"error": error})
            return given

    served = Within(most=5)
    found, _ = await found_open(served)
    assert found.offer.listed == 5


@dataclass
class Wordy(OpenEndpoint):
    """Refuses more log-probabilities than it gives in these `words`."""

    words: str = ""

    def _refusal(self, body):
        refusal = super()._refusal(body)
        return self.words if refusal and "between" in refusal else refusal


@pytest.mark.parametrize(
    ("words", "requests"),
    [
        ("top_logprobs must be between 0 and 5", 3),
        ("top_logprobs: expected a value in [0, 5]", 3),
        ("top_logprobs: 0-5 are allowed", 3),
        ("zai-org/GLM-4.6: top_logprobs must be at most 5", 3),
        ("zai-org/GLM-4.6-8B: top_logprobs is too large", 3),
        ("{'loc': ('body', 'top_logprobs'), 'ctx': {'le': 5}, 'url': 'https://errors.pydantic.dev/2.11/v/less'}", 3),
        ("top_logprobs: Input should be less than or equal to 5 (at line 1 column 12)", 3),
        ("request 12 of 17: top_logprobs is too large", 4),
        ("error 12: more than 10 top_logprobs are not supported; 7 of 8 workers, up to 5", 4),
        ("at line 1 column 17: top_logprobs is above 5", 4),
        ("no more", 3),
    ],
)
async def test_a_refusal_loses_no_log_probabilities_by_the_other_numbers_in_it(words, requests):
    found, attempts = await found_open(Wordy(most=5, words=words))
    assert (found.offer.top_logprobs_max, found.offer.listed, len(attempts)) == (5, 5, requests)


@pytest.mark.parametrize("code", [424, 425, 429, 498, 499, 500])
async def test_a_failure_that_passes_takes_no_log_probabilities_away(code):
    found, attempts = await found_open(Failing(code=code, failures=1))
    assert found.offer.listed == 20
    assert [(a.probe_id, a.outcome) for a in attempts] == [
        ("plain", "answered"),
        ("greedy", "retried"),
        ("greedy", "answered"),
    ]


@pytest.mark.parametrize("code", [403, 424, 500, 502])
async def test_who_fails_at_log_probabilities_alone_gives_none(code):
    served = Failing(code=code)
    found, attempts = await found_open(served)
    assert (found.offer.listed, found.offer.top_logprobs_max, found.offer.greedy) == (0, 0, True)
    asked = ["plain", "greedy", "greedy", "greedy", "greedy_again", "sample"]
    assert [a.probe_id for a in attempts if a.settled] == asked
    tries = 1 if code == 403 else 2
    lists = [False, *[True] * tries, False, *[True] * tries, False, False]
    assert ["logprobs" in body for body in served.asked] == lists


@pytest.mark.parametrize(("most", "failures"), [(20, 1), (20, 2), (20, 3), (5, 2)])
async def test_who_fails_at_log_probabilities_by_chance_gives_them(most, failures):
    found, _ = await found_open(Failing(most=most, failures=failures))
    assert found.offer.listed == most


@pytest.mark.parametrize(("code", "failures"), [(403, 1), (404, 1), (404, 2)])
async def test_who_has_answered_before_is_not_given_up_for_a_firewall_or_an_outage(code, failures):
    words = "No allowed providers are available for the selected model"
    found, _ = await found_open(Failing(code=code, failures=failures, words=words))
    assert found.offer.listed == 20


@pytest.mark.parametrize("code", [429, 503, 529])
async def test_of_who_is_too_busy_for_log_probabilities_nothing_is_known(code):
    found, _ = await found_open(Failing(code=code))
    assert found.offer is None


async def test_of_who_fails_at_plain_requests_too_nothing_is_known():
    class Down(OpenEndpoint):
        async def _answer(self, request):
            return await super()._answer(request) if not self.asked else web.Response(status=500)

    found, attempts = await found_open(Down())
    assert found.offer is None
    assert [a.probe_id for a in attempts if a.settled] == ["plain", "greedy", "greedy"]


@pytest.mark.parametrize(
    "form",
    [
        lambda words: {
            "detail": [{"loc": ["body", "max_tokens"], "msg": "Input should be greater than or equal to 16"}]
        },
        lambda words: {"detail": {"error": words}},
    ],
)
async def test_a_refusal_is_understood_in_fastapis_form(form):
    class Refusing(OpenEndpoint):
        async def _answer(self, request):
            if words := self._refusal(await request.json()):
                return web.json_response(form(words), status=422)
            return await super()._answer(request)

    found, _ = await found_open(Refusing(least=16))
    assert (found.offer.min_tokens, found.offer.listed) == (16, 20)


async def test_a_slow_provider_takes_a_part_of_the_deadline_alone():
    async def stall(_):
        await asyncio.sleep(5)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stall)
    began = time.monotonic()
    async with listening(app) as endpoint:
        found, _ = await found_at(endpoint, limits=Limits(deadline_s=2.0))
    assert found.offer is None
    assert time.monotonic() - began < 1.5
