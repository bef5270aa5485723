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


@pytest.mark.parametrize("shares", [[0.75, 0.25], [3, 1], [300, 100]])
def test_shares_are_taken_in_proportion(shares: list[float]) -> None:
    """Rather loose bounds: two answers cannot reach the threshold, six can, however many probes there are."""
    bounds = np.array([[0.2], [0.4]])
    assert not could_reject(bounds, shares, [1.0], THRESHOLD, 2)
    assert could_reject(bounds, shares, [1.0], THRESHOLD, 6)


def test_median_falls_with_the_fraction_and_is_none_when_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    args = (np.array([[0.01]]), np.array([[0.95]]), [1], [1.0], THRESHOLD, 300)
    full = median_requests(*args, 1.0, rng)
    tenth = median_requests(*args, 0.1, rng)
    assert full is not None
    assert tenth is not None
    assert 2 <= full < tenth <= 60
    assert median_requests(*args, 0.0, rng) is None


def test_a_stratum_with_a_bound_of_one_only_delays() -> None:
    bounds, shown, rng = np.array([[0.01], [1.0]]), np.array([[1.0], [0.0]]), np.random.default_rng(0)
    alone = median_requests(bounds, shown, [1, 0], [1.0], THRESHOLD, 400, 1.0, rng)
    beside = median_requests(bounds, shown, [1, 19], [1.0], THRESHOLD, 400, 1.0, rng)
    assert alone is not None
    assert beside is not None
    assert 10 * alone <= beside <= 30 * alone


@pytest.mark.parametrize(("shares", "low", "high"), [([1, 0], 2, 3), ([1, 1], 3, 5), ([0, 1], None, None)])
def test_strata_count_by_their_shares(shares: list[int], low: int | None, high: int | None) -> None:
    """One stratum shows the variant on every request, the other never."""
    bounds, shown = np.array([[0.01], [0.01]]), np.array([[1.0], [0.0]])
    median = median_requests(bounds, shown, shares, [1.0], THRESHOLD, 200, 1.0, np.random.default_rng(0))
    if low is None or high is None:
        assert median is None
    else:
        assert median is not None
        assert low <= median <= high
