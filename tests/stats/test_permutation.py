import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from qcheck.stats import permutation
from qcheck.stats.permutation import mean_distance, permutation_test


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_all_labellings_are_tried_where_there_are_few() -> None:
    """Of the 20 labellings of 3 + 3 two reach the largest difference: this one, and its mirror image."""
    result = permutation_test(mean_distance([1.0, 2, 3, 11, 12, 13]), [True] * 3 + [False] * 3, rng())
    assert (result.exact, result.permutations) == (True, 20)
    assert result.statistic == pytest.approx(10.0)
    assert result.p_value == pytest.approx(2 / 20)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), first=st.integers(2, 4), second=st.integers(2, 4))
def test_exact_p_values_are_those_of_scipy(seed: int, first: int, second: int) -> None:
    values = rng(seed).normal(size=first + second)

    def distance(x: np.ndarray, y: np.ndarray) -> float:
        return abs(x.mean() - y.mean())

    expected = scipy_stats.permutation_test(
        (values[:first], values[first:]), distance, n_resamples=np.inf, alternative="greater"
    )
    found = permutation_test(mean_distance(values), np.arange(len(values)) < first, rng())
    assert found.p_value == pytest.approx(expected.pvalue)


def test_labels_are_exchanged_within_a_prompt_only() -> None:
    """All labellings of two prompts, 3 · 2 of them, and none that moves a label from one prompt to the other."""
    strata, seen = ["b", "a", "b", "a", "b"], []

    def remember(labels: np.ndarray) -> np.ndarray:
        seen.extend(tuple(map(bool, row)) for row in labels)
        return np.zeros(len(labels))

    result = permutation_test(remember, [True, True, False, False, False], rng(), strata, permutations=6)
    a, b = (1, 3), (0, 2, 4)
    expected = {tuple(i in (x, y) for i in range(5)) for x, y in itertools.product(a, b)}
    assert set(seen) == expected
    assert (result.p_value, result.permutations) == (1.0, 6)
    seen.clear()
    permutation_test(remember, [True, True, False, False, False], rng(), strata, permutations=5)
    assert len(seen) == 6  # those drawn, and the labels as they are
    assert set(seen) <= expected


def test_drawn_labellings_are_uniform() -> None:
    """6 labellings, 6,000 draws: chi-squared beyond its 99.99 % quantile is not chance."""
    counts: dict[tuple[bool, ...], int] = {}

    def count(labels: np.ndarray) -> np.ndarray:
        for row in labels:
            counts[tuple(map(bool, row))] = counts.get(tuple(map(bool, row)), 0) + 1
        return np.zeros(len(labels))

    labels, strata = np.array([True, False, False, True, False]), np.array([0, 0, 0, 1, 1])
    # The labels as they are come once more, which is what is taken off again.
    for _ in range(1200):
        permutation_test(count, labels, rng(len(counts) + sum(counts.values())), strata, permutations=5)
    counts[tuple(map(bool, labels))] -= 1200
    assert len(counts) == 6
    assert scipy_stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("permutations", [19, 39])
def test_p_is_valid_where_the_strata_differ(permutations: int) -> None:
    """Prompts that differ by far, asked unequally often: P(p ≤ a) ≤ a in 2,000 tests, 3 standard errors allowed."""
    draw, tests = rng(1), 2000
    strata = np.repeat([0, 1], 8)
    labels = np.array([True] * 6 + [False] * 2 + [True] * 2 + [False] * 6)
    p = np.array(
        [
            permutation_test(mean_distance(draw.normal(5.0 * strata)), labels, draw, strata, permutations).p_value
            for _ in range(tests)
        ]
    )
    for a in (0.05, 0.1, 0.25, 0.5):
        assert (p <= a).mean() <= a + 3 * math.sqrt(a * (1 - a) / tests)
    assert p.min() == pytest.approx(1 / (permutations + 1))  # it can reject


def test_without_strata_differing_prompts_are_taken_for_a_difference() -> None:
    draw, strata = rng(2), np.repeat([0, 1], 20)
    labels = np.arange(40) % 20 < np.where(strata == 0, 15, 5)
    scores = draw.normal(5.0 * strata)
    assert permutation_test(mean_distance(scores), labels, draw).p_value <= 0.01
    assert permutation_test(mean_distance(scores), labels, draw, strata).p_value > 0.05


def test_a_difference_within_prompts_is_found() -> None:
    draw, strata = rng(3), np.repeat(np.arange(10), 4)
    labels = np.tile([True, True, False, False], 10)
    scores = draw.normal(5.0 * strata[:, None], 1.0, size=(40, 3)) + 1.5 * labels[:, None]
    assert permutation_test(mean_distance(scores), labels, draw, strata).p_value == 0.001


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = np.arange(30) < 12, rng(4).normal(size=30)
    whole = permutation_test(mean_distance(scores), labels, rng(5), permutations=200)
    monkeypatch.setattr(permutation, "BLOCK_CELLS", 30 * 7)
    in_blocks = permutation_test(mean_distance(scores), labels, rng(5), permutations=200)
    assert whole == in_blocks
    few = np.arange(8) < 4
    assert permutation_test(mean_distance(scores[:8]), few, rng()).permutations == math.comb(8, 4)


def test_ties_count_as_reached() -> None:
    """Sums of the same numbers in another order may differ in the last digit."""
    labels = np.array([True] * 3 + [False] * 3)

    def statistic(some: np.ndarray) -> np.ndarray:
        return 1.0 - 1e-13 * (some != labels).any(axis=1)

    assert permutation_test(statistic, labels, rng()).p_value == 1.0


@pytest.mark.parametrize(
    ("labels", "strata", "message"),
    [
        ([True, True], None, "no permutation"),
        ([True, False], [0, 1], "no permutation"),
        ([True, False], [0], "same length"),
        ([[True], [False]], None, "same length"),
    ],
)
def test_what_cannot_be_tested_is_refused(labels: list, strata: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        permutation_test(mean_distance([1.0, 2.0]), labels, rng(), strata)
