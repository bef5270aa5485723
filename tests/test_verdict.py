from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from qcheck.result import Finding
from qcheck.verdict import Claims, Decision, Observed, Rules, asks_again, decide, exit_code, should_stop, summarise

RULES = Rules(alpha=0.01, delta=0.002, family=2, tolerance=0.05)
ENOUGH = RULES.log_threshold + 1e-9
NEVER = (-math.inf, -math.inf)  # what claims without a history have been before
DEVIATION = Finding("prompt_tokens_differ", "deviation", "76 prompt tokens where the reference has 69", None, ("a",))


def observed(**changes: Any) -> Observed:
    values: dict[str, Any] = {
        "suite": "logprobs", "answered": 100, "log_e": 0.0, "weight": 1.0, "deviating": (), "outside": "are odd",
        "upper": 0.2, "resolution": "fp8", "proven": 0.0,
    }  # fmt: skip
    return Observed(**(values | changes))


def claims(*suites: Observed, **changes: Any) -> Claims:
    """What those suites claim together, or one suite with changes."""
    values: dict[str, Any] = {
        "failures": 0, "findings": (), "blind_to": (), "unavailable_reason": None, "has_reference": True,
        "most": NEVER,
    }  # fmt: skip
    of_suite = {name: value for name, value in changes.items() if name not in values}
    return Claims(suites or [observed(**of_suite)], **(values | {n: v for n, v in changes.items() if n in values}))


def test_the_threshold_pays_for_family_and_calibration() -> None:
    assert math.exp(RULES.log_threshold) == pytest.approx(2 / (0.01 - 0.002))


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({}, Decision("inconclusive", None)),
        ({"log_e": ENOUGH, "deviating": ("a", "b")}, Decision("deviates", "evidence")),
        ({"log_e": ENOUGH - 1e-6, "deviating": ("a", "b")}, Decision("inconclusive", None)),
        ({"log_e": 50.0, "deviating": ("a",)}, Decision("inconclusive", None)),
        ({"log_e": 50.0, "deviating": ("a", "a")}, Decision("inconclusive", None)),
        ({"findings": (DEVIATION,)}, Decision("deviates", "finding")),
        ({"upper": 0.05}, Decision("consistent", "evidence")),
        ({"upper": 0.0501}, Decision("inconclusive", None)),
        ({"upper": None}, Decision("inconclusive", None)),
        ({"upper": 0.01, "log_e": ENOUGH, "deviating": ("a", "b")}, Decision("deviates", "evidence")),
        ({"unavailable_reason": "401"}, Decision("unavailable", None)),
        ({"upper": 0.01, "unavailable_reason": "402"}, Decision("consistent", "evidence")),  # until credits ran out
        ({"log_e": 0.0, "most": (ENOUGH, ENOUGH)}, Decision("deviates", "evidence")),  # shown before
        ({"log_e": ENOUGH, "deviating": ("a", "b"), "stands": None}, Decision("inconclusive", None)),
        ({"log_e": ENOUGH, "deviating": ("a", "b"), "stands": False}, Decision("inconclusive", None)),
        # Who is suspected is not consistent, however few of the answers deviate, and whatever comes after them.
        ({"upper": 0.01, "log_e": ENOUGH, "deviating": ("a", "b"), "stands": None}, Decision("inconclusive", None)),
        ({"upper": 0.01, "log_e": ENOUGH, "deviating": ("a", "b"), "stands": False}, Decision("inconclusive", None)),
        ({"upper": 0.01, "most": (ENOUGH, -math.inf)}, Decision("inconclusive", None)),
        # An answer stood at last, when others had already spoken against what was shown.
        ({"log_e": 0.0, "deviating": ("a", "b"), "most": (ENOUGH, -math.inf)}, Decision("deviates", "evidence")),
        ({"log_e": 0.0, "deviating": ("a",), "most": (ENOUGH, -math.inf)}, Decision("inconclusive", None)),
        ({"unavailable_reason": "401", "findings": (DEVIATION,)}, Decision("deviates", "finding")),
        (
            {"has_reference": False, "log_e": 50.0, "deviating": ("a", "b"), "upper": 0.0},
            Decision("inconclusive", None),
        ),
    ],
)
def test_decisions(changes: dict[str, Any], decision: Decision) -> None:
    assert decide(claims(**changes), RULES) == decision


ANSWERS: dict[str, Any] = {"suite": "answers", "outside": "are wrong", "resolution": "finetuned", "weight": 0.5}


def both(logprobs: dict[str, Any], answers: dict[str, Any]) -> Claims:
    return claims(observed(**({"weight": 0.5} | logprobs)), observed(**(ANSWERS | answers)))


def test_the_evidence_of_several_suites_is_averaged() -> None:
    together = both({"log_e": 8.0}, {"log_e": -1.0})
    assert together.log_e == pytest.approx(math.log((math.exp(8) + math.exp(-1)) / 2))
    assert together.answered == 200
    twice = {"log_e": ENOUGH + math.log(2), "deviating": ("a", "b")}
    assert decide(both(twice, {"log_e": -50.0}), RULES) == Decision("deviates", "evidence")
    assert decide(both(twice | {"log_e": ENOUGH}, {"log_e": -50.0}), RULES).verdict == "inconclusive"


def test_two_answers_of_one_suite_are_needed_whatever_stands_in_another() -> None:
    """An odd answer beside the losses that honest providers have now and then is no more than an odd answer."""
    odd = {"log_e": 50.0, "deviating": ("a",)}
    assert decide(both(odd, {"deviating": ("b", "c"), "log_e": 0.5}), RULES).verdict == "inconclusive"
    assert decide(both(odd, {"deviating": ("b",), "log_e": 50.0}), RULES).verdict == "inconclusive"
    assert both(odd, {}).proof == -math.inf
    assert decide(both(odd | {"deviating": ("a", "b")}, {}), RULES).verdict == "deviates"


@pytest.mark.parametrize(
    ("logprobs", "answers", "best"), [(0.04, 1.0, "logprobs"), (1.0, 0.03, "answers"), (None, 0.05, "answers")]
)
def test_the_best_bound_counts_and_its_suite_is_named(logprobs: float | None, answers: float, best: str) -> None:
    together = both({"upper": logprobs}, {"upper": answers, "answered": 300})
    assert together.best.suite == best
    decision = decide(together, RULES)
    assert decision == Decision("consistent", "evidence")
    text = summarise(together, RULES, decision, None)
    assert f"as visible as {together.best.resolution} ({together.best.answered} answers to the suite {best}, " in text


@pytest.mark.parametrize(("proven", "verdict"), [(0.05, "consistent"), (0.0501, "inconclusive")])
def test_a_suite_that_proves_more_than_the_tolerance_vetoes_agreement(proven: float, verdict: str) -> None:
    """Its answers may be too few, or too weak together, to accuse, and still speak against what another suite says."""
    assert decide(both({"upper": 0.01}, {"upper": 0.5, "proven": proven}), RULES).verdict == verdict


def test_the_suites_that_accuse_are_named_by_what_their_answers_do() -> None:
    proof = {"log_e": 50.0, "deviating": ("a", "b"), "proven": 0.2}
    alone = both({}, proof)
    text = summarise(alone, RULES, decide(alone, RULES), None)
    assert "2 of 100 answers are wrong; e-value" in text
    assert "at least 20 % of the requests to the suite answers deviate" in text
    all_of_them = both(proof, proof)
    text = summarise(all_of_them, RULES, decide(all_of_them, RULES), None)
    assert "2 of 100 answers are odd and 2 of 100 answers are wrong; " in text


@pytest.mark.parametrize(
    ("changes", "asks", "reason"),
    [
        ({"stands": None}, True, None),
        ({"stands": True}, False, "deviates"),
        ({"stands": False}, False, "unsteady"),
        ({"stands": None, "log_e": ENOUGH - 1e-6}, False, None),
        ({"stands": None, "log_e": 0.0, "most": (ENOUGH, -math.inf)}, True, None),
        ({"stands": None, "deviating": ("a",)}, False, None),
        ({"stands": None, "findings": (DEVIATION,)}, False, "deviates"),
    ],
)
def test_a_deviating_answer_is_asked_for_again_where_nothing_else_is_missing(
    changes: dict[str, Any], asks: bool, reason: str | None
) -> None:
    given = claims(**({"log_e": ENOUGH, "deviating": ("a", "b")} | changes))
    assert asks_again(given, RULES) is asks
    assert should_stop(given, RULES) == reason
    assert not asks_again(given, replace(RULES, dated=True))
    text = summarise(given, RULES, decide(given, RULES), None)
    assert ("asked again" in text) == (asks or changes["stands"] is False)


def test_until_consistent_a_provider_that_deviates_is_asked_until_its_share_is_bounded() -> None:
    patient, shown = replace(RULES, until="consistent"), {"log_e": ENOUGH, "deviating": ("a", "b")}
    assert should_stop(claims(**shown), RULES) == "deviates"
    assert should_stop(claims(**shown), patient) is None
    assert should_stop(claims(**shown, upper=0.05), patient) == "deviates"


def test_until_deviates_goes_on_past_consistent() -> None:
    patient = Rules(0.01, 0.002, 1, 0.05, until="deviates")
    assert should_stop(claims(upper=0.01), RULES) == "consistent"
    assert should_stop(claims(upper=0.01), patient) is None
    assert should_stop(claims(unavailable_reason="gone"), patient) == "unavailable"


PROOF: dict[str, Any] = {"log_e": 50.0, "deviating": ("a", "b")}


@pytest.mark.parametrize(
    ("different", "shown"),
    [
        (claims(upper=0.01, **PROOF), "2 of 100 answers are odd, but"),
        (claims(upper=0.01, findings=(DEVIATION,)), "76 prompt tokens where the reference has 69, but"),
        (both({"upper": 0.01}, PROOF), "2 of 100 answers are wrong, but"),
        (both(PROOF, PROOF), "2 of 100 answers are odd and 2 of 100 answers are wrong, but"),
    ],
)
def test_where_another_date_would_explain_a_difference_nobody_deviates(different: Claims, shown: str) -> None:
    dated = replace(RULES, dated=True)
    assert decide(different, RULES).verdict == "deviates"
    assert decide(different, dated) == Decision("inconclusive", None)
    assert should_stop(different, dated) == "date not pinned"
    text = summarise(different, dated, decide(different, dated), None)
    assert text.startswith(f"cannot tell: {shown}")
    assert "date_string" in text
    assert decide(claims(upper=0.01), dated) == Decision("consistent", "evidence")
    assert should_stop(claims(), dated) is None


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["consistent"], 0),
        (["consistent", "deviates", "inconclusive"], 1),
        (["consistent", "inconclusive"], 3),
        (["unavailable"], 3),
        ([], 3),
    ],
)
def test_exit_codes(verdicts: list[Any], code: int) -> None:
    assert exit_code(verdicts) == code
    assert exit_code(verdicts, "deviates") == (0 if code == 3 else code)


def test_fair_words() -> None:
    bad = claims(log_e=ENOUGH, deviating=("a", "b"), proven=0.3)
    text = summarise(bad, RULES, decide(bad, RULES), None, declared="FP8", nearest="fp8")
    assert text.startswith("deviates from the reference: 2 of 100 answers are odd; e-value")
    assert "at least 30 % of the requests deviate" in text
    assert "matches its declared FP8" in text
    good = claims(upper=0.04, blind_to=("q8_0",))
    assert "at most 4.0 % of the requests" in summarise(good, RULES, decide(good, RULES), None)
    assert "could not have seen: q8_0" in summarise(good, RULES, decide(good, RULES), None)
    open_ = claims()
    assert "about 40 more requests would decide" in summarise(open_, RULES, decide(open_, RULES), 40)
    nothing = claims(answered=0)
    assert summarise(nothing, RULES, decide(nothing, RULES), 107, cut_short="the deadline had passed") == (
        "cannot tell: no answer has come; stopped, as the deadline had passed"
    )
    for words in (text, summarise(good, RULES, decide(good, RULES), None)):
        assert "cheat" not in words


@pytest.mark.parametrize("upper", [0.04, 0.2])
def test_failures_are_told_beside_what_was_shown(upper: float) -> None:
    seen = replace(claims(upper=upper, failures=3), error="HTTP 404")
    words = summarise(seen, RULES, decide(seen, RULES), 9)
    assert words.endswith("; 3 of 103 requests failed, the last: HTTP 404")


def test_who_is_asked_nothing_has_no_evidence_either_way() -> None:
    nothing = replace(claims(), observed=(), unjudged="nothing is recorded to judge it by")
    assert (nothing.log_e, nothing.proof) == (0.0, -math.inf)
    assert decide(nothing, RULES) == Decision("inconclusive", None)


@pytest.mark.parametrize(
    ("suites", "changes", "stops"),
    [
        ([{"mute": True}], {}, True),
        ([{"mute": True, "answered": 49}], {}, False),
        ([{"mute": False}], {}, False),
        ([{"mute": True}, {"mute": True, "suite": "answers", "answered": 20}], {}, False),
        ([{"mute": True}, {"mute": True, "suite": "answers"}], {}, True),
        ([{"mute": True}, {"mute": False, "suite": "answers"}], {}, False),
        ([{"mute": True}], {"has_reference": False}, False),
    ],
)
def test_who_shows_nothing_is_not_asked_for_ever(
    suites: list[dict[str, Any]], changes: dict[str, Any], stops: bool
) -> None:
    silent = claims(*(observed(**({"answered": 50} | suite)) for suite in suites), **changes)
    assert should_stop(silent, RULES) == ("nothing shown" if stops else None)
    assert ("none of them shows enough" in summarise(silent, RULES, decide(silent, RULES), 40)) == stops


def test_a_finding_decides_though_nothing_else_is_shown() -> None:
    assert should_stop(claims(mute=True, findings=(DEVIATION,)), RULES) == "deviates"
