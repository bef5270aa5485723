"""What a test can detect with the requests it may send: stated before the first one is sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qcheck.stats.bets import LAMBDAS

MIN_REQUESTS = 2

__all__ = ["could_reject", "median_requests"]


def could_reject(bounds: Sequence[float], weights: Sequence[float], log_threshold: float, requests: int) -> bool:
    """Whether `requests` answers that all show every tail event would reach the threshold; a verdict needs two."""
    if requests < MIN_REQUESTS:
        return False
    lam = np.asarray(LAMBDAS)
    gains = requests * np.log(1 - lam + lam / np.asarray(bounds, float)[:, None])
    shares = np.repeat(np.asarray(weights, float)[:, None] / len(lam), len(lam), axis=1)
    return bool(special.logsumexp(gains, b=shares) >= log_threshold)


def median_requests(
    bounds: Sequence[float],
    weights: Sequence[float],
    shown: Sequence[float],
    log_threshold: float,
    requests: int,
    fraction: float,
    rng: np.random.Generator,
    streams: int = 200,
) -> int | None:
    """Simulated median number of requests until `TailBets` reaches the threshold; None beyond `requests`.

    A share `fraction` of the requests shows tail event i with probability shown[i], the rest none. The events of one
    request are taken as nested (an answer that passes a rare event passes the frequent ones), which is what scores
    over rising thresholds do.
    """
    lam = np.asarray(LAMBDAS)
    deviating = rng.random((streams, requests)) < fraction
    draws = rng.random((streams, requests))
    log_e = np.full((streams, requests), -np.inf)
    for bound, weight, probability in zip(bounds, weights, shown, strict=True):
        hits = deviating & (draws < probability)
        for rate in lam:
            steps = np.where(hits, np.log(1 - rate + rate / bound), np.log1p(-rate))
            log_e = np.logaddexp(log_e, np.cumsum(steps, axis=1) + np.log(max(weight, 1e-300) / len(lam)))
    return _median_first(log_e >= log_threshold, minimum=MIN_REQUESTS)


def _median_first(reached: NDArray[np.bool_], minimum: int) -> int | None:
    streams, requests = reached.shape
    first = np.where(reached.any(axis=1), np.maximum(reached.argmax(axis=1) + 1, minimum), requests + 1)
    middle = int(np.sort(first)[streams // 2])
    return middle if middle <= requests else None
