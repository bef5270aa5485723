import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from qcheck.stats.bets import TailBets, averaged_log_e, binomial_lower, binomial_upper, log_e_paths


@given(
    bounds=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5),
    hit_probability=st.floats(0.0, 1.0),
)
def test_each_step_has_mean_at_most_one_under_the_null(bounds: list[float], hit_probability: float) -> None:
    """Exact, not simulated: nested events whose probabilities are at most their bounds."""
    weights = [1 / len(bounds)] * len(bounds)
    # With one uniform draw u, event i happens where u < p_i; integrate over the pieces between sorted p's.
    probabilities = [min(b, hit_probability) for b in bounds]
    edges = sorted({0.0, 1.0, *probabilities})
    mean = 0.0
    for low, high in itertools.pairwise(edges):
        bets = TailBets(weights)
        bets.update([p > low for p in probabilities], bounds)
        mean += (high - low) * math.exp(bets.log_e)
    assert mean <= 1 + 1e-9


def test_an_average_of_e_values_is_their_weighted_mean_whatever_their_size() -> None:
    assert averaged_log_e([math.log(4), math.log(0.5)], [0.25, 0.75]) == pytest.approx(math.log(1.375))
    assert averaged_log_e([0.7], [1.0]) == 0.7
    assert averaged_log_e([2000.0, -2000.0], [0.5, 0.5]) == pytest.approx(2000 - math.log(2))
    assert averaged_log_e([1.0], [0.5]) == pytest.approx(1 - math.log(2))
    with pytest.raises(ValueError, match="at most 1"):
        averaged_log_e([0.0, 0.0], [0.8, 0.3])


def test_an_average_of_two_processes_asked_in_turn_keeps_to_alpha() -> None:
    """2,000 streams at the edge of both nulls, one folded for 100 requests and then the other; alpha 0.05.

    Which is asked may follow from what was answered: here the second is gone on with for as long as it loses. The
    Monte-Carlo error of a share of 0.05 is 0.005.
    """
    rng = np.random.default_rng(4)
    streams, alpha = 2000, 0.05
    paths = [log_e_paths(rng.random((streams, 100, 1)) < q, np.array([q]), [1.0])[0] for q in (0.02, 0.005)]
    first, second = paths
    losing = np.minimum.accumulate(np.concatenate([np.zeros((streams, 1)), second], axis=1)[:, :-1], axis=1) >= -0.5
    second = np.where(losing, second, second[np.arange(streams), losing.sum(axis=1) - 1][:, None])
    waiting = np.concatenate([np.zeros((streams, 100)), second], axis=1)
    going = np.concatenate([first, np.repeat(first[:, -1:], 100, axis=1)], axis=1)
    largest = np.logaddexp(going, waiting).max(axis=1) - math.log(2)
    assert 0 < (largest >= -math.log(alpha)).mean() <= alpha


def test_false_alarms_stay_below_alpha_when_looked_at_after_every_request() -> None:
    """10,000 streams at the edge of the null; alpha 0.05; Monte-Carlo error of a share of 0.05 is 0.0022."""
    q, alpha = 0.02, 0.05
    hits = np.random.default_rng(1).random((10_000, 200, 1)) < q
    alarms = (log_e_paths(hits, np.array([q]), [1.0])[0].max(axis=1) >= -math.log(alpha)).mean()
    assert 0 < alarms <= alpha + 3 * 0.0022


def test_all_hits_reach_the_threshold_and_silence_does_not() -> None:
    hits, silence = TailBets([1.0]), TailBets([1.0])
    for _ in range(4):
        hits.update([True], [0.01])
        silence.update([False], [0.01])
    assert hits.log_e > math.log(1000)
    assert silence.log_e < 0


def test_weight_that_no_event_holds_stays_in_cash() -> None:
    bets = TailBets([0.25])
    for _ in range(10_000):
        bets.update([False], [0.5])
    assert bets.log_e == pytest.approx(math.log(0.75), abs=1e-6)


def test_nothing_is_bet_where_nothing_can_be_gained() -> None:
    """A stratum whose null bound is 1 says nothing, and must not use up what another one has shown."""
    bets = TailBets([1.0])
    gained = bets.update([True], [0.01])
    for hit in (False, True) * 50:
        assert bets.update([hit], [1.0]) == gained


@pytest.mark.parametrize("weights", [[-0.1], [0.6, 0.6], [[1.0]]])
def test_malformed_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        TailBets(weights)


@pytest.mark.parametrize("bounds", [[0.0], [1.5], [], [0.5, 0.5]])
def test_malformed_bounds_are_refused(bounds: list[float]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        TailBets([1.0]).update([True], bounds)


def test_bounds_may_differ_from_request_to_request() -> None:
    """Two strata at the edge of their nulls, taken in turn: 10,000 streams, Monte-Carlo error of 0.05 is 0.0022."""
    q = np.array([0.1, 0.005] * 100)[:, None]
    hits = np.random.default_rng(2).random((10_000, len(q), 1)) < q
    alarms = (log_e_paths(hits, q, [1.0])[0].max(axis=1) >= -math.log(0.05)).mean()
    assert 0 < alarms <= 0.05 + 3 * 0.0022


@given(trials=st.integers(1, 500), share=st.floats(0, 1), level=st.floats(1e-6, 0.2))
def test_binomial_bounds_are_exact_inversions(trials: int, share: float, level: float) -> None:
    successes = round(share * trials)
    upper, lower = binomial_upper(successes, trials, level), binomial_lower(successes, trials, level)
    assert lower <= successes / trials <= upper
    if successes < trials:
        assert scipy_stats.binom.cdf(successes, trials, upper) == pytest.approx(level, rel=1e-6)
    if successes > 0:
        assert scipy_stats.binom.sf(successes - 1, trials, lower) == pytest.approx(level, rel=1e-6)


def test_no_trials_bound_nothing() -> None:
    assert (binomial_lower(0, 0, 0.01), binomial_upper(0, 0, 0.01)) == (0.0, 1.0)


@given(seed=st.integers(0, 10_000), events=st.integers(1, 4), requests=st.integers(1, 30), cut=st.integers(0, 30))
def test_many_streams_at_once_say_what_each_says_alone(seed: int, events: int, requests: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    hits, bounds = rng.random((3, requests, events)) < 0.3, rng.choice([0.01, 0.2, 1.0], (requests, events))
    weights = rng.dirichlet(np.ones(events + 1))[:-1]
    path, wealth = log_e_paths(hits, bounds, weights)
    for stream, logs in zip(hits, path, strict=True):
        bets = TailBets(weights)
        assert [bets.update(h, b) for h, b in zip(stream, bounds, strict=True)] == pytest.approx(logs.tolist())
    cut = min(cut, requests - 1)
    if cut:
        _, before = log_e_paths(hits[:, :cut], bounds[:cut], weights)
        later, at_last = log_e_paths(hits[:, cut:], bounds[cut:], weights, wealth=before)
        assert later == pytest.approx(path[:, cut:])
        assert at_last == pytest.approx(wealth)
