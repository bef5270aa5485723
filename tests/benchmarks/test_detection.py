"""The streams of the detection benchmark, on scores made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.alarms import Stops, stops
from benchmarks.detection.observed import Observed
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.stats.bets import TailBets
from qcheck.verdict import Rules

ALPHA, DELTA = 0.01, 0.002
DEEP, SHALLOW = 20, 60


def envelope() -> Envelope:
    def levels(bound: float) -> tuple[TailLevel, ...]:
        bounds = {"deep": bound / 4, "shallow": bound}
        return (
            TailLevel("size", 1.0, bounds, 0.5, outlying=True),
            TailLevel("direction", 0.5, bounds, 0.5, outlying=True),
        )

    return Envelope(ALPHA, DELTA, {"full": levels(0.02), "top5": levels(0.05)}, 0, {}, None)


def observed(view: str = "full") -> Observed:
    """Ten in a hundred honest answers are large; the variant's all are, and it goes in the direction of `known`."""
    strata = np.array(["shallow"] * SHALLOW + ["deep"] * DEEP)
    count = len(strata)
    honest = np.where(np.arange(count) % 10 == 0, 2.0, 0.0)
    towards = {"honest": np.full((count, 2), -1.0), "variant": np.stack([np.ones(count), -np.ones(count)], axis=1)}
    return Observed(view, strata, ("known", "other"), {"honest": honest, "variant": np.full(count, 2.0)}, towards)


def drawn(fraction: float, known: tuple[str, ...] = ("known", "other"), view: str = "full", limit: int = 1000) -> Stops:
    rng = np.random.default_rng(1)
    return stops(observed(view), envelope(), ["honest"], "variant", fraction, known, rng, 300, limit)


def test_the_first_alarm_is_that_of_the_bets() -> None:
    bets, needed = TailBets([0.5, 0.5]), 0
    while bets.log_e < Rules(ALPHA, DELTA, 1, 0.05).log_threshold:
        bets.update([True, True], [0.005, 0.005])  # the stratum with the smaller bounds is asked first
        needed += 1
    assert set(drawn(1.0).requests.tolist()) == {max(2, needed)}


def test_a_smaller_share_a_variant_not_known_and_a_narrower_view_take_longer() -> None:
    usual = drawn(0.3).requests.mean()
    assert usual > 2
    for later in (drawn(0.1), drawn(0.3, known=("other",)), drawn(0.3, view="top5")):
        assert later.requests.mean() > usual


def test_the_first_answer_in_a_narrower_view_is_no_evidence() -> None:
    assert min(drawn(1.0, view="top5").requests) >= 3


def test_there_are_no_more_requests_than_probes_and_what_is_not_reached_is_never() -> None:
    honest = drawn(0.0)
    assert honest.limit == DEEP + SHALLOW
    assert drawn(1.0, limit=1).share == 0.0
    assert drawn(1.0, limit=1).quantile(0.5) is None


def test_quantiles_and_their_intervals_are_order_statistics() -> None:
    found = Stops(np.arange(1, 1001), 900)
    assert (found.quantile(0.5), found.quantile(0.9), found.quantile(0.95)) == (500, 900, None)
    low, high = found.interval(0.5)
    assert low is not None
    assert high is not None
    # 1.96 standard errors of a rank at the median of a thousand are 31.
    assert (low, high) == (pytest.approx(469, abs=1), pytest.approx(531, abs=1))
    assert found.share == 0.9
