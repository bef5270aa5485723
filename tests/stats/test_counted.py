"""Bets on events whose null probability is known from counts alone."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import special, stats

from qcheck.stats.bets import LAMBDAS, TailBets, gains, log_e_paths
from qcheck.stats.counted import HITS, along, bound_at, hit_bounds

PRICE = 0.05
NODES, WEIGHTS = ((x + shift) / 2 for x, shift in zip(np.polynomial.legendre.leggauss(400), (1, 0), strict=True))
COUNTS = [(0, 173), (0, 41_600), (1, 41_600), (14, 41_600), (8, 1600), (1113, 41_600), (90, 100)]


def worth(q: float, k: int, n: int) -> float:
    """C(q), its integral by Gauss and Legendre."""
    ratio = special.xlogy(k, NODES) + (n - k) * (np.log1p(-NODES * q) - np.log1p(-q))
    return 1 + PRICE * float(WEIGHTS @ np.exp(np.minimum(ratio, 500)))


@pytest.mark.parametrize(("n", "q"), [(100, 0.03), (300, 0.001), (200, 0.4)])
def test_the_worth_of_counts_has_the_mean_that_is_paid_for(n: int, q: float) -> None:
    mean = sum(stats.binom.pmf(k, n, q) * worth(q, k, n) for k in range(n + 1))
    assert mean == pytest.approx(1 + PRICE)


@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_bets_are_worth_no_more_than_the_counts_times_bets_at_any_null_probability(k: int, n: int) -> None:
    bounds = hit_bounds(k, n, PRICE)
    hits = np.arange(1, 41)
    at = np.array([bound_at(bounds, h - 1) for h in hits])
    for lam, q in product(LAMBDAS, np.geomspace(0.01 / n, 0.999, 60)):
        ours = np.cumsum(np.log1p(lam * (1 / at - 1)))
        theirs = np.log(worth(q, k, n)) + hits * np.log1p(lam * (1 / q - 1))
        assert (ours <= theirs + 1e-6).all()


@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_they_are_as_good_as_that_allows(k: int, n: int) -> None:
    """The worth of the first two hits is reached at some null probability."""
    bounds, grid = hit_bounds(k, n, PRICE), np.geomspace(0.01 / n, 0.999, 4000)
    for m in (1, 2):
        least = min(np.log(worth(q, k, n)) - m * np.log(q) for q in grid)
        assert -np.log(bounds[:m]).sum() == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_they_rise_with_hits_and_with_what_honest_answers_showed(k: int, n: int) -> None:
    bounds = hit_bounds(k, n, PRICE)
    assert len(bounds) == len(HITS)
    assert list(bounds) == sorted(bounds)
    assert bounds[0] > 0
    assert bounds[-1] <= 1
    assert (np.cumsum(np.log(hit_bounds(k + 1, n, PRICE))) > np.cumsum(np.log(bounds)))[:8].all()


def test_nothing_is_bet_on_what_every_honest_answer_showed() -> None:
    assert hit_bounds(50, 50, PRICE) == pytest.approx((1.0,) * len(HITS), rel=0.002)


def test_bets_on_counts_that_happen_to_be_low_are_cheaper_than_a_confidence_bound() -> None:
    """Two hits of what no honest answer showed are worth several times what they are at a bound of usual confidence."""
    n, bounds = 41_600, hit_bounds(0, 41_600, 0.012)
    bound = -np.log(0.002 * 0.8 / 48) / n
    assert bounds[0] * bounds[1] < bound**2 / 5


@pytest.mark.parametrize("expected", [0.3, 2.0, 8.0])
def test_alarms_are_as_rare_as_claimed_over_calibrations_and_streams(expected: float) -> None:
    """Of an event so rare that calibration may well count too few, in streams as long. What is bet is what makes most
    of that; bets at what was counted, as if it were the truth, raise too many alarms."""
    n, streams, alpha, lam = 2000, 20_000, 0.05, 0.001
    rng, q, most = np.random.default_rng(round(expected)), expected / n, 60
    counted = rng.binomial(n, q, streams)
    times = np.cumsum(rng.geometric(q, (streams, most)), axis=1)  # of hits; between them wealth only falls
    missed = (times - np.arange(1, most + 1)) * np.log1p(-lam)
    known = np.array([hit_bounds(k, n, PRICE) for k in range(counted.max() + 1)])
    place = np.searchsorted(HITS, np.arange(1, most + 1))
    alarms = []
    for bounds in (known[counted][:, place], np.maximum(counted, 0.01)[:, None] / n):
        log_e = np.cumsum(np.log1p(lam * (1 / np.broadcast_to(bounds, times.shape) - 1)), axis=1) + missed
        reached = (log_e >= np.log((1 + PRICE) / alpha)) & (times <= n)
        alarms.append(int(reached.any(axis=1).sum()))
    assert alarms[0] <= alpha * streams + 3 * np.sqrt(alpha * streams)
    assert alarms[1] > alarms[0]
    assert expected > 2 or alarms[1] > alpha * streams + 3 * np.sqrt(alpha * streams)


def test_along_streams_they_are_those_of_hits_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    hits, strata = rng.random((5, 60, 3)) < 0.3, rng.integers(2, size=(5, 60))
    bounds = np.array([[hit_bounds(int(k), 1000, PRICE) for k in row] for row in rng.integers(20, size=(2, 3))])
    found = along(hits, strata, bounds)
    later = along(
        hits[:, 25:],
        strata[:, 25:],
        bounds,
        before=np.stack([(hits[:, :25] & (strata[:, :25, None] == s)).sum(axis=1) for s in range(2)], axis=1),
    )
    for stream in range(5):
        counts = np.zeros((2, 3), int)
        for request, s in enumerate(strata[stream]):
            expected = [bound_at(bounds[s, e], int(counts[s, e])) for e in range(3)]
            assert found[stream, request].tolist() == expected
            if request >= 25:
                assert later[stream, request - 25].tolist() == expected
            counts[s] += hits[stream, request]


def test_after_the_last_hit_that_is_known_nothing_is_bet() -> None:
    bounds = hit_bounds(3, 1000, PRICE)
    assert bound_at(bounds, int(HITS[-1]) - 1) == bounds[-1] < 1
    assert bound_at(bounds, int(HITS[-1])) == 1


def test_the_bets_follow_them() -> None:
    bounds = hit_bounds(3, 1000, PRICE)
    bets, hits = TailBets([1.0]), np.ones((1, 4, 1), bool)
    for h in range(4):
        bets.update([True], [bound_at(bounds, h)])
    path, _ = log_e_paths(hits, along(hits, np.zeros(4, int), np.array([[bounds]])), [1.0])
    assert bets.log_e == pytest.approx(path[0, -1])


def test_what_is_given_back_leaves_what_was_lost() -> None:
    bets, quiet = TailBets([1.0]), TailBets([1.0])
    for hit in (True, False, True):
        bets.update([hit], [0.01])
        quiet.update([False], [0.01])
    assert bets.log_e > 0 > quiet.log_e
    bets.give_back()
    assert bets.log_e == pytest.approx(quiet.log_e)
    assert gains(np.array([False]), np.array([0.01])).max() < 0


@pytest.mark.parametrize(("k", "n", "price"), [(-1, 10, 1.0), (11, 10, 1.0), (1, 10, 0.0)])
def test_impossible_counts_and_prices_are_refused(k: int, n: int, price: float) -> None:
    with pytest.raises(ValueError, match="counts"):
        hit_bounds(k, n, price)
