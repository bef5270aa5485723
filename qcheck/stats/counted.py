"""Bets on events whose null probability is known from counts alone.

Honest answers showed an event in K of n calibration clusters. Of each null probability q that it may have, two things
are known: the product of bets at q is a test supermartingale from there on (`qcheck.stats.bets`), and

    C(q) = 1 + c ∫₀¹ p(K; n, ρq) / p(K; n, q) dρ,        p(K; n, q) = q^K (1 − q)^(n − K)

has a mean of 1 + c over what the calibration could have counted; it is large where q would have shown more than K.
The calibration comes before the run and is independent of it, so that C(q) times the product is an e-process for every
q (Vovk & Wang 2021, section 4), but for 1 + c, which the threshold pays; and so is the smallest over all q, whatever
the true one is. Its logarithm after m hits is, but for what the misses cost,

    g(m) = min over q of log C(q) − m log q,

where λ/q is large; the m-th hit is then a bet at exp(g(m − 1) − g(m)). g is concave, as a smallest of straight lines,
so that these bounds rise with m; because they do, bets at them are worth no more than C(q) times bets at q for every q,
and every λ in [0, 1]: expand the product over the hits, and take of each term the smallest bounds.

A confidence bound that fails with probability δ, bet at as if it were the truth (Berger & Boos 1994, JASA 89:1012, do
so with p-values), pays for its confidence at each hit and for every event that is bounded beside it: of an event that
no honest answer showed in n clusters it bets at log(1/δ)/n. Here the price is paid once, and an average over events
needs no correction, as each of its terms is an e-process by itself, provided that its weights do not depend on the
counts. Several deployments need none either: C falls where K rises, so that the largest K stands for the one that shows
the event most often. Of two counts of the same answers, as those in two views are, the products stand in no one bet:
what is worth no more than C(q) or C'(q), whichever is larger, times the product of all bets made so far, at their true
probabilities, is paid by c + c'.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["HITS", "along", "bound_at", "hit_bounds"]

Array = NDArray[np.float64]

# The hits that bounds are kept for; one between two of them is a bet at the later one's. After the last none is made.
# Manifests hold bounds at these hits: with others they have another format.
HITS: Final = np.array([1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256, 1024])
STEPS: Final = 60  # of bisection
SMALLEST: Final = 1e-12  # the smallest probability that is looked at


@cache
def hit_bounds(successes: int, trials: int, price: float) -> tuple[float, ...]:
    """(len(HITS),) probabilities at which the hits with those numbers are bets, in (0, 1], rising.

    successes: K, trials: n. price: c. Raises ValueError unless it is positive, and 0 <= K <= n.
    """
    if not 0 <= successes <= trials or price <= 0:
        raise ValueError("counts lie between 0 and the trials, and the price is positive")
    if successes == trials:
        return (1.0,) * len(HITS)
    best = _log_worth(np.concatenate([HITS, HITS - 1]), successes, trials, price)
    at = np.exp(best[len(HITS) :] - best[: len(HITS)])
    return tuple(float(q) for q in np.maximum.accumulate(np.clip(at, SMALLEST, 1.0)))


def _log_worth(hits: ArrayLike, k: int, n: int, price: float) -> Array:
    """g of so many hits, by bisection of the derivative in log q, of which log C(q) is a convex function."""
    m = np.asarray(hits, float)
    low, high = np.full(m.shape, np.log(SMALLEST)), np.zeros(m.shape)
    for _ in range(STEPS):
        middle = (low + high) / 2
        q = np.exp(middle)
        larger = price * np.exp(np.minimum(_log_ratio(q, k, n), 700.0))
        steep = (price + larger * ((n - k) * q / np.maximum(1 - q, SMALLEST) - (k + 1))) / (1 + larger) > m
        low, high = np.where(steep, low, middle), np.where(steep, middle, high)
    log_c = np.logaddexp(0.0, np.log(price) + _log_ratio(np.exp(low), k, n))
    worth: Array = np.where(m > 0, log_c - m * low, 0.0)
    return worth


def _log_ratio(q: Array, k: int, n: int) -> Array:
    """Logarithm of the integral in C(q)."""
    with np.errstate(divide="ignore"):
        below = np.log(special.betainc(k + 1, n - k + 1, q))
    ratio: Array = special.betaln(k + 1, n - k + 1) + below - special.xlogy(k + 1, q) - special.xlog1py(n - k, -q)
    return ratio


def bound_at(bounds: Sequence[float], hits: int) -> float:
    """At which probability the next hit is a bet, after so many. bounds: as `hit_bounds` gives them."""
    place = int(np.searchsorted(HITS, hits + 1))
    return bounds[place] if place < len(bounds) else 1.0


def along(hits: NDArray[np.bool_], strata: NDArray[np.intp], bounds: Array, before: ArrayLike = 0) -> Array:
    """At which probabilities events are bet on along many streams of requests, (streams, requests, events).

    hits (streams, requests, events). strata (streams, requests): of each request, or (requests,). bounds (strata,
    events, len(HITS)): as `hit_bounds` gives them. before (streams, strata, events): hits in requests before these.
    """
    of = np.broadcast_to(strata, hits.shape[:2])
    seen = np.zeros(hits.shape, np.intp)
    known = np.broadcast_to(before, (len(hits), len(bounds), hits.shape[2]))
    for stratum in range(len(bounds)):
        mine = (of == stratum)[..., None]
        own = hits & mine
        earlier = np.cumsum(own, axis=1) - own + known[:, stratum, None]
        seen = np.where(mine, earlier, seen)
    padded = np.concatenate([bounds, np.ones((*bounds.shape[:2], 1))], axis=2)
    result: Array = padded[of[..., None], np.arange(hits.shape[2]), np.searchsorted(HITS, seen + 1)]
    return result
