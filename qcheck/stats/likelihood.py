"""Likelihood ratios against everything that the envelope allows: evidence from samples, without calibration.

One draw x falls into one of a few cells. The null is a *box* of distributions: all p with low ≤ p ≤ high, cell by cell.
Of these the one that a simple alternative q resembles most, in the sense of KL(q ‖ p), is p* = clip(κ q, low, high)
with κ such that it sums to 1. As the box is convex, moving from p* towards any other p of it cannot bring KL(q ‖ ·)
down, which says that E_p[q(x)/p*(x)] ≤ 1: q/p* is an e-value for the whole box, hence for every p in it and every
mixture of them, and of these the one that grows fastest under q (reverse information projection: Grünwald, de Heide &
Koolen 2024, "Safe testing", JRSS-B 86:1091; Larsson, Ramdas & Ruf 2025, "The numeraire e-variable", Ann. Statist.). For
boxes it is the clipped likelihood ratio of Huber (1965, "A robust version of the probability ratio test", Ann. Math.
Statist. 36:1753). Where q lies within the box the ratio is 1, and nothing is lost.

Contamination. Where a share s of the draws may come from anything, p' = (1 − s) p + s·anything lies in the box
[(1 − s) low, (1 − s) high + s]. So the same ratio tests "at most a share s comes from outside the envelope"; where that
is rejected, s lies below the routing fraction (`contaminated`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcheck.stats.bets import averaged

__all__ = ["EPSILONS", "LikelihoodBets", "contaminated", "likelihood_ratios", "log_e_paths"]

Array = NDArray[np.float64]

EPSILONS = (0.03, 0.1, 0.3, 0.95)  # shares of requests that are bet on; below 1, so that one answer cannot end a bet
EVEN = np.full(len(EPSILONS), 1 / len(EPSILONS))


def likelihood_ratios(q: ArrayLike, low: ArrayLike, high: ArrayLike) -> Array:
    """q/p*, what each cell is worth as evidence for q against all distributions of the box; 0 where q is 0.

    q, low, high: (..., cells), broadcasting; 0 ≤ low ≤ high, and q sums to at most 1. Raises ValueError where no
    distribution lies in the box, where q is positive and high is 0, and for what is not finite.
    """
    q, low, high = np.broadcast_arrays(*(np.asarray(a, float) for a in (q, low, high)))
    if not (np.isfinite(q).all() and np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("probabilities and their bounds must be finite")
    if (low > high).any() or (low < 0).any() or (low.sum(-1) > 1 + 1e-9).any() or (high.sum(-1) < 1 - 1e-9).any():
        raise ValueError("no distribution lies between low and high")
    if ((q > 0) & (high <= 0)).any():
        raise ValueError("the alternative must not go where the null cannot")
    with np.errstate(divide="ignore", invalid="ignore"):
        turns = np.concatenate([low / q, high / q], axis=-1)  # κ at which a cell leaves its bounds
    turns = np.sort(np.where(np.isfinite(turns), turns, 0.0), axis=-1)
    total = np.clip(turns[..., None] * q[..., None, :], low[..., None, :], high[..., None, :]).sum(axis=-1)
    # Between two turns the total is linear in κ. Where q has too few cells for it to reach 1, others take the rest.
    after = np.minimum((total < 1).sum(axis=-1, keepdims=True), turns.shape[-1] - 1)
    before = np.maximum(after - 1, 0)
    x0, x1 = np.take_along_axis(turns, before, -1), np.take_along_axis(turns, after, -1)
    y0, y1 = np.take_along_axis(total, before, -1), np.take_along_axis(total, after, -1)
    share = np.clip(np.divide(1 - y0, y1 - y0, out=np.ones_like(y0), where=y1 > y0), 0.0, 1.0)
    nearest = np.clip((x0 + share * (x1 - x0)) * q, low, high)
    ratios: Array = np.divide(q, nearest, out=np.zeros_like(q), where=q > 0)
    return ratios


def contaminated(low: ArrayLike, high: ArrayLike, share: ArrayLike) -> tuple[Array, Array]:
    """The box of all that has at most a `share` from outside the box [low, high]; shapes broadcast."""
    share = np.asarray(share, float)
    inside = 1.0 - share
    return inside * np.asarray(low, float), np.minimum(inside * np.asarray(high, float) + share, 1.0)


class LikelihoodBets:
    """Weighted averages of products of e = 1 − ε + ε·(likelihood ratio), over alternatives and ε.

    Each average is a test supermartingale, as one over a prior on which alternative answers which share ε of the
    requests, the rest being inside the envelope (method of mixtures; Wasserman, Ramdas & Balakrishnan 2020, "Universal
    inference", PNAS 117:16880).

    tests: how many nulls are tested at once. weights: of the alternatives, summing to at most 1; each ε gets an equal
    share.
    """

    def __init__(self, weights: ArrayLike, tests: int = 1) -> None:
        self._weights = np.asarray(weights, float)
        self._wealth = np.zeros((tests, len(self._weights), len(EPSILONS)))
        self.log_e = np.zeros(tests)

    def update(self, ratios: ArrayLike) -> Array:
        """Fold one request by its likelihood ratios, (tests, alternatives); returns `log_e`, (tests,)."""
        self._wealth += _gains(ratios)
        self.log_e = averaged(self._wealth, self._weights, EVEN)
        return self.log_e

    def epsilon(self, test: int = 0) -> float:
        """The ε whose bet on some alternative has grown most in a test."""
        return EPSILONS[int(self._wealth[test].max(axis=0).argmax())]


def log_e_paths(ratios: ArrayLike, weights: ArrayLike) -> Array:
    """What `LikelihoodBets` says after every request of many streams at once.

    ratios: (..., requests, alternatives). Returns the natural logarithm of the e-value, (..., requests).
    """
    return averaged(np.cumsum(_gains(ratios), axis=-3), np.asarray(weights, float), EVEN)


def _gains(ratios: ArrayLike) -> Array:
    """What each ε adds to the log-wealth of each alternative's bets: (..., alternatives, ε). Raises ValueError."""
    epsilons = np.array(EPSILONS)
    if not (np.asarray(ratios) >= 0).all() or np.isinf(ratios).any():
        raise ValueError("likelihood ratios must be finite and not negative")
    gains: Array = np.log1p(epsilons * (np.asarray(ratios, float)[..., None] - 1.0))
    return gains
