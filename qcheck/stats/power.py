"""What a test can detect with the requests it may send: stated before the first one is sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qcheck.stats.bets import LAMBDAS

MIN_REQUESTS = 2
BLOCK = 32  # requests simulated at a time, since most medians are small
NEGLIGIBLE = 0.02
LARGE = 80.0  # a logarithm beyond every threshold, whose exponential is still a number

Array = NDArray[np.float64]

__all__ = ["could_reject", "median_requests"]


def could_reject(
    bounds: Array, shares: Sequence[float], weights: Sequence[float], log_threshold: float, requests: int
) -> bool:
    """Whether `requests` answers that all show every tail event would reach the threshold; a verdict needs two.

    bounds: (strata, events). shares: (strata,) of the requests, or counts in proportion. weights: (events,).
    """
    if requests < MIN_REQUESTS:
        return False
    lam = np.asarray(LAMBDAS)
    gains = np.log(1 - lam + lam / np.asarray(bounds, float)[:, :, None])
    total = requests * np.average(gains, axis=0, weights=np.asarray(shares, float))
    weight = np.repeat(np.asarray(weights, float)[:, None] / len(lam), len(lam), axis=1)
    return bool(special.logsumexp(total, b=weight) >= log_threshold)


def median_requests(
    bounds: Array,
    shown: Array,
    shares: Sequence[float],
    weights: Sequence[float],
    log_threshold: float,
    requests: int,
    fraction: float,
    rng: np.random.Generator,
    streams: int = 100,
) -> int | None:
    """Simulated median number of requests until `TailBets` reaches the threshold; None beyond `requests`.

    bounds, shown: (strata, events). Each request is of a stratum drawn by `shares` (strata,). A share `fraction` of
    the requests shows tail event i of its stratum s with probability shown[s, i], the rest none. The events of one
    request are taken as nested (an answer that passes a rare event passes the frequent ones), which is what scores
    over rising thresholds do. Events that hardly ever show count as if they never did.
    """
    lam, shown = np.asarray(LAMBDAS), np.asarray(shown, float)
    live = shown.max(axis=0) >= NEGLIGIBLE
    q, weight = np.asarray(bounds, float)[:, live, None], np.asarray(weights, float)
    misses = np.where(q < 1, np.log1p(-lam), 0.0).astype(np.float32)
    hits = np.where(q < 1, np.log(1 - lam + lam / q), 0.0).astype(np.float32)
    log_share = np.log(np.maximum(weight[live, None], 1e-30) / len(lam)).astype(np.float32)
    strata = np.asarray(shares, float) / np.sum(shares)
    wealth = np.zeros((streams, 1, int(live.sum()), len(lam)), np.float32)
    first = np.full(streams, requests + 1)
    for start in range(0, requests, BLOCK):
        shape = (streams, min(BLOCK, requests - start))
        stratum = rng.choice(len(strata), size=shape, p=strata)
        show = (rng.random(shape) < fraction)[..., None] & (rng.random(shape)[..., None] < shown[:, live][stratum])
        path = wealth + np.cumsum(np.where(show[..., None], hits[stratum], misses[stratum]), axis=1)
        dead = np.exp(np.log1p(-lam) * np.arange(start + 1, start + shape[1] + 1)[:, None]).mean(axis=1)
        e = np.exp(np.minimum(path + log_share, LARGE)).sum(axis=(2, 3)) + weight[~live].sum() * dead
        reached = e >= np.exp(log_threshold)
        at = np.maximum(reached.argmax(axis=1) + 1 + start, MIN_REQUESTS)
        first = np.where((first > requests) & reached.any(axis=1), at, first)
        if (first <= requests).sum() > streams // 2:
            return int(np.sort(first)[streams // 2])
        wealth = path[:, -1:]
    return None
