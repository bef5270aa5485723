"""When did an endpoint's distribution change? Divisive estimation of change points with an energy statistic.

Matteson & James 2014, "A nonparametric approach for multiple change point analysis of multivariate data", JASA 109:505
(E-divisive), with cuts of whole segments only. The distance between answers is total variation, an L1 metric, hence of
negative type as the statistic needs. It finds any change of the distribution over lists: a level that shifts as well as
noise that comes and goes.

The permutation test at each split takes answers within a segment as exchangeable. Endpoints whose modes take turns in
runs violate that, so small changes that it reports are not proven; sizes are given for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.trackllm.distances import total_variation
from benchmarks.trackllm.recordings import Recording

__all__ = ["Change", "find_changes"]

SHORTEST = 12  # answers in a segment: half a day at one an hour
PERMUTATIONS = 999

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Change:
    """The first answer after a change, by index; p of its split; TV between the mean distributions around it."""

    at: int
    p: float
    tv: float


def find_changes(recording: Recording, alpha: float, rng: np.random.Generator) -> list[Change]:
    """All change points whose split is significant at level `alpha`, in the order of time."""
    far = total_variation(recording.lists, recording.lists)
    splits: dict[int, float] = {}
    open_segments = [(0, len(recording.index))]
    while open_segments:
        start, end = open_segments.pop()
        lists = recording.index[start:end]
        if end - start < 2 * SHORTEST:
            continue
        cut, statistic = _best_cut(lists, far)
        p = _p_value(lists, far, statistic, alpha, rng)
        if p <= alpha:
            splits[start + cut] = p
            open_segments += [(start, start + cut), (start + cut, end)]
    edges = [0, *sorted(splits), len(recording.index)]
    probabilities = np.nan_to_num(np.exp(recording.lists))[recording.index]
    means = [probabilities[a:b].mean(axis=0) for a, b in pairwise(edges)]
    sizes = [float(np.abs(a - b).sum() / 2) for a, b in pairwise(means)]
    return [Change(at, splits[at], tv) for at, tv in zip(edges[1:-1], sizes, strict=True)]


def _best_cut(lists: NDArray[np.intp], far: Array) -> tuple[int, float]:
    """The cut (answers before it) with the largest energy statistic, and that (the paper's scaled sample divergence).

    Sums of distances over pairs of answers come from counts of distinct lists, of which there are few.
    """
    counts = np.cumsum(np.eye(len(far))[lists], axis=0)
    before = np.arange(SHORTEST, len(lists) - SHORTEST + 1)
    after = len(lists) - before
    left, all_ = counts[before - 1], counts[-1]
    left_left = ((left @ far) * left).sum(axis=1)
    left_all = left @ (far @ all_)
    right_right = all_ @ far @ all_ - 2 * left_all + left_left
    between = 2 * (left_all - left_left) / (before * after)
    spread = left_left / (before * (before - 1)) + right_right / (after * (after - 1))
    statistic = before * after / len(lists) * (between - spread)
    best = int(np.argmax(statistic))
    return int(before[best]), float(statistic[best])


def _p_value(lists: NDArray[np.intp], far: Array, observed: float, alpha: float, rng: np.random.Generator) -> float:
    """Permutation p-value with the identity counted; 1 as soon as it is certain to exceed `alpha`."""
    seen, names = np.unique(lists, return_inverse=True)
    part, as_large = far[np.ix_(seen, seen)], 1
    for _ in range(PERMUTATIONS):
        as_large += _best_cut(rng.permutation(names), part)[1] >= observed * (1 - 1e-12)
        if as_large > alpha * (1 + PERMUTATIONS):
            return 1.0
    return as_large / (1 + PERMUTATIONS)
