from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.errors import ConfigurationError
from qcheck.records import Attempt, Message, Request, Response
from qcheck.registry.types import Endpoint, Price
from qcheck.run.budget import Budget, Limits, check_prices, cost_usd, worst_case_usd

PRICE = Price(input=2.0, output=10.0)
REQUEST = Request("p0", (Message("user", "2+2?"),), 8, 0.0, 5)
RESPONSE = Response("4", (), 100, 10, None, "stop", "m", None)
ANSWERED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00Z", 0.1, "answered", http_status=200, response=RESPONSE)
REFUSED = replace(ANSWERED, outcome="retried", http_status=503, response=None)
LOST = replace(REFUSED, http_status=None)


def charged(cost: float) -> Attempt:
    return replace(ANSWERED, response=replace(RESPONSE, cost_usd=cost))


def test_the_worst_case_is_every_byte_a_token_and_every_token_generated() -> None:
    worst = worst_case_usd(REQUEST, PRICE)
    assert worst == pytest.approx(((256 + 16 + 4) * 2 + 8 * 10) / 1e6)
    assert worst_case_usd(REQUEST, None) is None


def test_the_provider_knows_best_what_an_answer_cost() -> None:
    assert cost_usd(RESPONSE, PRICE) == pytest.approx((100 * 2 + 10 * 10) / 1e6)
    assert cost_usd(replace(RESPONSE, cost_usd=0.5), PRICE) == 0.5
    assert cost_usd(RESPONSE, None) is None
    assert cost_usd(replace(RESPONSE, prompt_tokens=None), PRICE) is None


@settings(deadline=None)
@given(
    budget=st.floats(0, 10),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=60),
)
def test_never_exceeded_while_nobody_charges_more_than_the_worst_case(
    budget: float, steps: list[tuple[str, float, float, bool]]
) -> None:
    counted = Budget(Limits(budget_usd=budget), {})
    in_flight: list[tuple[str, float, float]] = []
    for provider, worst, share, land_first in steps:
        if land_first and in_flight:
            landed, reserved, cost = in_flight.pop(0)
            counted.settle(landed, reserved, [replace(charged(cost), provider=landed)])
        reservation = counted.reserve(provider, worst)
        if reservation == "reserved":
            in_flight.append((provider, worst, worst * share))
        elif reservation == "later":
            assert in_flight
        else:
            assert counted.spent_usd + worst > budget
        assert counted.spent_usd + sum(reserved for _, reserved, _ in in_flight) <= budget * (1 + 1e-6)


def test_a_request_that_may_fit_later_waits_for_those_in_flight() -> None:
    budget = Budget(Limits(budget_usd=1.0), {})
    assert budget.reserve("a", 0.6) == "reserved"
    assert budget.reserve("a", 0.6) == "later"
    budget.settle("a", 0.6, [charged(0.1)])
    assert budget.reserve("a", 0.6) == "reserved"
    budget.settle("a", 0.6, [charged(0.6)])
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
    ("attempts", "spent"),
    [
        ([ANSWERED], 300e-6),
        ([REFUSED, ANSWERED], 300e-6),
        ([LOST, ANSWERED], 1 + 300e-6),
        ([replace(LOST, outcome="failed")], 1.0),
        ([replace(REFUSED, outcome="failed")], 0.0),
        ([], 1.0),
        ([REFUSED], 1.0),
    ],
    ids=["answered", "refused first", "lost first", "lost", "refused", "given up", "given up after a refusal"],
)
def test_what_may_be_billed_is_charged(attempts: list[Attempt], spent: float) -> None:
    budget = Budget(Limits(budget_usd=5.0), {"a": PRICE})
    assert budget.reserve("a", 1.0) == "reserved"
    budget.settle("a", 1.0, attempts)
    assert budget.spent_usd == pytest.approx(spent)


def test_a_provider_without_a_price_is_not_held_back_by_what_it_might_cost() -> None:
    budget = Budget(Limits(budget_usd=0.0), {})
    assert budget.worst_case_usd("a", REQUEST) is None
    assert budget.reserve("a", None) == "reserved"
    budget.settle("a", None, [ANSWERED])
    assert budget.spent_usd == 0.0
    assert budget.reserve("a", None) == "reserved"


def test_a_provider_without_a_price_is_held_back_by_what_it_reports() -> None:
    budget = Budget(Limits(budget_usd=1.0), {})
    budget.reserve("a", None)
    budget.settle("a", None, [charged(1.5)])
    assert budget.reserve("a", None) == "budget"


@pytest.mark.parametrize("field", ["requests", "spent"])
def test_an_earlier_process_counts(field: str) -> None:
    retried = replace(REFUSED, seq=1)
    limits = Limits(max_requests=1) if field == "requests" else Limits(budget_usd=300e-6)
    budget = Budget(limits, {"a": PRICE}, before=[ANSWERED, retried])
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
    assert f"[providers.{table}]" in str(refused.value)
