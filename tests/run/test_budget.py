from __future__ import annotations

from dataclasses import replace

import pytest

from qcheck.errors import ConfigurationError
from qcheck.records import Attempt, Message, Request, Response
from qcheck.registry.types import Endpoint, Price
from qcheck.run.budget import (
    PLAN_REQUESTS,
    Budget,
    Limits,
    charge_usd,
    check_plans,
    check_prices,
    cost_usd,
    is_estimate,
    is_plan,
    worst_case_usd,
)

PRICE = Price(input=2.0, output=10.0)
REQUEST = Request("p0", (Message("user", "2+2?"),), 8, 0.0, 5)
RESPONSE = Response("4", (), 100, 10, None, "stop", "m", None)
ANSWERED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00Z", 0.1, "answered", http_status=200, response=RESPONSE)
REFUSED = replace(ANSWERED, outcome="retried", http_status=503, response=None)
LOST = replace(REFUSED, http_status=None)


def over(budget: Budget, worst: float | None, *attempts: Attempt) -> None:
    """End a request that was reserved at `worst`."""
    for attempt in attempts:
        budget.charge(attempt, worst)
    budget.release(worst)


def costing(usd: float) -> Attempt:
    return replace(ANSWERED, response=replace(RESPONSE, cost_usd=usd))


def test_the_worst_case_is_every_byte_a_token_and_every_token_generated() -> None:
    worst = worst_case_usd(REQUEST, PRICE)
    assert worst == pytest.approx(((256 + 16 + 4) * 2 + 8 * 10) / 1e6)
    assert worst_case_usd(REQUEST, None) is None


def test_a_forced_minimum_of_tokens_is_paid_for() -> None:
    more = (16 - REQUEST.max_tokens) * PRICE.output / 1e6
    assert worst_case_usd(REQUEST, PRICE, min_tokens=16) == pytest.approx(worst_case_usd(REQUEST, PRICE) + more)
    budget = Budget(Limits(), {"a": PRICE}, min_tokens={"a": 16})
    assert budget.worst_case_usd("a", REQUEST) == worst_case_usd(REQUEST, PRICE, min_tokens=16)


def test_the_provider_knows_best_what_an_answer_cost() -> None:
    assert cost_usd(RESPONSE, PRICE) == pytest.approx((100 * 2 + 10 * 10) / 1e6)
    assert cost_usd(replace(RESPONSE, cost_usd=0.5), PRICE) == 0.5
    assert cost_usd(RESPONSE, None) is None
    assert cost_usd(replace(RESPONSE, prompt_tokens=None), PRICE) is None


def test_a_request_that_may_fit_later_waits_for_those_in_flight() -> None:
    budget = Budget(Limits(budget_usd=1.0), {})
    assert budget.reserve("a", 0.6) == "reserved"
    assert budget.reserve("a", 0.6) == "later"
    over(budget, 0.6, costing(0.1))
    assert budget.reserve("a", 0.6) == "reserved"
    over(budget, 0.6, costing(0.6))
    assert budget.reserve("a", 0.6) == "budget"
    assert budget.reserve("a", 0.3) == "reserved"


def test_a_budget_is_used_to_the_last_cent_in_spite_of_rounding() -> None:
    budget = Budget(Limits(budget_usd=0.3), {})
    assert [budget.reserve("a", 0.1) for _ in range(4)] == ["reserved", "reserved", "reserved", "later"]


def test_max_requests_are_counted_before_they_are_sent_and_for_each_provider() -> None:
    budget = Budget(Limits(max_requests=2), {})
    assert [budget.reserve("a", None) for _ in range(3)] == ["reserved", "reserved", "max_requests"]
    assert budget.reserve("b", None) == "reserved"


@pytest.mark.parametrize(
    ("attempt", "charged", "estimated"),
    [
        (ANSWERED, 300e-6, False),
        (costing(0.5), 0.5, False),
        (replace(ANSWERED, response=replace(RESPONSE, completion_tokens=None)), 1.0, True),
        (REFUSED, 0.0, True),
        (LOST, 1.0, True),
        (replace(LOST, outcome="failed"), 1.0, True),
        (replace(REFUSED, http_status=200), 1.0, True),
        (replace(REFUSED, http_status=201), 1.0, True),
        (replace(REFUSED, http_status=204), 1.0, True),
        (replace(LOST, sent=False), 0.0, True),
    ],
    ids=[
        "usage",
        "cost",
        "no usage",
        "an error",
        "lost",
        "lost at last",
        "no use",
        "no use of a 201",
        "no body",
        "never sent",
    ],
)
def test_what_may_be_billed_is_charged(attempt: Attempt, charged: float, estimated: bool) -> None:
    assert charge_usd(attempt, PRICE, 1.0) == pytest.approx(charged)
    assert is_estimate(attempt) == estimated
    budget = Budget(Limits(), {"a": PRICE})
    assert budget.charge(attempt, 1.0) == pytest.approx(charged)
    assert budget.spent_usd == pytest.approx(charged)


def test_no_dollars_are_what_lies_far_beyond_the_price() -> None:
    """Credits, cents, or malice: one provider's word must not end the run for the others."""
    assert charge_usd(costing(25.0), PRICE, 1e-3) == pytest.approx(1e-2)
    assert charge_usd(costing(5e-3), PRICE, 1e-3) == pytest.approx(5e-3)
    assert charge_usd(costing(0.5), Price(0.0, 0.0), 0.0) == 0.5
    many = replace(ANSWERED, response=replace(RESPONSE, completion_tokens=6000))
    assert charge_usd(many, PRICE, 1e-3) == pytest.approx((100 * 2 + 6000 * 10) / 1e6)


def test_what_a_provider_tells_is_counted_at_its_price_at_least() -> None:
    assert charge_usd(costing(0.0), PRICE, 1.0) == pytest.approx((100 * 2 + 10 * 10) / 1e6)


def test_without_a_price_the_cost_of_what_may_be_billed_is_unknown() -> None:
    assert charge_usd(ANSWERED, None, None) is None
    assert charge_usd(LOST, None, None) is None
    assert charge_usd(costing(0.5), None, None) == 0.5
    assert charge_usd(REFUSED, None, None) == 0.0


def test_a_retry_must_fit_beside_everything_in_flight() -> None:
    budget = Budget(Limits(budget_usd=1.0), {})
    assert [budget.reserve(provider, 0.3) for provider in "ab"] == ["reserved", "reserved"]
    budget.charge(replace(LOST, response=None), 0.3)
    assert budget.allows_retry()
    budget.charge(LOST, 0.3)
    assert not budget.allows_retry()
    budget.release(0.3)
    assert budget.allows_retry()


def test_a_plan_allows_a_hundred_requests_unless_told_how_many() -> None:
    for limits, most in ((Limits(), PLAN_REQUESTS), (Limits(max_requests=3), 3), (Limits(max_requests=200), 200)):
        budget = Budget(limits, {"plan": Price(0.0, 0.0), "lab": Price(0.0, 0.0)}, plans=["plan"])
        reserved = [budget.reserve("plan", 0.0) for _ in range(most + 1)]
        assert reserved == ["reserved"] * most + ["max_requests"]
        assert budget.reserve("lab", 0.0) == "reserved"


@pytest.mark.parametrize(
    ("url", "price", "plan"),
    [
        ("https://api.example/v1", Price(0.0, 0.0), True),
        ("https://api.example/v1", Price(0.0, 0.1), False),
        ("https://api.example/v1", None, False),
        ("http://127.0.0.1:8080/v1", Price(0.0, 0.0), False),
    ],
)
def test_a_plan_is_a_price_of_nothing_somewhere_else(url: str, price: Price | None, plan: bool) -> None:
    assert is_plan(Endpoint("a", "", url, "m", None, price=price)) == plan


def test_a_provider_without_a_price_is_not_held_back_by_what_it_might_cost() -> None:
    budget = Budget(Limits(budget_usd=0.0), {})
    assert budget.worst_case_usd("a", REQUEST) is None
    assert budget.reserve("a", None) == "reserved"
    over(budget, None, ANSWERED)
    assert budget.spent_usd == 0.0
    assert budget.reserve("a", None) == "reserved"


def test_a_provider_without_a_price_is_held_back_by_what_it_reports() -> None:
    budget = Budget(Limits(budget_usd=1.0), {})
    budget.reserve("a", None)
    over(budget, None, costing(1.5))
    assert budget.reserve("a", None) == "budget"


@pytest.mark.parametrize("field", ["requests", "spent"])
def test_an_earlier_process_counts(field: str) -> None:
    retried = replace(LOST, seq=1, charged_usd=100e-6)
    limits = Limits(max_requests=1) if field == "requests" else Limits(budget_usd=300e-6)
    budget = Budget(limits, {"a": PRICE}, before=[replace(ANSWERED, charged_usd=200e-6), retried])
    assert budget.spent_usd == pytest.approx((100 * 2.0 + 10 * 10.0) / 1e6)
    assert budget.reserve("a", 1e-6) == ("max_requests" if field == "requests" else "budget")


@pytest.mark.parametrize(("name", "table"), [("mine", "mine"), ("openrouter/novita", '"openrouter/novita"')])
def test_a_budget_that_cannot_be_kept_is_refused(name: str, table: str) -> None:
    """The advice is TOML, also for names that TOML wants in quotation marks."""
    endpoints = [Endpoint(n, "", "https://host/v1", "m", None, price=p) for n, p in (("known", PRICE), (name, None))]
    check_prices(Limits(max_requests=3), endpoints)
    check_prices(Limits(budget_usd=1.0), endpoints[:1])
    with pytest.raises(ConfigurationError) as refused:
        check_prices(Limits(budget_usd=1.0), endpoints)
    assert f"cannot be kept for {name}: " in str(refused.value)
    assert f"[providers.{table}.models.MODEL]" in str(refused.value)


def test_more_than_a_plan_is_asked_for_by_itself_must_be_said() -> None:
    plan, paid = (
        Endpoint(n, n, "https://p.example/v1", "m", None, price=p)
        for n, p in (("plan", Price(0.0, 0.0)), ("paid", PRICE))
    )
    with pytest.raises(ConfigurationError, match=r"a plan pays for requests to plan, .* give --max-requests 101\."):
        check_plans(Limits(), [plan, paid], PLAN_REQUESTS + 1)
    check_plans(Limits(), [plan], PLAN_REQUESTS)
    check_plans(Limits(), [paid], PLAN_REQUESTS + 1)
    check_plans(Limits(max_requests=500), [plan], PLAN_REQUESTS + 1)
