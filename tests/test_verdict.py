from __future__ import annotations

import math
from typing import Any

import pytest

from qcheck.result import Finding
from qcheck.verdict import Claims, Decision, Rules, decide, exit_code, should_stop, summarise

RULES = Rules(alpha=0.01, delta=0.002, family=2, tolerance=0.05)
ENOUGH = RULES.log_threshold + 1e-9
DEVIATION = Finding("prompt_tokens_differ", "deviation", "76 prompt tokens where the reference has 69", None, ("a",))


def claims(**changes: Any) -> Claims:
    values: dict[str, Any] = {
        "answered": 100, "failures": 0, "log_e": 0.0, "deviating": (), "outside": "are odd", "findings": (),
        "upper": 0.2, "resolution": "fp8", "blind_to": (), "proven": 0.0, "unavailable_reason": None,
        "has_reference": True,
    }  # fmt: skip
    return Claims(**(values | changes))


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
        ({"upper": 0.01, "unavailable_reason": "401"}, Decision("unavailable", None)),
        ({"unavailable_reason": "401", "findings": (DEVIATION,)}, Decision("deviates", "finding")),
        (
            {"has_reference": False, "log_e": 50.0, "deviating": ("a", "b"), "upper": 0.0},
            Decision("inconclusive", None),
        ),
    ],
)
def test_decisions(changes: dict[str, Any], decision: Decision) -> None:
    assert decide(claims(**changes), RULES) == decision


def test_until_deviates_goes_on_past_consistent() -> None:
    patient = Rules(0.01, 0.002, 1, 0.05, until="deviates")
    assert should_stop(claims(upper=0.01), RULES) == "consistent"
    assert should_stop(claims(upper=0.01), patient) is None
    assert should_stop(claims(unavailable_reason="gone"), patient) == "unavailable"


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
    for words in (text, summarise(good, RULES, decide(good, RULES), None)):
        assert "cheat" not in words
