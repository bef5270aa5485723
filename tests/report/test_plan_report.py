from dataclasses import replace

import pytest

from qcheck.jobs.estimate import Detectable, Estimate, ProviderEstimate
from qcheck.report.paper import Paper
from qcheck.report.plan import cannot_reject, full, in_short


@pytest.fixture
def plan():
    return Estimate(
        providers=(
            ProviderEstimate("openrouter/novita", "provider", "logprobs", 744, 119, 41310, 2976, 0.0512, 4.65),
            ProviderEstimate("mine", "provider", "logprobs", 744, None, 41310, 2976, None, 4.65),
            ProviderEstimate("moonshot", "reference", "logprobs", 744, 119, 41310, 2976, 0.0511, 4.65),
        ),
        requests_max=2232,
        observables=("logprobs", "prompt_tokens"),
        could_reject=True,
        detectable=(
            Detectable("fp8", 1.0, 12, "logprobs"),
            Detectable("fp8", 0.1, 160, "logprobs"),
            Detectable("fp8", 0.01, None, "logprobs"),
            Detectable("int4", 1.0, 3, "logprobs"),
            Detectable("int4", 0.1, 31, "logprobs"),
            Detectable("int4", 0.01, 388, "logprobs"),
        ),
        detectability="estimated by simulation from 1440 calibration answers per deployment",
    )


def test_golden(plan, golden):
    golden("plan.txt", full(plan, Paper(100)))


def test_in_short_it_is_one_line(plan):
    assert in_short(plan) == (
        "at most 2232 requests to 3 endpoints, about 132858 tokens, "
        "about 0.1023 USD, and what mine will charge (price unknown), about 5 min"
    )


def test_what_is_expected_is_said_where_it_is_known(plan):
    known = replace(plan, requests_max=1488, providers=(plan.providers[0], plan.providers[2]))
    assert "1488 requests to 2 endpoints (about 238 if all are consistent), " in in_short(known)
    free = replace(plan, providers=tuple(replace(p, cost_usd=0.0) for p in plan.providers))
    assert "free of charge" in in_short(free)


def test_without_any_price_the_cost_is_unknown(plan):
    unpriced = replace(plan, providers=tuple(replace(p, cost_usd=None) for p in plan.providers))
    assert "cost unknown" in in_short(unpriced)


def test_what_a_detection_costs_is_said_where_all_prices_are_known(plan):
    """At the provider that charges most, and with it what the reference charges for the same requests."""
    dear = replace(plan.providers[0], name="dear", cost_usd=7.44)
    elsewhere = replace(dear, name="dearer", suite="answers", cost_usd=744.0)
    known = replace(plan, providers=(plan.providers[0], dear, plan.providers[2], elsewhere))
    shown = full(known, Paper(200))
    assert "160 (1.6)" in shown
    assert "in USD" in shown
    assert "USD where" not in full(plan, Paper(200))


def test_what_a_provider_cannot_show_is_said(plan):
    silent = replace(plan.providers[0], lost={"greedy_text": "no temperature but 0.6 is accepted"})
    shown = full(replace(plan, providers=(silent,)), Paper(200))
    assert "greedy text of openrouter/novita: no temperature but 0.6 is accepted" in shown
    assert "lost" not in full(plan, Paper(200))


def test_who_routes_to_unknown_upstreams_is_said(plan):
    gateway = replace(plan.providers[1], unpinned=True)
    assert "upstreams: mine routes to unknown ones" in full(replace(plan, providers=(gateway,)), Paper(200))
    assert "upstreams" not in full(plan, Paper(200))


def test_too_few_requests_are_a_warning(plan):
    assert cannot_reject(plan) is None
    assert cannot_reject(replace(plan, could_reject=False)) in " ".join(
        full(replace(plan, could_reject=False), Paper(200)).split()
    )


def test_what_is_known_of_whom_and_what_silence_costs_is_said(plan):
    told = replace(plan, found={"mine": "2026-11-28"}, withheld={"mine": ("few tokens",)}, unjudged={"mine": "no text"})
    told = replace(told, thinking={"mine": "off by reasoning, found 2026-11-28"})
    shown = " ".join(full(told, Paper(200)).split())
    others = "openrouter/novita, moonshot as the registry and qcheck.toml have it, until it is found out"
    assert f"mine as found on 2026-11-28; {others}" in shown
    assert "withheld mine: few tokens" in shown.replace(": mine", " mine")
    assert "mine, no text" in shown
    assert "thinking: mine: off by reasoning, found 2026-11-28" in shown


def test_what_can_be_detected_is_said_for_each_kind_of_suite(plan):
    two = replace(plan, providers=(*plan.providers, replace(plan.providers[1], suite="answers")))
    two = replace(two, detectable=(*plan.detectable, Detectable("fp8", 1.0, 70, "answers")))
    shown = full(two, Paper(200))
    assert "median requests of logprobs until" in shown
    assert "median requests of answers until" in shown
