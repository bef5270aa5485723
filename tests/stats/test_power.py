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
        assert could_reject(np.array([bounds] * requests), weights, THRESHOLD) == rejects


def test_median_falls_with_the_fraction_and_is_none_when_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    args = (np.array([[0.01]]), np.array([[0.95]]), np.zeros(300, int), [1.0], THRESHOLD)
    full = median_requests(*args, 1.0, rng)
    tenth = median_requests(*args, 0.1, rng)
    assert full is not None
    assert tenth is not None
    assert 2 <= full < tenth <= 60
    assert median_requests(*args, 0.0, rng) is None


def test_the_median_is_that_of_the_bets_request_by_request() -> None:
    bounds, shown, weights, strata = np.array([[0.05, 0.01], [0.1, 0.02]]), 0.6, [0.5, 0.5], np.arange(200) % 2
    rng, firsts = np.random.default_rng(1), []
    for _ in range(400):
        bets = TailBets(weights)
        hits = (rng.random(200) < 0.2) & (rng.random(200) < shown)
        reached = [bets.update([bool(h)] * 2, bounds[s]) >= THRESHOLD for h, s in zip(hits, strata, strict=True)]
        firsts.append(reached.index(True) + 1 if True in reached else 201)
    simulated = median_requests(bounds, np.full((2, 2), shown), strata, weights, THRESHOLD, 0.2, rng, streams=400)
    # Both medians are of 400 streams; these quantiles are three standard errors of a median's rank away.
    assert simulated is not None
    assert np.quantile(firsts, 0.39) <= simulated <= np.quantile(firsts, 0.61)


def test_requests_of_a_stratum_without_power_only_delay() -> None:
    bounds, shown, rng = np.array([[0.01], [1.0]]), np.array([[1.0], [0.0]]), np.random.default_rng(0)

    def median(strata: list[int]) -> int | None:
        return median_requests(bounds, shown, np.array(strata), [1.0], THRESHOLD, 1.0, rng)

    alone = median([0] * 50)
    assert alone in (2, 3)
    assert median([1] * 50 + [0] * 50) == 50 + alone
    assert median([1] * 50) is None


@pytest.mark.parametrize("requests", [0, 1])
def test_fewer_than_two_requests_reject_nothing(requests: int) -> None:
    assert not could_reject(np.full((requests, 1), 1e-9), [1.0], THRESHOLD)


@pytest.mark.parametrize("requests", [2, 5, 16, 17, 32, 33, 64, 65, 100])
def test_any_number_of_requests_is_simulated_to_its_end(requests: int) -> None:
    """The one stratum that shows anything is asked last: two answers of it are enough."""
    strata = np.array([1] * (requests - 2) + [0] * 2)
    bounds, shown = np.array([[1e-4], [1.0]]), np.array([[1.0], [0.0]])
    rng = np.random.default_rng(0)
    assert median_requests(bounds, shown, strata, [1.0], THRESHOLD, 1.0, rng) in (requests - 1, requests)
