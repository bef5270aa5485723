import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from qcheck.stats.bets import TailBets, log_e_paths
from qcheck.stats.counted import HITS, along, hit_bounds
from qcheck.stats.power import Firsts, could_reject, median_requests

THRESHOLD = math.log(100)


def steady(bounds: ArrayLike) -> NDArray[np.float64]:
    """Bounds of (strata, events), whatever the number of hits."""
    return np.repeat(np.array(bounds, float)[..., None], len(HITS), axis=-1)


def test_could_reject_agrees_with_the_bets() -> None:
    bounds, weights = [0.02, 0.005], [0.5, 0.5]
    for requests in range(1, 5):
        bets = TailBets(weights)
        for _ in range(requests):
            bets.update([True, True], bounds)
        rejects = requests > 1 and bets.log_e >= THRESHOLD
        assert could_reject(steady([bounds]), np.zeros(requests, int), weights, THRESHOLD) == rejects


def test_median_falls_with_the_fraction_and_is_none_when_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    args = (steady([[0.01]]), np.array([[0.95]]), np.zeros(300, int), [1.0], [True], ["only"], THRESHOLD)
    full = median_requests(*args, 1.0, rng)
    tenth = median_requests(*args, 0.1, rng)
    assert full is not None
    assert tenth is not None
    assert 2 <= full < tenth <= 60
    assert median_requests(*args, 0.0, rng) is None


@pytest.mark.parametrize(("outlying", "share"), [([True, True], 0.2), ([False, True], 0.2), ([False, True], 0.8)])
def test_the_median_is_that_of_the_bets_request_by_request(outlying: list[bool], share: float) -> None:
    bounds, weights, strata = np.array([[0.05, 0.01], [0.1, 0.02]]), [0.5, 0.5], np.arange(200) % 2
    shown = np.array([[0.6, 0.3], [0.9, 0.1]])
    rng, firsts = np.random.default_rng(1), []
    for _ in range(200):
        bets, seen, reached = TailBets(weights), 0, []
        for s in strata:
            hits = (rng.random() < share) & (rng.random() < shown[s])
            seen += int((hits & outlying).any())
            reached.append(bets.update(hits, bounds[s]) >= THRESHOLD and seen >= 2)
        firsts.append(reached.index(True) + 1 if True in reached else 201)
    simulated = median_requests(steady(bounds), shown, strata, weights, outlying, ["a"] * 2, THRESHOLD, share, rng)
    # These quantiles are three standard errors of a median's rank away, of 200 streams.
    assert simulated is not None
    assert np.quantile(firsts, 0.39) <= simulated <= np.quantile(firsts, 0.61)


@pytest.mark.parametrize(("fraction", "more"), [(1.0, 1), (0.1, 2)])
def test_prompts_that_are_asked_again_are_counted(fraction: float, more: int) -> None:
    args = (steady([[0.001]]), np.array([[1.0]]), np.zeros(300, int), [1.0], [True], ["a"], THRESHOLD, fraction)
    answers = median_requests(*args, np.random.default_rng(0))
    assert answers is not None
    asked_again: list[float] = []

    def again(shares: NDArray[np.float64]) -> NDArray[np.intp]:
        asked_again.extend(shares)
        return np.where(shares >= 0.5, 1, 2)

    assert median_requests(*args, np.random.default_rng(0), again=again) == answers + more
    assert 0.5 * fraction < np.median(asked_again) <= 2 * fraction


def test_one_deviating_answer_is_not_enough() -> None:
    args = (steady([[1e-6]]), np.array([[1.0]]), np.zeros(50, int), [1.0])
    assert median_requests(*args, [True], ["a"], THRESHOLD, 1.0, np.random.default_rng(0)) == 2
    assert median_requests(*args, [False], ["a"], THRESHOLD, 1.0, np.random.default_rng(0)) is None


def test_the_two_are_of_one_suite() -> None:
    """Two suites take turns, and each one's first answer alone would be enough."""
    bounds, shown = steady([[1e-6, 1.0], [1.0, 1e-6]]), np.eye(2)
    args = (bounds, shown, np.arange(50) % 2, [0.5, 0.5], [True, True])
    assert median_requests(*args, ["a", "a"], THRESHOLD, 1.0, np.random.default_rng(0)) == 2
    assert median_requests(*args, ["a", "b"], THRESHOLD, 1.0, np.random.default_rng(0)) == 3


def test_what_stands_in_another_suite_is_averaged_away() -> None:
    """Only what two answers of one suite show counts, at that suite's share of the weight."""
    bounds, shown = steady([[0.02, 1.0], [1.0, 1e-9]]), np.eye(2)
    weights, outlying, suites = [0.5, 0.5], [True, False], ["a", "b"]
    needed = next(
        n
        for n in range(2, 50)
        if log_e_paths(np.ones((n, 1), bool), bounds[:1, :1, 0], [1.0])[0][-1] - np.log(2) >= THRESHOLD
    )
    args = (bounds, shown, np.array([1] * 5 + [0] * 45), weights, outlying, suites, THRESHOLD, 1.0)
    assert median_requests(*args, np.random.default_rng(0)) == 5 + needed


def test_requests_of_a_stratum_without_power_only_delay() -> None:
    bounds, shown, rng = steady([[0.01], [1.0]]), np.array([[1.0], [0.0]]), np.random.default_rng(0)

    def median(strata: list[int]) -> int | None:
        return median_requests(bounds, shown, np.array(strata), [1.0], [True], ["a"], THRESHOLD, 1.0, rng)

    alone = median([0] * 50)
    assert alone in (2, 3)
    assert median([1] * 50 + [0] * 50) == 50 + alone
    assert median([1] * 50) is None


@pytest.mark.parametrize("requests", [0, 1])
def test_fewer_than_two_requests_reject_nothing(requests: int) -> None:
    assert not could_reject(steady([[1e-9]]), np.zeros(requests, int), [1.0], THRESHOLD)


def test_a_first_request_is_bet_on_at_bounds_of_its_own() -> None:
    """Of each suite, as the bets have it request by request."""
    bounds, first, strata = np.array([[0.02, 0.3]]), np.array([[0.2, 1.0]]), np.zeros(60, int)
    firsts, weights, shown = Firsts(np.arange(60) % 20 == 0, first), [0.5, 0.5], np.array([[0.9, 0.9]])
    rng, reached = np.random.default_rng(2), []
    for _ in range(300):
        bets, told = TailBets(weights), []
        for is_first in firsts.requests:
            hits = np.repeat((rng.random() < 0.2) & (rng.random() < 0.9), 2)
            told.append(bets.update(hits, first[0] if is_first else bounds[0]) >= THRESHOLD)
        reached.append(told.index(True) + 1 if True in told else 61)
    what = steady(bounds), shown, strata, weights, [True, True], ["a"] * 2, THRESHOLD, 0.2, rng, 2000
    found = median_requests(*what, firsts=firsts)
    assert found is not None
    assert np.quantile(reached, 0.41) <= found <= np.quantile(reached, 0.59)
    bets = TailBets(weights)
    for at in (first[0], bounds[0]):
        bets.update([True, True], at)
    for far in (-0.01, 0.01):
        few = steady(bounds), strata[:2], weights, bets.log_e + far
        assert could_reject(*few, Firsts(firsts.requests[:2], first)) == (far < 0)


@pytest.mark.parametrize("requests", [2, 5, 16, 17, 32, 33, 64, 65, 100])
def test_any_number_of_requests_is_simulated_to_its_end(requests: int) -> None:
    """The one stratum that shows anything is asked last: two answers of it are enough."""
    strata = np.array([1] * (requests - 2) + [0] * 2)
    bounds, shown = steady([[1e-4], [1.0]]), np.array([[1.0], [0.0]])
    rng = np.random.default_rng(0)
    assert median_requests(bounds, shown, strata, [1.0], [True], ["a"], THRESHOLD, 1.0, rng) in (requests - 1, requests)


def test_later_hits_are_bet_on_at_more() -> None:
    """The median is that of streams whose bounds rise with the hits of their stratum, however few are looked at."""
    bounds = np.array([[hit_bounds(2, 300, 0.05)], [hit_bounds(9, 300, 0.05)]])
    strata, shown, streams = np.arange(300) % 2, np.array([[0.8], [0.5]]), 2000
    rng = np.random.default_rng(3)
    hits = ((rng.random((streams, 300)) < 0.3) & (rng.random((streams, 300)) < shown[strata, 0]))[..., None]
    path, _ = log_e_paths(hits, along(hits, strata, bounds), [1.0])
    reached = (path >= THRESHOLD) & (np.cumsum(hits[..., 0], axis=1) >= 2) & hits[..., 0]
    firsts = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 301)
    found = median_requests(bounds, shown, strata, [1.0], [True], ["a"], THRESHOLD, 0.3, rng, streams)
    assert found is not None
    assert np.quantile(firsts, 0.46) <= found <= np.quantile(firsts, 0.54)
