"""The tables of the attribution benchmark, on runs made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.attribution import CASE, Streams, confusion_table, log_score, reliability_table
from benchmarks.detection.observed import Observed
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.stats.attribution import NONE
from qcheck.stats.counted import HITS

COUNT = 20


def runs(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    """served, truth, named and stated of runs at 100 %; the truth gets what is stated, or what is left of it."""
    return pd.DataFrame(
        [(1.0, s, t, 1.0, 2, n, p, p if n == t else 1 - p) for s, t, n, p in rows],
        columns=["temper", *CASE, "requests", "named", "stated", "of_truth"],
    )


def test_the_recorded_and_those_left_out_weigh_alike_however_many_runs_they_have() -> None:
    many = runs(*[("q8_0", "q8_0", "q8_0", 0.8)] * 9, ("q8_0", NONE, "int8", 0.6))
    assert log_score(many) == pytest.approx((np.log(0.8) + np.log(0.4)) / 2)


def test_a_probability_that_holds_shows_no_error_and_one_that_does_not_its_size() -> None:
    good = runs(*[("a", NONE, NONE, 0.75)] * 3, ("a", NONE, "b", 0.75))
    bad = runs(*[("a", NONE, NONE, 0.99)] * 3, ("a", NONE, "b", 0.99))
    table = reliability_table(bad, good)
    assert "| 0.7–0.9 | 0 | – | – | 4 | 0.750 | 0.750 |" in table
    assert "Expected calibration error 0.240 before tempering, 0.000 after" in table


def test_the_confusion_table_says_what_was_named_wrongly() -> None:
    table = confusion_table(runs(("a", NONE, "b", 0.9), ("a", NONE, NONE, 0.9), ("a", NONE, "b", 0.9)))
    assert "| a | no | 100% | 3 | 2 | 33% | b 67% |" in table


def test_runs_stop_at_the_verdict_and_fold_what_was_answered() -> None:
    """Answers of `known` say that they are, honest ones nothing; it is named where it is in the bank."""
    level = TailLevel("size", 1.0, {"only": 0.001}, {"only": (0.001,) * len(HITS)}, 1.0, outlying=True)
    sizes = {"known": np.full(COUNT, 2.0), "honest": np.zeros(COUNT)}
    directions = {name: np.zeros((COUNT, 1, 0)) for name in sizes}
    full = {name: np.ones(COUNT, bool) for name in sizes}
    observed = Observed("full", np.full(COUNT, "only"), (), sizes, sizes, directions, full)
    says = {"known": (0.0, np.array([[9.0], [3.0], [6.0]])), "honest": (9.0, np.zeros((3, 1)))}
    likelihoods = {1.0: {name: [says[name]] * COUNT for name in sizes}}
    envelope = Envelope(0.01, 0.002, {"full": (level,)}, 0, {}, None)
    found = Streams(("known", "other"), envelope, observed, likelihoods, ("honest",), {"known": "known"})(
        ["known", "other"][:1], [1.0]
    )
    assert set(found.requests[found.fraction == 1.0]) == {2}
    assert (found.named == found.truth).all()
    assert set(found.truth) == {"known", NONE}
