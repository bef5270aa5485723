"""The streams of the detection benchmark, on scores made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detection.agreement import consistent_stops
from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops, blocks
from benchmarks.detection.observed import Observed
from benchmarks.detection.oracle import density_ratios, growth, log_growth, oracle_stops
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.stats.bets import TailBets
from qcheck.stats.counted import HITS
from qcheck.stats.fraction import requests_to_bound
from qcheck.verdict import Rules

ALPHA, DELTA = 0.01, 0.002
DEEP, SHALLOW = 20, 60


def envelope() -> Envelope:
    def levels(bound: float) -> tuple[TailLevel, ...]:
        bounds = {"deep": bound / 4, "shallow": bound}
        rising = {name: tuple(at * HITS**0.5) for name, at in bounds.items()}
        return (
            TailLevel("size", 1.0, bounds, rising, 0.5, outlying=True),
            TailLevel("direction", 0.5, bounds, rising, 0.5, outlying=True),
        )

    return Envelope(ALPHA, DELTA, {"full": levels(0.02), "top5": levels(0.05)}, 0, {}, None)


def observed(view: str = "full") -> Observed:
    """Ten in a hundred honest answers are large; the variant's all are, and it goes in the direction of `known`."""
    strata = np.array(["shallow"] * SHALLOW + ["deep"] * DEEP)
    count = len(strata)
    honest = np.where(np.arange(count) % 10 == 0, 2.0, 0.0)
    towards = {"honest": np.full((count, 1, 2), -1.0), "variant": np.tile([1.0, -1.0], (count, 1, 1))}
    sizes = {"honest": honest, "variant": np.full(count, 2.0)}
    return Observed(view, strata, ("known", "other"), sizes, sizes, towards, dict.fromkeys(sizes, np.full(count, True)))


def drawn(fraction: float, known: tuple[str, ...] = ("known", "other"), view: str = "full", limit: int = 1000) -> Stops:
    rng = np.random.default_rng(1)
    return stops(observed(view), envelope(), ["honest"], "variant", fraction, known, rng, 300, limit)


def test_a_smaller_share_a_variant_not_known_and_a_narrower_view_take_longer() -> None:
    usual = drawn(0.3).requests.mean()
    assert usual > 2
    for later in (drawn(0.1), drawn(0.3, known=("other",)), drawn(0.3, view="top5")):
        assert later.requests.mean() > usual


def test_the_first_answer_is_bet_on_at_more_as_it_may_choose_its_view() -> None:
    limits = Rules(ALPHA, DELTA, 1, 0.05).log_threshold
    for view, bound in (("full", 0.005), ("top5", 0.0125)):
        bets, needed = TailBets([0.5, 0.5]), 0
        while bets.log_e < limits or needed < 2:
            needed += 1
            bets.update([True, True], [bound * needed**0.5 * (2 if needed == 1 else 1)] * 2)
        assert set(drawn(1.0, view=view).requests.tolist()) == {needed}


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


def scored(size: np.ndarray, direction: np.ndarray | None = None) -> np.ndarray:
    return np.stack([size, np.zeros(len(size)) if direction is None else direction], axis=1)


def test_the_oracle_grows_by_the_divergence_of_what_it_knows() -> None:
    """Two Bernoulli distributions, of which the divergence of the mixture from the honest one is known."""
    rng, count = np.random.default_rng(0), 20_000
    honest, deviating = (scored((rng.random(count) < p).astype(float)) for p in (0.1, 0.6))
    at_honest, at_deviating = density_ratios(honest, deviating, count)
    for fraction in (1.0, 0.1):
        p = 0.1 + fraction * 0.5
        divergence = p * np.log(p / 0.1) + (1 - p) * np.log((1 - p) / 0.9)
        assert log_growth(at_honest, at_deviating, fraction) == pytest.approx(divergence, rel=0.1)


def test_the_oracle_learns_nothing_where_both_are_the_same() -> None:
    rng = np.random.default_rng(1)
    one, other = (scored(rng.normal(size=3000), rng.normal(size=3000)) for _ in range(2))
    assert log_growth(*density_ratios(one, other, 3000), 0.1) < 1e-3


def test_the_oracle_knows_no_probability_below_its_resolution() -> None:
    apart = density_ratios(scored(np.zeros(100)), scored(np.ones(100)), 5000)
    assert apart[1] == pytest.approx(5001)
    assert apart[0] == pytest.approx(1 / 5001)


def test_the_oracle_is_no_slower_than_the_bets_and_grows_no_less() -> None:
    seen = observed()
    inside = replace(seen, sizes={**seen.sizes, "honest": np.zeros(DEEP + SHALLOW)})
    for fraction in (1.0, 0.3):
        what = inside, envelope(), ["honest"], "variant", fraction, ("known", "other")
        oracle = oracle_stops(*what, 2000, np.random.default_rng(1), 300, 1000)
        ours = stops(*what, np.random.default_rng(1), 300, 1000)
        assert (oracle.requests <= ours.requests).all()  # in the same streams
        found = growth(*what, 2000)
        assert 0 < found.ours < found.oracle
        assert found.ours < found.informed


def test_streams_are_answered_by_whom_they_say() -> None:
    (block,) = blocks(np.array([1, 1, 0, 0]), 2, 0.5, np.random.default_rng(0), 100, 9)
    assert block.order.shape == (100, 4)
    assert (block.order[:, :2] >= 2).all()  # an earlier turn
    honest = np.array([[10, 11, 12, 13], [20, 21, 22, 23]])
    picked = block.pick(np.arange(4), honest)
    expected = np.where(block.routed, block.order, 10 * (block.server + 1) + block.order)
    assert (picked == expected).all()
    assert {*block.server.ravel().tolist()} == {0, 1}


def test_consistent_comes_when_the_bound_is_low_enough_and_never_of_answers_cut_short() -> None:
    e = replace(envelope(), visibility={"full": {"weak": 0.8}}, resolution="weak")
    seen, rng = observed(), np.random.default_rng(0)
    clean = replace(seen, sizes={"honest": np.zeros(DEEP + SHALLOW)})
    target = 0.1 * 0.8
    needed = requests_to_bound(0, 0, target, ALPHA - DELTA)
    assert needed is not None
    assert set(consistent_stops(clean, e, "honest", 0.1, rng, 50, 80).requests) == {needed}
    assert consistent_stops(seen, e, "honest", 0.1, rng, 50, 80).requests.min() > needed  # a tenth of it is large
    short = replace(clean, full={"honest": np.full(DEEP + SHALLOW, False)})
    assert consistent_stops(short, e, "honest", 0.1, rng, 50, 80).share == 0.0
