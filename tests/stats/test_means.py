import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.stats.fraction import fraction_lower, fraction_upper
from qcheck.stats.means import BETS, MeanBets, NonInferiority

LOOKS = (10, 30, 40, 60, 100, 200)


def folded(values: np.ndarray) -> MeanBets:
    bets = MeanBets()
    bets.update(values)
    return bets


@given(
    support=st.lists(st.floats(0, 1), min_size=2, max_size=5),
    mean=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_one_request_has_mean_at_most_one_on_the_tested_side(support: list[float], mean: float, seed: int) -> None:
    """Exact, over discrete distributions: E[e] ≤ 1 against every mean on the right side of the true one."""
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(support)))
    true = float(probabilities @ support)
    bets = folded(np.array(support)[:, None])
    above, below = np.exp(bets.log_e_above(mean)), np.exp(bets.log_e_below(mean))
    if true <= mean:
        assert probabilities @ above <= 1 + 1e-9
    if true >= mean:
        assert probabilities @ below <= 1 + 1e-9


def test_capital_is_what_it_is_defined_as() -> None:
    values, mean = np.random.default_rng(0).random(30), 0.3
    lam = BETS / (1 + BETS * mean)
    capital = np.prod(1 + lam * (values[:, None] - mean), axis=0).mean()
    assert folded(values).log_e_above(mean) == pytest.approx(math.log(capital))
    mirrored = folded(1 - values).log_e_below(1 - mean)
    assert mirrored == pytest.approx(math.log(capital))


@pytest.mark.parametrize("kind", ["rare", "even", "narrow"])
def test_coverage_of_a_constant_mean_at_all_times_together(kind: str) -> None:
    """1,000 streams of 200 requests, alpha 0.05 a side: 3 standard errors are 0.021."""
    rng, shape = np.random.default_rng(1), (1000, 200)
    draws = {"rare": rng.random(shape) < 0.03, "even": rng.random(shape) < 0.5, "narrow": rng.beta(10, 30, shape)}
    means = {"rare": 0.03, "even": 0.5, "narrow": 0.25}
    bets, below, above = MeanBets(), np.full(1000, -np.inf), np.full(1000, -np.inf)
    for request in draws[kind].astype(float).T:
        bets.update(request[:, None])
        above = np.maximum(above, bets.log_e_above(means[kind]))
        below = np.maximum(below, bets.log_e_below(means[kind]))
    assert (above >= -math.log(0.05)).mean() <= 0.05 + 0.021
    assert (below >= -math.log(0.05)).mean() <= 0.05 + 0.021


@pytest.mark.parametrize("falls", [True, False])
def test_coverage_of_a_running_mean_that_moves(falls: bool) -> None:
    """The mean jumps after 30 requests, and how far depends on what was seen; bets that shrink over time miss this."""
    rng, streams = np.random.default_rng(2), 1000
    first = (rng.random((streams, 30)) < 0.9).astype(float)
    later = 0.02 + 0.1 * (first.mean(axis=1, keepdims=True) > 0.9)
    means = np.hstack([np.full((streams, 30), 0.9), np.broadcast_to(later, (streams, 170))])
    values = np.hstack([first, (rng.random((streams, 170)) < later).astype(float)])
    running = np.cumsum(means, axis=1) / np.arange(1, 201)
    if not falls:
        values, running = 1 - values, 1 - running
    bets, missed, begun = MeanBets(), np.zeros(streams, bool), 0
    for look in LOOKS:
        bets.update(values[:, begun:look])
        low, high = bets.interval(0.05)
        missed |= (low > running[:, look - 1]) | (high < running[:, look - 1])
        begun = look
    assert missed.mean() <= 0.05 + 0.021


def test_bounds_invert_the_tests() -> None:
    bets, alpha = folded(np.random.default_rng(3).random((4, 100))), 0.01
    low, high = bets.lower(alpha), bets.upper(alpha)
    for stream in range(4):
        around_low = bets.log_e_above([low[stream] - 1e-6, low[stream] + 1e-6])[stream]
        around_high = bets.log_e_below([high[stream] - 1e-6, high[stream] + 1e-6])[stream]
        assert around_low[0] > -math.log(alpha) > around_low[1]
        assert around_high[1] > -math.log(alpha) > around_high[0]


@given(seed=st.integers(0, 1000), alpha=st.floats(0.001, 0.3))
def test_interval_encloses_the_observed_mean_and_narrows_with_alpha(seed: int, alpha: float) -> None:
    values = np.random.default_rng(seed).random(50)
    bets = folded(values)
    (low, high), (wider_low, wider_high) = bets.interval(alpha), bets.interval(alpha / 2)
    assert wider_low <= low <= values.mean() <= high <= wider_high


def test_small_variance_narrows_the_interval() -> None:
    rng = np.random.default_rng(4)
    wide, narrow = folded((rng.random(500) < 0.25).astype(float)), folded(rng.beta(10, 30, 500))
    (low, high), (narrow_low, narrow_high) = wide.interval(0.05), narrow.interval(0.05)
    assert narrow_high - narrow_low < (high - low) / 3


@pytest.mark.parametrize(("hits", "requests"), [(0, 100), (3, 100), (40, 100), (100, 100)])
def test_on_shares_it_is_about_as_narrow_as_the_bets_made_for_them(hits: int, requests: int) -> None:
    bets = folded((np.arange(requests) < hits).astype(float))
    low, high = bets.interval(0.02)
    of_shares = fraction_upper(hits, requests, 0.01) - fraction_lower(hits, requests, 0.01)
    assert high - low <= 1.3 * of_shares


def test_requests_may_come_one_by_one_in_blocks_and_in_streams() -> None:
    values = np.random.default_rng(5).random((3, 40))
    single = MeanBets()
    for value in values[1]:
        single.update(value)
    together = MeanBets()
    together.update(values[:, :7])
    together.update(values[:, 7:])
    assert single.requests == together.requests == 40
    assert together.lower(0.1)[1] == pytest.approx(single.lower(0.1))
    grid = np.linspace(0, 1, 6).reshape(2, 3)
    assert together.log_e_above(grid).shape == (3, 2, 3)
    assert together.log_e_above(grid)[1] == pytest.approx(single.log_e_above(grid))


def test_nothing_seen_nothing_known() -> None:
    assert [float(bound) for bound in MeanBets().interval(0.01)] == [0.0, 1.0]
    assert MeanBets().log_e_above([0.0, 0.5]) == pytest.approx([0.0, 0.0])


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="values"):
        MeanBets().update([1.5])
    with pytest.raises(ValueError, match="values"):
        MeanBets().update([math.nan])
    with pytest.raises(ValueError, match="means"):
        folded(np.array([0.5])).log_e_above(1.1)
    with pytest.raises(ValueError, match="streams"):
        folded(np.zeros((3, 2))).update(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="margin"):
        NonInferiority(0.0)


def differences(rng: np.random.Generator, streams: int, items: int, lost: float, won: float) -> np.ndarray:
    return rng.choice([-1.0, 0.0, 1.0], size=(streams, items), p=[lost, 1 - lost - won, won])


def test_a_provider_at_the_margin_is_rarely_called_non_inferior() -> None:
    """At the edge of H₀ (5 points lower) and looked at after every 10 items; 3 standard errors are 0.021."""
    d = differences(np.random.default_rng(6), 1000, 300, lost=0.1, won=0.05)
    test, worst = NonInferiority(0.05), np.full(1000, -np.inf)
    for start in range(0, 300, 10):
        worst = np.maximum(worst, test.update(d[:, start : start + 10]))
    assert 0 < (worst >= -math.log(0.05)).mean() <= 0.05 + 0.021


def test_an_equal_provider_is_shown_not_to_be_worse() -> None:
    d = differences(np.random.default_rng(7), 200, 1000, lost=0.03, won=0.03)
    test = NonInferiority(0.05)
    assert (test.update(d) >= math.log(100)).mean() >= 0.9
    low, high = test.difference(0.01)
    assert (low > -0.05).mean() >= 0.8
    assert ((low <= 0) & (high >= 0)).mean() >= 0.98


def test_order_does_not_matter_and_losses_lower_the_evidence() -> None:
    d = differences(np.random.default_rng(8), 1, 60, lost=0.2, won=0.1)[0]
    forward, backward, worse = NonInferiority(0.1), NonInferiority(0.1), NonInferiority(0.1)
    assert forward.update(d) == pytest.approx(backward.update(d[::-1]))
    assert worse.update(np.where(d == 1, -1, d)) < forward.log_e
