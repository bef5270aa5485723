from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.stats.likelihood import EPSILONS, LikelihoodBets, contaminated, likelihood_ratios, log_e_paths

SEEDS = st.integers(0, 2**32 - 1)


def box(rng: np.random.Generator, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An alternative (some of whose cells may be empty), bounds around a distribution, and that distribution."""
    p, q = rng.dirichlet(np.full(cells, 0.5)), rng.dirichlet(np.full(cells, 0.5))
    q[rng.random(cells) < 0.2] = 0.0
    width = rng.exponential(0.3, cells)
    return q / max(q.sum(), 1e-9), p * np.exp(-width), np.minimum(p * np.exp(width), 1), p


def worst(ratios: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The distribution of the box under which the ratios have the largest mean: all that is free goes where most is."""
    p, left = low.copy(), 1 - low.sum()
    for cell in np.argsort(-ratios):
        more = min(high[cell] - low[cell], left)
        p[cell] += more
        left -= more
    return p


@given(SEEDS, st.integers(2, 25))
@settings(max_examples=150, deadline=None)
def test_the_mean_is_at_most_one_under_all_that_the_envelope_allows(seed: int, cells: int) -> None:
    q, low, high, _ = box(np.random.default_rng(seed), cells)
    ratios = likelihood_ratios(q, low, high)
    assert worst(ratios, low, high) @ ratios <= 1 + 1e-9


@given(SEEDS, st.integers(2, 25))
@settings(max_examples=100, deadline=None)
def test_no_distribution_of_the_box_resembles_the_alternative_more(seed: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    q, low, high, p = box(rng, cells)
    growth = q @ np.log(np.maximum(likelihood_ratios(q, low, high), 1e-300))
    for _ in range(20):
        other = worst(rng.random(cells), low, high) if rng.random() < 0.5 else p
        kl = (q[q > 0] * np.log(q[q > 0] / other[q > 0])).sum()
        assert growth <= kl + 1e-9


def test_an_alternative_inside_the_envelope_is_worth_nothing() -> None:
    p = np.array([0.5, 0.3, 0.2])
    assert likelihood_ratios([0.52, 0.29, 0.19], p * 0.9, p * 1.1) == pytest.approx(1.0)


def test_the_clipped_ratio_of_a_simple_case() -> None:
    # Of two cells the first may have at most 0.6; the alternative has 0.9 there.
    assert likelihood_ratios([0.9, 0.1], [0.4, 0.4], [0.6, 0.6]) == pytest.approx([0.9 / 0.6, 0.1 / 0.4])


@given(SEEDS, st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_a_contaminated_envelope_holds_all_mixtures(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    _, low, high, p = box(rng, 6)
    wide_low, wide_high = contaminated(low, high, share)
    mixed = (1 - share) * p + share * rng.dirichlet(np.full(6, 0.1))
    assert ((wide_low <= mixed + 1e-12) & (mixed <= wide_high + 1e-12)).all()


@pytest.mark.parametrize(
    ("q", "low", "high"),
    [([0.5, 0.5], [0.6, 0.6], [1, 1]), ([0.5, 0.5], [0, 0], [0.4, 0.4]), ([0.5, 0.5], [0, 1], [0, 1])],
)
def test_an_envelope_without_distributions_is_refused(q: list[float], low: list[float], high: list[float]) -> None:
    with pytest.raises(ValueError, match=r"between low and high|null cannot"):
        likelihood_ratios(q, low, high)


def test_bets_are_what_paths_say() -> None:
    rng = np.random.default_rng(4)
    ratios, weights = rng.exponential(1.0, (30, 3)), [0.5, 0.3, 0.2]
    bets = LikelihoodBets(weights)
    one_by_one = [float(bets.update(row[None])[0]) for row in ratios]
    assert log_e_paths(ratios, weights) == pytest.approx(np.array(one_by_one))
    assert bets.epsilon() in EPSILONS


def test_the_e_value_is_that_of_the_average() -> None:
    bets = LikelihoodBets([0.5, 0.5])
    factors = [1 + e * (r - 1) for r in (3.0, 0.5) for e in EPSILONS]
    assert bets.update([[3.0, 0.5]])[0] == pytest.approx(np.log(np.mean(factors)))


def test_who_is_as_bad_as_the_envelope_allows_is_rarely_accused() -> None:
    """400 streams of 300 draws, each from that distribution of the box which the bet on q likes most, looked at always.

    Alarms at 1/0.05 have a chance of at most 0.05: 20 expected at most, standard deviation 4.4.
    """
    rng = np.random.default_rng(8)
    q, low, high, _ = box(rng, 8)
    ratios = likelihood_ratios(q, low, high)
    draws = rng.choice(8, (400, 300), p=worst(ratios, low, high))
    alarms = (log_e_paths(ratios[draws][..., None], [1.0]).max(axis=1) >= np.log(20)).sum()
    assert alarms <= 33
    sent = rng.choice(8, (50, 300), p=q)
    assert (log_e_paths(ratios[sent][..., None], [1.0]).max(axis=1) >= np.log(20)).all()
