from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qcheck.stats.deviation import (
    NOTHING,
    by_position,
    deviation,
    least_kl,
    matched_filters,
    partition_kl,
    rms,
    spread,
)

NAN = float("nan")


def test_deviation_uses_what_truncation_leaves_possible() -> None:
    x = np.array([-1.0, -2.0, NAN, NAN])
    y = np.array([-1.5, NAN, -2.5, NAN])
    # x alone at -2 against a floor of -1.5: no deviation proven. y alone at -2.5 against a floor of -2: none either.
    assert deviation(x, -2.0, y, -1.5).tolist() == [0.5, 0.0, 0.0, 0.0]
    # x alone at -2, but y's floor is -4: x is at least 2 higher. y alone at -2.5, x's floor -3: at least 0.5 lower.
    assert deviation(x, -3.0, y, -4.0).tolist() == [0.5, 2.0, -0.5, 0.0]


@given(seed=st.integers(0, 10_000), kept=st.integers(1, 9))
def test_listing_less_never_looks_further_away(seed: int, kept: int) -> None:
    """Cutting the candidate's list to its `kept` best never raises any coordinate's magnitude."""
    rng = np.random.default_rng(seed)
    full = np.log(rng.dirichlet(np.ones(12)))[:10]
    recorded = np.log(rng.dirichlet(np.ones(12)))[:10]
    cut = full.copy()
    cut[np.argsort(-full)[kept:]] = NAN
    before = np.abs(deviation(full, full.min(), recorded, recorded.min()))
    after = np.abs(deviation(cut, np.nanmin(cut), recorded, recorded.min()))
    assert (after <= before + 1e-12).all()


def naive_filter(x: np.ndarray, a: np.ndarray, b: np.ndarray, v: np.ndarray, positions: np.ndarray) -> float:
    """One pair and one variant, written out as the definition says."""
    total = 0.0
    common = ~np.isnan(x + a + b + v)
    for position in set(positions.tolist()):
        at = common & (positions == position)
        if at.sum() > 1:
            c, d = (x - a)[at], (v - b)[at]
            whole = float(d @ d)
            c, d = c - c.mean(), d - d.mean()
            if d @ d <= NOTHING * whole:  # a mere offset
                continue
            total += (1.5 if c @ d > 0 else 1.0) * float(c @ d) - float(d @ d) / 2
    return total


@given(seed=st.integers(0, 10_000), unlisted=st.floats(0, 0.6))
@example(seed=815, unlisted=0.125)
def test_matched_filters_are_what_they_are_defined_as(seed: int, unlisted: float) -> None:
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.integers(0, 4, size=30))
    positions = np.unique(positions, return_inverse=True)[1]

    def lists(*shape: int) -> np.ndarray:
        return np.where(rng.random(shape) < unlisted, NAN, rng.normal(-3, 1, shape))

    x, refs, variants = lists(30), lists(4, 30), lists(3, 30)
    found = matched_filters(x, refs, variants, positions, 1.5).sum(axis=0)
    expected = [[[naive_filter(x, a, b, v, positions) for v in variants] for b in refs] for a in refs]
    assert found == pytest.approx(np.array(expected), rel=1e-6, abs=1e-9)


def test_a_variant_explains_itself_best_and_what_a_position_shares_is_no_direction() -> None:
    positions = np.array([0, 0, 0, 1, 1])
    ref = np.array([[-1.0, -2.0, -3.0, -1.5, -2.5]])
    offset = np.array([1.0, 1.0, 1.0, -2.0, -2.0])
    change = np.array([0.3, -0.1, -0.2, 0.5, -0.5])
    variants = ref + np.stack([change, 2 * change, -change, offset])
    own = float(change @ change)
    found = matched_filters(ref[0] + change + offset, ref, variants, positions).sum(axis=0)[0, 0]
    assert found == pytest.approx([own / 2, 0.0, -1.5 * own, 0.0])
    assert matched_filters(ref[0] + offset, ref, variants, positions).sum(axis=0)[0, 0] == pytest.approx(
        [-own / 2, -2 * own, -own / 2, 0]
    )
    lone = matched_filters(ref[0][:1], ref[:, :1], variants[:, :1], positions[:1])
    assert lone.tolist() == [[[[0.0] * 4]]]


def test_a_matched_filter_is_the_log_likelihood_ratio_in_gaussian_noise() -> None:
    rng = np.random.default_rng(1)
    noise, change = rng.normal(0, 0.1, 20), rng.normal(0, 0.2, 20)
    change -= change.mean()
    answer = change + noise - noise.mean()
    log_likelihood = lambda residual: -float(residual @ residual) / (2 * 0.1**2)  # noqa: E731
    found = matched_filters(answer, np.zeros((1, 20)), change[None], np.zeros(20, int)).item() / 0.1**2
    assert found == pytest.approx(log_likelihood(answer - change) - log_likelihood(answer))


@given(seed=st.integers(0, 10_000), unlisted=st.floats(0, 0.6))
def test_spread_is_the_largest_deviation_of_a_pair_and_only_grows_with_rows(seed: int, unlisted: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((5, 30)) < unlisted, NAN, rng.normal(-3, 1, (5, 30)))
    floors = np.where(rng.random((5, 1)) < 0.2, NAN, -6.0) + np.zeros((5, 30))
    values = np.where(np.isnan(floors), NAN, values)

    def pair(i: int, j: int) -> float:
        compared = ~np.isnan(floors[i] + floors[j]) & (~np.isnan(values[i]) | ~np.isnan(values[j]))
        apart = deviation(values[i], floors[i], values[j], floors[j])[compared]
        return float(np.sqrt((apart**2).mean())) if len(apart) else 0.0

    assert spread(values, floors) == pytest.approx(max(pair(i, j) for i in range(5) for j in range(5)))
    assert spread(values[:3], floors[:3]) <= spread(values, floors) + 1e-12
    assert spread(values[:1], floors[:1]) == 0.0


def test_rms_counts_chosen_coordinates() -> None:
    assert rms(np.array([3.0, 4.0, 100.0]), np.array([1.0, 1.0, 0.0])) == pytest.approx(np.sqrt(12.5))
    assert rms(np.array([3.0]), np.array([0.0])) == 0.0


def test_sums_are_those_of_each_position() -> None:
    positions = np.array([0, 0, 1, 2, 2, 2])
    assert by_position(np.arange(12.0).reshape(2, 6), positions).tolist() == [[1, 2, 12], [13, 8, 30]]
    assert by_position(np.zeros((3, 0)), np.zeros(0, int)).shape == (3, 0)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 11))
def test_partition_kl_is_a_lower_bound_of_the_full_divergence(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(12))
    full = float((p * np.log(p / q)).sum())
    top_p, top_q = np.log(p), np.log(q)
    top_p[np.argsort(-p)[k:]] = NAN
    top_q[np.argsort(-q)[k:]] = NAN
    whole = np.zeros(12, int)
    assert 0.0 <= partition_kl(top_p, top_q, whole).item() <= full + 1e-9
    assert partition_kl(np.log(p), np.log(q), whole).item() == pytest.approx(full, abs=1e-6)


@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 12),
    peaked=st.sampled_from([1.0, 5.0, 12.0]),
    moved=st.sampled_from([0.0, 0.05, 1.0]),
    steps=st.tuples(*2 * [st.sampled_from([0.0, 0.01, 1 / 32, 0.05])]),
    ways=st.tuples(*2 * [st.sampled_from([np.floor, np.ceil, np.round])]),
)
def test_the_least_kl_is_no_larger_than_it_was_before_values_were_rounded(
    seed: int, k: int, peaked: float, moved: float, steps: tuple[float, float], ways: tuple[Any, Any]
) -> None:
    rng = np.random.default_rng(seed)
    logits = peaked * rng.normal(size=12)
    lists = [x - np.logaddexp.reduce(x) for x in (logits, logits + moved * rng.normal(size=12))]
    for x in lists:
        x[np.argsort(-x)[k:]] = NAN
    rounded = [way(x / step) * step if step else x for x, step, way in zip(lists, steps, ways, strict=True)]
    whole, before = np.zeros(12, int), partition_kl(*lists, np.zeros(12, int)).item()
    assert 0.0 <= least_kl(*rounded, whole, sum(steps)).item() <= before + 1e-7
    assert least_kl(*lists, whole, 0.0).item() == pytest.approx(before, abs=1e-7)


def test_partition_kl_is_that_of_each_position() -> None:
    first, second = np.log([[0.5, 0.3], [0.4, 0.4]]), np.log([[0.7, 0.2, 0.1], [0.6, 0.1, 0.2]])
    (p, q), positions = np.hstack([first, second]), np.array([0, 0, 1, 1, 1])
    apart = [partition_kl(*lists, np.zeros(lists.shape[1], int)).item() for lists in (first, second)]
    assert partition_kl(p, q, positions) == pytest.approx(apart)
    assert least_kl(p, q, positions, 0.0) == pytest.approx(apart)
    assert partition_kl(np.array([p, q]), q, positions) == pytest.approx(np.array([apart, [0, 0]]))
    assert partition_kl(np.array([-1.0, NAN]), np.array([NAN, -1.0]), np.zeros(2, int)).tolist() == [0.0]
