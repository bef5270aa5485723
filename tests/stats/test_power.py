import math

import numpy as np
import pytest

from qcheck.stats.bets import TailBets
from qcheck.stats.power import could_reject, median_requests

THRESHOLD = math.log(100)


def test_could_reject_agrees_with_the_bets() -> None:
    bounds, weights = [0.02, 0.005], [0.5, 0.5]
    for requests in range(1, 5):
        bets = TailBets(weights)
        for _ in range(requests):
            bets.update([True, True], bounds)
        rejects = requests > 1 and bets.log_e >= THRESHOLD
        assert could_reject(np.array([bounds]), [7], weights, THRESHOLD, requests) == rejects


def test_median_falls_with_the_fraction_and_is_none_when_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    args = (np.array([[0.01]]), np.array([[0.95]]), [1], [1.0], THRESHOLD, 300)
    full = median_requests(*args, 1.0, rng)
    tenth = median_requests(*args, 0.1, rng)
    assert full is not None
    assert tenth is not None
    assert 2 <= full < tenth <= 60
    assert median_requests(*args, 0.0, rng) is None


@pytest.mark.parametrize(("shares", "low", "high"), [([1, 0], 2, 3), ([1, 1], 4, 8), ([0, 1], None, None)])
def test_strata_count_by_their_shares(shares: list[int], low: int | None, high: int | None) -> None:
    """One stratum shows the variant on every request, the other never."""
    bounds, shown = np.array([[0.01], [0.01]]), np.array([[1.0], [0.0]])
    median = median_requests(bounds, shown, shares, [1.0], THRESHOLD, 200, 1.0, np.random.default_rng(0))
    if low is None or high is None:
        assert median is None
    else:
        assert median is not None
        assert low <= median <= high
