import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from qcheck.stats.two_sample import hamming_kernel, hamming_test, mmd_squared, rank_uniformity, uniform_ranks

PAD = -1


def naive_mmd(x: np.ndarray, y: np.ndarray, *, biased: bool) -> float:
    """One prompt, pair by pair as the definition says."""

    def mean(a: np.ndarray, b: np.ndarray, *, distinct: bool) -> float:
        pairs = [(a[i] == b[j]).mean() for i in range(len(a)) for j in range(len(b)) if not (distinct and i == j)]
        return float(np.mean(pairs))

    return mean(x, x, distinct=not biased) + mean(y, y, distinct=not biased) - 2 * mean(x, y, distinct=False)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 5), m=st.integers(2, 5), biased=st.booleans())
def test_mmd_is_what_it_is_defined_as(seed: int, n: int, m: int, biased: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, (4, n, 6)), rng.integers(0, 4, (4, m, 6))
    kernel = hamming_kernel(np.concatenate([x, y], axis=1))
    found = mmd_squared(kernel, np.arange(n + m) < n, biased=biased)
    assert found == pytest.approx([naive_mmd(a, b, biased=biased) for a, b in zip(x, y, strict=True)])
    if biased:
        assert (found >= -1e-12).all()


def test_labels_and_kernels_broadcast() -> None:
    rng = np.random.default_rng(0)
    kernel = hamming_kernel(rng.integers(0, 3, (3, 6, 4)))
    labels = np.array([np.arange(6) < 3, np.arange(6) >= 3, np.arange(6) % 2 == 0])
    found = mmd_squared(kernel, labels[:, None])
    assert found.shape == (3, 3)
    assert found[0] == pytest.approx(found[1])  # which side is called which does not matter
    assert found[2, 1] == pytest.approx(mmd_squared(kernel[1], labels[2]))


def test_unbiased_means_a_mean_of_zero_where_nothing_differs() -> None:
    """4,000 prompts: the mean over them is within 4 standard errors of 0, that of the biased estimate is not."""
    rng = np.random.default_rng(1)
    kernel = hamming_kernel(rng.integers(0, 3, (4000, 6, 5)))
    labels = np.arange(6) < 3
    unbiased, biased = mmd_squared(kernel, labels), mmd_squared(kernel, labels, biased=True)
    assert abs(unbiased.mean()) <= 4 * unbiased.std() / math.sqrt(4000)
    assert biased.mean() > 4 * biased.std() / math.sqrt(4000)


def test_padding_makes_lengths_part_of_the_likeness() -> None:
    kernel = hamming_kernel(np.array([[1, 2, PAD, PAD], [1, 3, PAD, PAD], [1, 2, 5, 6]]))
    assert kernel.tolist() == [[1.0, 0.75, 0.5], [0.75, 1.0, 0.25], [0.5, 0.25, 1.0]]


def test_one_sample_a_side_has_no_unbiased_estimate() -> None:
    kernel = hamming_kernel(np.array([[1, 2], [1, 3], [4, 3]]))
    with pytest.raises(ValueError, match="two samples"):
        mmd_squared(kernel, np.array([True, False, False]))
    assert mmd_squared(kernel, np.array([True, False, False]), biased=True) > 0


def test_model_equality_testing_is_valid_over_unlike_prompts() -> None:
    """Each prompt has its own distribution: P(p ≤ a) ≤ a in 400 tests, 3 standard errors allowed."""
    rng, tests = np.random.default_rng(2), 400
    base = 10 * np.arange(4)[:, None, None]
    p = np.array(
        [
            hamming_test(
                base + rng.integers(0, 3, (4, 4, 5)), base + rng.integers(0, 3, (4, 6, 5)), rng, permutations=39
            ).p_value
            for _ in range(tests)
        ]
    )
    for a in (0.05, 0.2, 0.5):
        assert (p <= a).mean() <= a + 3 * math.sqrt(a * (1 - a) / tests)


def test_model_equality_testing_finds_another_distribution() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 3, (10, 10, 8)), rng.choice(3, p=[0.6, 0.2, 0.2], size=(10, 10, 8))
    result = hamming_test(x, y, rng)
    assert result.p_value == 0.001
    kernel = hamming_kernel(np.concatenate([x, y], axis=1))
    assert result.statistic == pytest.approx(mmd_squared(kernel, np.arange(20) < 10).mean())


@pytest.mark.parametrize("values", [2, 5, 1000])
def test_ranks_are_uniform_however_many_ties(values: int) -> None:
    """5,000 prompts with 3 reference samples each, scores among few values or many."""
    rng = np.random.default_rng(4)
    ranks = uniform_ranks(rng.integers(0, values, 5000), rng.integers(0, values, (5000, 3)), rng)
    assert scipy_stats.kstest(ranks, "uniform").pvalue > 1e-3


@given(seed=st.integers(0, 10_000), samples=st.integers(1, 8))
def test_ranks_lie_between_those_below_and_those_above(seed: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    scores, reference = rng.integers(0, 4, 20), rng.integers(0, 4, (20, samples))
    ranks = uniform_ranks(scores, reference, rng) * (samples + 1)
    below = (reference < scores[:, None]).sum(axis=1)
    above = (reference > scores[:, None]).sum(axis=1)
    assert (below <= ranks).all()
    assert (ranks <= samples + 1 - above).all()


def test_rank_uniformity_rejects_as_often_as_it_says() -> None:
    """1,000 streams of 50 prompts; the p-value is asymptotic for 50 ranks, and 3 standard errors of 5 % are 2.1 %."""
    rng = np.random.default_rng(5)
    statistics, p = rank_uniformity(rng.normal(size=(1000, 50)), rng.normal(size=(1000, 50, 20)), rng)
    assert statistics.shape == p.shape == (1000,)
    assert abs((p <= 0.05).mean() - 0.05) <= 0.021
    shifted = rank_uniformity(rng.normal(1.0, size=(100, 50)), rng.normal(size=(100, 50, 20)), rng)[1]
    assert (shifted <= 0.01).mean() >= 0.95
