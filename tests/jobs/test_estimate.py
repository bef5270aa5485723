"""The plan in numbers; nothing is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qcheck.baselines import Answer
from qcheck.evidence.margin import MarginEvidence
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.estimate import Estimate, estimate
from qcheck.jobs.reference import Reference
from qcheck.records import Position
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint, Price
from qcheck.run.budget import Limits
from qcheck.suites import Suite
from qcheck.verdict import Rules

PRICED = Endpoint("priced", "x", "http://127.0.0.1:9/v1", "m", None, price=Price(1.0, 2.0))
UNPRICED = Endpoint("unpriced", "x", "http://127.0.0.1:9/v1", "m", None)


def planned(suite: Suite, reference: Reference, settings: Settings) -> Estimate:
    manifest = make_manifest(
        "r", datetime.now(UTC), get_model("lab-tiny"), [PRICED, UNPRICED], [(suite, reference)], settings
    )
    return estimate(manifest, manifest.load_panels())


def test_costs_and_detectability_are_stated_beforehand(suite: Suite, shipped: Reference) -> None:
    plan = planned(suite, shipped, Settings(1))
    priced, unpriced = plan.providers
    assert priced.requests_max == len(suite.fold("evaluation"))
    assert priced.cost_usd is not None
    assert priced.cost_usd > 0
    assert unpriced.cost_usd is None
    assert priced.requests_expected is not None
    assert 92 <= priced.requests_expected <= 200
    medians = {(d.variant, d.fraction): d.median_requests for d in plan.detectable}
    full, tenth = medians["q4_k_m", 1.0], medians["q4_k_m", 0.1]
    assert full is not None
    assert tenth is not None
    assert full <= 6 < tenth <= 80
    assert plan.could_reject


def test_tokens_that_are_generated_whatever_is_asked_are_counted(suite: Suite) -> None:
    least = suite.manifest.max_tokens + 15
    wordy = replace(PRICED, name="wordy", dialect=Dialect(min_tokens=least), unpinned=True)
    manifest = make_manifest(
        "r", datetime.now(UTC), get_model("lab-tiny"), [PRICED, wordy], [(suite, Reference())], Settings(1)
    )
    usual, more = estimate(manifest, manifest.load_panels()).providers
    assert usual.output_tokens == usual.requests_max * suite.manifest.max_tokens
    assert more.output_tokens == more.requests_max * least
    assert (usual.unpinned, more.unpinned) == (False, True)


def test_a_test_that_cannot_reject_says_so(suite: Suite, shipped: Reference) -> None:
    plan = planned(suite, shipped, Settings(1, limits=Limits(max_requests=1)))
    assert not plan.could_reject
    assert plan.providers[0].requests_expected is None
    assert all(d.median_requests is None for d in plan.detectable)


@pytest.mark.parametrize("limit", [5, 17, 18])
def test_no_more_is_promised_than_may_be_sent(suite: Suite, shipped: Reference, limit: int) -> None:
    """With the requests by which prompts are asked again, of which there are more where few answers deviate."""
    plan = planned(suite, shipped, Settings(1, limits=Limits(max_requests=limit)))
    medians = [d.median_requests for d in plan.detectable]
    assert 0 < max(m for m in medians if m is not None) <= limit


def test_several_suites_are_planned_in_their_order(both: list[tuple[Suite, Reference]]) -> None:
    def plan(limit: int | None, *, detectability: bool = False) -> Estimate:
        settings = Settings(1, limits=Limits(max_requests=limit))
        manifest = make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), [PRICED, UNPRICED], both, settings)
        return estimate(manifest, manifest.load_panels(), detectability=detectability)

    whole = plan(None)
    assert [(p.name, p.suite) for p in whole.providers] == [
        (name, suite.name) for name in ("priced", "unpriced") for suite, _ in both
    ]
    logprobs, answers, *_ = whole.providers
    assert (logprobs.requests_max, answers.requests_max) == tuple(len(suite.fold("evaluation")) for suite, _ in both)
    assert answers.output_tokens == answers.requests_max * both[1][0].manifest.max_tokens
    assert logprobs.cost_usd is not None
    assert answers.cost_usd is not None
    assert logprobs.requests_expected is not None
    assert 100 <= logprobs.requests_expected <= 200
    assert answers.requests_expected == 0  # it is its turn where log-probabilities have not decided
    assert whole.observables == ("logprobs", "prompt_tokens", "answers")
    assert "their size and steadiness or wrong answers" in whole.detectability
    assert "(logprobs); 1600 calibration clusters (lab-answers)" in whole.detectability

    limited = plan(300, detectability=True)
    assert [p.requests_max for p in limited.providers[:2]] == [
        2 * logprobs.requests_expected,
        300 - 2 * logprobs.requests_expected,
    ]
    medians = {(d.variant, d.fraction): d.median_requests for d in limited.detectable}
    full, tenth = medians["q4_k_m", 1.0], medians["q4_k_m", 0.1]
    assert full is not None
    assert tenth is not None
    assert full <= 6 < tenth <= 90
    assert limited.could_reject
    assert not plan(1).could_reject


def test_without_a_baseline_detectability_is_unknown(suite: Suite) -> None:
    plan = planned(suite, Reference(), Settings(1))
    assert plan.detectability == "detectability unknown: no baseline"
    assert plan.detectable == ()


@pytest.mark.parametrize("requests", range(2, 12))
def test_without_an_envelope_too_few_requests_are_said_to_be_too_few(suite: Suite, requests: int) -> None:
    plan = planned(suite, Reference(), Settings(1, limits=Limits(max_requests=requests)))
    evidence, rules = MarginEvidence(0.01), Rules(0.01, 0.0, 1, 0.05)
    one, other = (Answer(9, (Position("=a", lp, (("=a", lp), ("=b", -2.0))),)) for lp in (-0.2, -1.0))
    for probe in suite.fold("evaluation")[: requests - 1]:  # one is kept for asking again
        evidence.update(probe.id, one, [other])
    assert len(evidence.deviating) == requests - 1
    assert plan.could_reject == (evidence.log_e >= rules.log_threshold)


def test_where_the_date_is_not_pinned_nothing_can_be_detected(both: list[tuple[Suite, Reference]]) -> None:
    dated = replace(get_model("lab-tiny"), dated_template=True)
    for date in (None, "01 Feb 2026"):  # the shipped baselines were recorded without one
        endpoint = replace(PRICED, date_string=date)
        manifest = make_manifest("r", datetime.now(UTC), dated, [endpoint], both, Settings(1))
        plan = estimate(manifest, manifest.load_panels())
        assert plan.detectability.startswith("nothing: the chat template")
        assert plan.detectable == ()


def test_what_the_estimates_rest_on_is_stated(suite: Suite, shipped: Reference) -> None:
    """A deep calibration counts honest deployments; what variants show rests on the suite's own prompts."""
    baseline = shipped.baseline
    assert baseline is not None
    assert baseline.table is not None
    own = sum(c.variant_clusters for c in baseline.table.events[0].counts.values())
    deep = sum(baseline.table.clusters.values())
    manifest = make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), [PRICED], [(suite, shipped)], Settings(1))
    said = estimate(manifest, manifest.load_panels(), detectability=False).detectability
    assert deep >= own + 40_000
    assert f"from {deep} calibration clusters, and {own} for what variants show" in said
