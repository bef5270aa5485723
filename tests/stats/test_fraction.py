import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.stats.fraction import fraction_lower, fraction_upper, requests_to_bound


@given(n=st.integers(1, 400), share=st.floats(0, 1), alpha=st.floats(0.001, 0.2))
def test_bounds_enclose_the_observed_share(n: int, share: float, alpha: float) -> None:
    hits = round(n * share)
    assert fraction_lower(hits, n, alpha) <= hits / n <= fraction_upper(hits, n, alpha)


@pytest.mark.parametrize("p", [0.03, 0.05, 0.3, 0.9])
def test_coverage_at_all_times_together(p: float) -> None:
    """1,000 streams of 300 requests, alpha 0.05 per side: 3 standard errors are 0.021."""
    rng = np.random.default_rng(7)
    streams, length, alpha = 1000, 300, 0.05
    hits = np.cumsum(rng.random((streams, length)) < p, axis=1)
    # Both bounds depend on (hits, n) alone: evaluate each distinct pair once.
    missed_low, missed_high = np.zeros(streams, bool), np.zeros(streams, bool)
    for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 300):
        for h in np.unique(hits[:, n - 1]):
            rows = hits[:, n - 1] == h
            missed_high[rows] |= fraction_upper(int(h), n, alpha) < p
            missed_low[rows] |= fraction_lower(int(h), n, alpha) > p
    assert missed_low.mean() <= alpha + 0.021
    assert missed_high.mean() <= alpha + 0.021


def test_bounds_tighten_and_reach_the_floor() -> None:
    """Without a tail event log(1/alpha)/tolerance requests are the least that any test needs."""
    needed = requests_to_bound(0, 0, 0.05, 0.01)
    assert needed is not None
    assert math.log(100) / 0.05 <= needed <= 1.15 * math.log(100) / 0.05 + 1
    assert fraction_upper(0, needed, 0.01) <= 0.05 < fraction_upper(0, needed - 1, 0.01)


def test_a_tail_event_costs_requests_and_impossible_targets_are_said() -> None:
    clean, hit = requests_to_bound(0, 50, 0.05, 0.01), requests_to_bound(1, 50, 0.05, 0.01)
    assert clean is not None
    assert hit is not None
    assert hit > clean
    assert requests_to_bound(0, 0, 0.0, 0.01) is None
    assert requests_to_bound(5, 10, 1e-9, 0.01) is None


def test_nothing_seen_nothing_known() -> None:
    assert (fraction_lower(0, 0, 0.01), fraction_upper(0, 0, 0.01)) == (0.0, 1.0)
