"""What a test can detect with the requests it may send: stated before the first one is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qcheck.stats.bets import log_e_paths

MIN_REQUESTS = 2

Array = NDArray[np.float64]

__all__ = ["could_reject", "median_requests"]


def could_reject(bounds: Array, weights: Sequence[float], log_threshold: float) -> bool:
    """Whether answers that all show every tail event would reach the threshold; a verdict needs two.

    bounds: (requests, events), those of each request in the order in which they are asked. weights: (events,).
    """
    if len(bounds) < MIN_REQUESTS:
        return False
    path, _ = log_e_paths(np.ones(np.shape(bounds), bool), bounds, weights)
    return bool(path[MIN_REQUESTS - 1 :].max() >= log_threshold)


def median_requests(
    bounds: Array,
    shown: Array,
    strata: NDArray[np.intp],
    weights: Sequence[float],
    log_threshold: float,
    fraction: float,
    rng: np.random.Generator,
    streams: int = 100,
) -> int | None:
    """Simulated median number of requests until `TailBets` reaches the threshold; None where those allowed do not do.

    bounds, shown: (strata, events). strata: (requests,) the stratum of each request, in the order in which they are
    asked. A share `fraction` of the requests shows tail event i of its stratum s with probability shown[s, i], the
    rest none. The events of one request are taken as nested (an answer that passes a rare event passes the frequent
    ones), which is what scores over rising thresholds do.
    """
    first = np.full(streams, len(strata) + 1)
    wealth = None
    blocks = max(1, math.ceil(math.log2(max(1, len(strata)) / 32)) + 1)
    ends = [0, *(min(32 * 2**i, len(strata)) for i in range(blocks))]  # most medians are small
    for start, end in pairwise(ends):
        asked = strata[start:end]
        shape = (streams, len(asked), 1)
        hits = (rng.random(shape) < fraction) & (rng.random(shape) < shown[asked])
        path, wealth = log_e_paths(hits, bounds[asked], weights, wealth=wealth)
        reached = path >= log_threshold
        at = np.maximum(reached.argmax(axis=1) + 1 + start, MIN_REQUESTS)
        first = np.where((first > len(strata)) & reached.any(axis=1), at, first)
        if (first <= len(strata)).sum() > streams // 2:
            return int(np.sort(first)[streams // 2])
    return None
