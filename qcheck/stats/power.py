"""What a test can detect with the requests it may send: stated before the first one is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from qcheck.stats.bets import LAMBDA_SHARES, gains, log_e_paths
from qcheck.stats.counted import along

MIN_DEVIATING = 2
FEW, MANY = 4, 64  # deviating answers of each stream at a time: at first, as most need few, and at most
NEVER = np.iinfo(np.intp).max

Array = NDArray[np.float64]

__all__ = ["Firsts", "could_reject", "median_requests"]


@dataclass(frozen=True, slots=True)
class Firsts:
    """Requests that are bet on at bounds of their own.

    requests (requests,): whether each is one of them. bounds (strata, events): at what they are bet on.
    """

    requests: NDArray[np.bool_]
    bounds: Array

    @classmethod
    def none(cls, requests: int, bounds: Array) -> Self:
        """No request is one of them."""
        return cls(np.zeros(requests, bool), bounds[..., 0])


def could_reject(
    bounds: Array,
    strata: NDArray[np.intp],
    weights: Sequence[float],
    log_threshold: float,
    firsts: Firsts | None = None,
) -> bool:
    """Whether answers that all show every tail event would reach the threshold; a verdict needs two.

    bounds: (strata, events, hits), as `qcheck.stats.counted` gives them. strata: (requests,) that of each request, in
    the order in which they are asked. weights: (events,). firsts: those that are bet on at other bounds, if any.
    """
    if len(strata) < MIN_DEVIATING:
        return False
    hits = np.ones((1, len(strata), bounds.shape[1]), bool)
    firsts = firsts or Firsts.none(len(strata), bounds)
    at = np.where(firsts.requests[:, None], firsts.bounds[strata], along(hits, strata, bounds))
    path, _ = log_e_paths(hits, at, weights)
    return bool(path[0, MIN_DEVIATING - 1 :].max() >= log_threshold)


def median_requests(
    bounds: Array,
    shown: Array,
    strata: NDArray[np.intp],
    weights: Sequence[float],
    outlying: Sequence[bool],
    suites: Sequence[str],
    log_threshold: float,
    fraction: float,
    rng: np.random.Generator,
    streams: int = 400,
    again: Callable[[Array], NDArray[np.intp]] | None = None,
    firsts: Firsts | None = None,
) -> int | None:
    """Simulated median number of requests to *deviates*; None where those allowed do not do.

    That is until the weighted average of the `TailBets` of those suites is at the threshold in which two answers have
    shown an `outlying` event. suites: (events,) the suite of each. weights: (events,) of the event in its suite, times
    the suite's. bounds: (strata, events, hits), as `qcheck.stats.counted` gives them; shown: (strata, events); 1 and 0
    of the events of another suite. strata: (requests,) the stratum of each request, in the order in which they are
    asked. A share `fraction` of the requests shows tail event i of its stratum s with probability shown[s, i], the rest
    none. The events of one request are taken as nested (an answer that passes a rare event passes the frequent ones),
    which is what scores over rising thresholds do. again: how many requests are added to those, by the share of all
    requests whose answers have shown an outlying event of the suite that has most. firsts: requests that are bet on at
    other bounds, if any.

    Between deviating answers the e-value only falls, so that it is computed at those alone; what it loses there is that
    of bounds which have not risen to 1.
    """
    requests, (names, of) = len(strata), np.unique(suites, return_inverse=True)
    marks = np.asarray(outlying)[:, None] & (of[:, None] == np.arange(len(names)))  # (events, suites)
    shares = np.outer(weights, LAMBDA_SHARES)
    deviating = np.where(rng.random((streams, requests)) < fraction, np.arange(requests), requests)
    places = np.sort(deviating, axis=1)  # of each stream's deviating answers; `requests` where it has no more
    firsts = firsts or Firsts.none(requests, bounds)
    at_first = firsts.requests[:, None]
    missed = gains(np.zeros((1, 1), bool), np.where(at_first, firsts.bounds[strata], bounds[strata, :, 0]))
    lost = np.cumsum(missed, axis=0)  # wealth after each request, did none show anything
    won, answers = np.zeros((streams, *missed.shape[1:])), np.zeros((streams, marks.shape[1]), np.intp)
    before = np.zeros((streams, *np.shape(shown)), np.intp)  # hits so far
    first, total = np.full(streams, requests + 1), np.full(streams, NEVER)
    median, end = NEVER, 0
    while end < requests:
        start, end = end, end + min(max(end, FEW), MANY)
        at = places[:, start:end]
        exists, at = at < requests, np.minimum(at, requests - 1)
        s = strata[at]
        hits = exists[..., None] & (rng.random((*at.shape, 1)) < shown[s])
        q = np.where(at_first[at], firsts.bounds[s], along(hits, s, bounds, before))
        path = won[:, None] + np.cumsum(gains(hits, q) - missed[at], axis=1)
        before += ((s[..., None] == np.arange(len(bounds)))[..., None] & hits[:, :, None]).sum(axis=1)
        seen = answers[:, None] + np.cumsum(hits @ marks, axis=1)
        counted = (seen >= MIN_DEVIATING)[..., of, None]
        proof = special.logsumexp(path + lost[at], axis=(-2, -1), b=counted * shares)
        reached = exists & (proof >= log_threshold)
        now = (first > requests) & reached.any(axis=1)
        which = reached[now].argmax(axis=1)
        first[now] = total[now] = at[now, which] + 1
        if again is not None:
            total[now] += again(seen[now, which].max(axis=1) / first[now])
        won, answers = path[:, -1], seen[:, -1]
        median = int(np.sort(total)[streams // 2])
        if end < requests and (places[first > requests, end] >= min(median - 1, requests)).all():
            break
    return median if median < NEVER else None
