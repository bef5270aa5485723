"""Confidence sequences for the share of requests that show a tail event, and for the routing fraction behind it.

Both bounds are inverted tests by betting on 0/1 outcomes: against p ≥ p₀ one bets on q < p₀, against p ≤ p₀ on
q > p₀, with e = (q/p₀)^x ((1−q)/(1−p₀))^(1−x). Its conditional mean is at most 1 for every conditional probability
on the tested side, so the bounds hold at all times together. For probabilities that change from request to request
they bound, at any fixed p₀, the running average too: e is linear in x, so the product of its conditional means is at
most 1 when their average lies on the tested side (arithmetic and geometric mean). Averages over several q keep this
(Waudby-Smith & Ramdas 2024, JRSS-B 86:1, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["fraction_lower", "fraction_upper", "requests_to_bound"]

# (weight, q as a multiple of p0) for the upper bound: mostly "hardly ever", as honest providers show few tail events.
_UPPER = ((0.5, 0.0), (0.2, 0.1), (0.2, 0.3), (0.1, 0.6))
# 1 - q as a multiple of 1 - p0 for the lower bound, equal weights.
_LOWER = (0.05, 0.3, 0.6, 0.85, 0.95, 0.985)
_HALVINGS = 50


def _log_sum(terms: Iterable[float]) -> float:
    """log Σ exp, for a handful of terms (many times faster than an array function)."""
    values = list(terms)
    top = max(values)
    return top if top == -math.inf else top + math.log(sum(math.exp(v - top) for v in values))


def _log_e_upper(hits: int, requests: int, p0: float) -> float:
    misses, floor = requests - hits, math.log1p(-p0)

    def term(weight: float, ratio: float) -> float:
        if hits and ratio == 0.0:
            return -math.inf
        gain = hits * math.log(ratio) if hits else 0.0
        return math.log(weight) + gain + misses * (math.log1p(-ratio * p0) - floor)

    return _log_sum(term(weight, ratio) for weight, ratio in _UPPER)


def _log_e_lower(hits: int, requests: int, p0: float) -> float:
    floor, misses = math.log(p0), requests - hits
    terms = (hits * (math.log1p(-(1 - p0) * r) - floor) + misses * math.log(r) for r in _LOWER)
    return _log_sum(terms) - math.log(len(_LOWER))


@lru_cache(maxsize=65536)
def fraction_upper(hits: int, requests: int, alpha: float) -> float:
    """Upper confidence bound of the share of tail events, valid at all times together with error at most alpha."""
    if requests == 0 or _log_e_upper(hits, requests, 1 - 1e-12) < -math.log(alpha):
        return 1.0
    low, high = 0.0, 1 - 1e-12
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _log_e_upper(hits, requests, middle) >= -math.log(alpha):
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=65536)
def fraction_lower(hits: int, requests: int, alpha: float) -> float:
    """Lower confidence bound of the share of tail events, valid at all times together with error at most alpha."""
    if hits == 0 or _log_e_lower(hits, requests, 1e-12) < -math.log(alpha):
        return 0.0
    low, high = 1e-12, 1 - 1e-12
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _log_e_lower(hits, requests, middle) >= -math.log(alpha):
            low = middle
        else:
            high = middle
    return low


def requests_to_bound(hits: int, requests: int, target: float, alpha: float, limit: int = 1_000_000) -> int | None:
    """How many more requests without a tail event bring `fraction_upper` down to `target`; None beyond `limit`."""
    if target <= 0:
        return None
    goal, p0 = -math.log(alpha), min(target, 1 - 1e-12)
    if _log_e_upper(hits, requests, p0) >= goal:
        return 0
    low, high = 0, 1
    while _log_e_upper(hits, requests + high, p0) < goal:
        low, high = high, high * 2
        if high > limit:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _log_e_upper(hits, requests + middle, p0) >= goal:
            high = middle
        else:
            low = middle
    return high
