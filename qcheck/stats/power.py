"""What a test can detect with the requests it may send: stated before the first one is sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qcheck.stats.bets import LAMBDAS

MIN_REQUESTS = 2

Array = NDArray[np.float64]

__all__ = ["could_reject", "median_requests"]


def could_reject(
    bounds: Array, shares: Sequence[float], weights: Sequence[float], log_threshold: float, requests: int
) -> bool:
    """Whether `requests` answers that all show every tail event would reach the threshold; a verdict needs two.

    bounds: (strata, events). shares: (strata,) of the requests. weights: (events,).
    """
    if requests < MIN_REQUESTS:
        return False
    lam = np.asarray(LAMBDAS)
    gains = np.log(1 - lam + lam / np.asarray(bounds, float)[:, :, None])
    total = requests * np.tensordot(np.asarray(shares, float), gains, axes=1)
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
    streams: int = 200,
) -> int | None:
    """Simulated median number of requests until `TailBets` reaches the threshold; None beyond `requests`.

    bounds, shown: (strata, events). Each request is of a stratum drawn by `shares` (strata,). A share `fraction` of
    the requests shows tail event i of its stratum s with probability shown[s, i], the rest none. The events of one
    request are taken as nested (an answer that passes a rare event passes the frequent ones), which is what scores
    over rising thresholds do.
    """
    shape = (streams, requests)
    stratum = rng.choice(len(shares), size=shape, p=np.asarray(shares, float) / np.sum(shares))
    deviating, draws = rng.random(shape) < fraction, rng.random(shape)
    log_e = np.full(shape, -np.inf)
    for event, weight in enumerate(weights):
        bound = np.asarray(bounds, float)[stratum, event]
        hits = deviating & (draws < np.asarray(shown, float)[stratum, event])
        for rate in LAMBDAS:
            steps = np.where(hits, np.log(1 - rate + rate / bound), np.log1p(-rate))
            log_e = np.logaddexp(log_e, np.cumsum(steps, axis=1) + np.log(max(weight, 1e-300) / len(LAMBDAS)))
    return _median_first(log_e >= log_threshold, minimum=MIN_REQUESTS)


def _median_first(reached: NDArray[np.bool_], minimum: int) -> int | None:
    streams, requests = reached.shape
    first = np.where(reached.any(axis=1), np.maximum(reached.argmax(axis=1) + 1, minimum), requests + 1)
    middle = int(np.sort(first)[streams // 2])
    return middle if middle <= requests else None
