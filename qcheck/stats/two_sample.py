"""Two-sample tests on sampled text: maximum mean discrepancy with a Hamming kernel, and uniformity of ranks.

Samples of text are arrays of token numbers, padded at the end with a number that is no token. Samples come by prompt,
equally many to each, and the prompts' statistics are averaged: H₀ says that both distributions agree on every prompt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from qcheck.stats.permutation import Labels, PermutationResult, permutation_test

__all__ = ["hamming_kernel", "hamming_test", "mmd_squared", "rank_uniformity", "uniform_ranks"]

Array = NDArray[np.float64]
Tokens = NDArray[np.integer]


def hamming_kernel(samples: Tokens) -> Array:
    """Share of positions at which two samples have the same token, for all pairs; 1 on the diagonal.

    samples: (..., n, length). Both being padded at a position counts as the same, so that equal lengths count as
    likeness (Gao, Liang & Guestrin 2025, "Model Equality Testing: Which Model Is This API Serving?", ICLR). Returns
    (..., n, n).
    """
    same = np.zeros((*samples.shape[:-1], samples.shape[-2]))
    for column in np.moveaxis(samples, -1, 0):  # position by position, lest all pairs' tokens be held at once
        same += column[..., :, None] == column[..., None, :]
    shares: Array = same / samples.shape[-1]
    return shares


def mmd_squared(kernel: Array, labels: Labels, *, biased: bool = False) -> Array:
    """Squared maximum mean discrepancy of the samples labelled true from those labelled false.

    Unbiased unless `biased`: without the pairs of a sample with itself, which needs two samples a side and can be
    negative (Gretton et al. 2012, "A kernel two-sample test", JMLR 13:723, equations 3 and 5).

    kernel: (..., n, n) over both groups' samples; labels: (..., n), broadcasting. Returns the leading shape.
    """
    inside = np.asarray(labels, float)
    outside = 1.0 - inside
    n, m = inside.sum(axis=-1), outside.sum(axis=-1)
    if min(n.min(), m.min()) < (1 if biased else 2):
        raise ValueError("each side needs two samples of a prompt, or one where biased=True")
    towards = np.einsum("...ij,...j->...i", kernel, inside)
    all_pairs = kernel.sum(axis=-1)
    xx, xy = (inside * towards).sum(axis=-1), (outside * towards).sum(axis=-1)
    yy = (outside * (all_pairs - towards)).sum(axis=-1)
    if biased:
        result: Array = xx / n**2 + yy / m**2 - 2 * xy / (n * m)
        return result
    diagonal = np.diagonal(kernel, axis1=-2, axis2=-1)
    xx, yy = xx - (inside * diagonal).sum(axis=-1), yy - (outside * diagonal).sum(axis=-1)
    result = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    return result


def hamming_test(
    x: Tokens, y: Tokens, rng: np.random.Generator, permutations: int = 999, *, biased: bool = False
) -> PermutationResult:
    """Model Equality Testing: permutation test of the MMD with a Hamming kernel, averaged over prompts.

    x: (prompts, n, length), y: (prompts, m, length), padded to the same length. Samples are exchanged within a prompt
    only. Gao et al. (2025) draw the prompt of each sample at random, have a kernel that is 0 between prompts, and
    permute all samples together; here the numbers are fixed by design. Their p-value lacks the +1.
    """
    prompts, n = x.shape[:2]
    kernel = hamming_kernel(np.concatenate([x, y], axis=1))
    labels = np.tile(np.arange(kernel.shape[-1]) < n, (prompts, 1))

    def statistic(permuted: Labels) -> Array:
        by_prompt = permuted.reshape(len(permuted), *labels.shape)
        mean: Array = mmd_squared(kernel, by_prompt, biased=biased).mean(axis=-1)
        return mean

    strata = np.repeat(np.arange(prompts), labels.shape[1])
    return permutation_test(statistic, labels.ravel(), rng, strata, permutations)


def uniform_ranks(scores: ArrayLike, reference: ArrayLike, rng: np.random.Generator) -> Array:
    """Where a response's score lies among the reference's scores for the same prompt, ties broken at random.

    scores: (...); reference: (..., samples). Returns (...), exactly uniform on [0, 1] where the score and the
    reference's are exchangeable: the share of scores below, plus a random share of the ties, itself among them.

    Zhu et al. 2025, "Auditing black-box LLM APIs with a rank-based uniformity test", leave the response out of its
    ties, so that their ranks are uniform for infinitely many samples only: without ties they take samples + 1 values.
    """
    own, others = np.asarray(scores, float)[..., None], np.asarray(reference, float)
    below, equal = (others < own).sum(axis=-1), (others == own).sum(axis=-1)
    ranks: Array = (below + rng.random(below.shape) * (equal + 1)) / (others.shape[-1] + 1)
    return ranks


def rank_uniformity(scores: ArrayLike, reference: ArrayLike, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cramér-von Mises test of uniform ranks over prompts: statistics and p-values (Zhu et al. 2025).

    scores: (..., prompts), one response each; reference: (..., prompts, samples). Returns two arrays of the leading
    shape.
    """
    found = stats.cramervonmises(uniform_ranks(scores, reference, rng), "uniform", axis=-1)
    return np.asarray(found.statistic), np.asarray(found.pvalue)
