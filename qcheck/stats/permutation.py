"""Permutation tests of two groups, stratified by prompt.

Under H₀ the answers to one prompt are exchangeable between the groups, so that only labels within a prompt may be
exchanged: which prompts were asked more often of whom says nothing. `scipy.stats.permutation_test` knows no strata.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Labels", "PermutationResult", "mean_distance", "permutation_test"]

Labels = NDArray[np.bool_]
Array = NDArray[np.float64]

BLOCK_CELLS = 2**20  # labels that are held at a time
# Statistics this close count as equal, which can only raise p: sums of the same numbers in another order differ.
TIE = 1e-12  # absolute below 1, relative above


@dataclass(frozen=True, slots=True)
class PermutationResult:
    """statistic: of the labels as they are. permutations: how many were compared. exact: whether they were all."""

    statistic: float
    p_value: float
    permutations: int
    exact: bool


def permutation_test(
    statistic: Callable[[Labels], Array],
    labels: ArrayLike,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    permutations: int = 999,
) -> PermutationResult:
    """Whether a large value of `statistic` could be due to which answer came from whom.

    All labellings are tried where there are at most `permutations` of them. Otherwise `permutations` are drawn and
    p = (1 + how many reach the observed statistic) / (1 + permutations): without the +1 p could be 0, and P(p ≤ a)
    would exceed a (Phipson & Smyth 2010, "Permutation p-values should never be zero", Stat. Appl. Genet. Mol. Biol.
    9:39). Either way P(p ≤ a) ≤ a for every a under H₀. The smallest p that can come out is 1/(1 + permutations), or
    one over the number of labellings.

    Parameters
    ----------
    statistic: of labels (block, answers), one value each (block,); it should be large where the groups differ.
    labels: (answers,), true for one group and false for the other. strata: (answers,), the prompt of each, any values;
    all answers are of one prompt unless given.

    Raises ValueError for labels that no permutation changes, from which nothing could follow.
    """
    given = np.asarray(labels, bool)
    names = np.zeros(len(given)) if strata is None else np.asarray(strata)
    if given.ndim != 1 or names.shape != given.shape:
        raise ValueError("labels and strata must be rows of the same length")
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    total = math.prod(math.comb(len(group), int(given[group].sum())) for group in groups)
    if total < 2:
        raise ValueError("no permutation changes the labels: each prompt has answers of one group only")
    exact = total <= permutations
    block = max(1, BLOCK_CELLS // len(given))
    candidates = _all_labels(given, groups, block) if exact else _drawn_labels(given, groups, block, permutations, rng)
    observed = float(statistic(given[None])[0])
    least = observed - TIE * max(1.0, abs(observed))
    reached = sum(int((statistic(some) >= least).sum()) for some in candidates)
    if exact:
        return PermutationResult(observed, reached / total, total, exact)
    return PermutationResult(observed, (1 + reached) / (1 + permutations), permutations, exact)


def _all_labels(labels: Labels, groups: list[NDArray[np.intp]], block: int) -> Iterator[Labels]:
    choices = (itertools.combinations(group, int(labels[group].sum())) for group in groups)
    labellings = itertools.product(*choices)
    while some := list(itertools.islice(labellings, block)):
        rows = np.zeros((len(some), len(labels)), bool)
        for row, chosen in zip(rows, some, strict=True):
            row[list(itertools.chain.from_iterable(chosen))] = True
        yield rows


def _drawn_labels(
    labels: Labels, groups: list[NDArray[np.intp]], block: int, permutations: int, rng: np.random.Generator
) -> Iterator[Labels]:
    for start in range(0, permutations, block):
        rows = np.tile(labels, (min(block, permutations - start), 1))
        for group in groups:
            rows[:, group] = rng.permuted(rows[:, group], axis=1)
        yield rows


def mean_distance(scores: ArrayLike) -> Callable[[Labels], Array]:
    """The statistic "how far the groups' mean scores lie apart": the mean over features of |difference|.

    scores: (answers,) or (answers, features).
    """
    table = np.asarray(scores, float)
    table = table.reshape(len(table), -1)
    total = table.sum(axis=0)

    def statistic(labels: Labels) -> Array:
        size = labels.sum(axis=1, keepdims=True)
        inside = labels.astype(float) @ table
        difference: Array = inside / size - (total - inside) / (labels.shape[1] - size)
        distance: Array = np.abs(difference).mean(axis=1)
        return distance

    return statistic
