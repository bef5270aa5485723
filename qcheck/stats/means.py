"""Confidence sequences for the running mean of bounded random variables, and a sequential test of non-inferiority.

Let X₁, X₂, … lie in [0, 1], μᵢ be the conditional mean of Xᵢ given what came before, and μ̄ₜ the average of μ₁ … μₜ.
For a fixed β > 0 the product of (1 + βXᵢ)/(1 + βμᵢ) is a non-negative martingale that starts at 1. The logarithm is
concave, so the product of 1 + βμᵢ is at most (1 + βμ̄ₜ)ᵗ, and

    eₜ(m) = ∏ (1 + βXᵢ) / (1 + βm)ᵗ = ∏ (1 + λ(Xᵢ − m))   with   λ = β/(1 + βm)

is never above that martingale at m = μ̄ₜ. This is a capital process of Waudby-Smith & Ramdas 2024, "Estimating means of
bounded random variables by betting", JRSS-B 86:1, section 4. The martingale does not depend on m, hence averages over
several β, with weights fixed beforehand, bound μ̄ₜ at all times together by one use of Ville's inequality, however the
conditional means move. Half of α on either side is their hedged capital process (Theorem 3, θ = 1/2); bets that are
fixed and averaged are their diversified Kelly bets. Their predictable plug-in bets are left out on purpose: they shrink
over time and so weigh early requests more. They bound a mean that does not change, but not the running one.

For a share of 0/1 outcomes that is tested at small values use `qcheck.stats.fraction`, whose bets are tuned to it and
which needs the counts alone; its bounds hold at any fixed value. Use these for values in between, for paired
differences, and where the bound has to follow a mean that moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MeanBets", "NonInferiority"]

Array = NDArray[np.float64]

# β: from bets that pay over ten thousands of requests to bets on a mean that is hundreds of times the tested one.
BETS = np.geomspace(2.0**-6, 2.0**9, 16)
_HALVINGS = 40


def _log_e(gains: Array, requests: int, means: Array) -> Array:
    """Log of the averaged capital. gains: (..., bets); means: the leading shape, or broadcasting to it."""
    capital = np.logaddexp.reduce(gains - requests * np.log1p(BETS * means[..., None]), axis=-1)
    average: Array = capital - np.log(len(BETS))
    return average


@dataclass(slots=True)
class MeanBets:
    """Bets on both sides of a running mean, for one stream of requests or for many side by side.

    What is kept are sums of log(1 + βX) and log(1 + β(1 − X)), enough for every tested mean.
    """

    requests: int = field(default=0, init=False)
    _gains: Array = field(default_factory=lambda: np.zeros((2, len(BETS))), init=False)

    def update(self, values: ArrayLike) -> None:
        """Fold requests in their order. values: (..., requests) in [0, 1]; the leading axes are streams."""
        x = np.atleast_1d(np.asarray(values, float))
        if not ((x >= 0) & (x <= 1)).all():
            raise ValueError("values must lie in [0, 1]: rescale them by their known bounds first")
        begun = self._gains.shape[:-2]
        if self.requests and x.shape[:-1] != begun:
            raise ValueError(f"values of {x.shape[:-1]} streams do not continue the {begun} that were begun")
        both = np.stack([x, 1.0 - x], axis=-2)
        self._gains = self._gains + np.stack([np.log1p(beta * both).sum(axis=-1) for beta in BETS], axis=-1)
        self.requests += x.shape[-1]

    def log_e_above(self, means: ArrayLike) -> Array:
        """Log e-values against "the running mean is at most m", for each m of `means`.

        means: any shape, in [0, 1]. Returns (..., *means.shape), the leading axes being the streams. Large values are
        evidence that the running mean lies above m.
        """
        return self._over(self._gains[..., 0, :], np.asarray(means, float))

    def log_e_below(self, means: ArrayLike) -> Array:
        """Log e-values against "the running mean is at least m"; shapes as in `log_e_above`."""
        return self._over(self._gains[..., 1, :], 1.0 - np.asarray(means, float))

    def _over(self, gains: Array, means: Array) -> Array:
        if ((means < 0) | (means > 1)).any():
            raise ValueError("means must lie in [0, 1]")
        return _log_e(gains.reshape(*gains.shape[:-1], *(1,) * means.ndim, len(BETS)), self.requests, means)

    def lower(self, alpha: float) -> Array:
        """Lower bounds of the running means so far, one a stream.

        P(the running mean is ever below its bound) ≤ alpha in each stream. As the running mean moves, bounds of earlier
        times do not bind it: they are not to be intersected.
        """
        return self._bound(self._gains[..., 0, :], alpha)

    def upper(self, alpha: float) -> Array:
        """Upper bounds of the running means so far, one a stream, with error at most alpha as in `lower`."""
        return 1.0 - self._bound(self._gains[..., 1, :], alpha)

    def interval(self, alpha: float) -> tuple[Array, Array]:
        """Lower and upper bounds that all hold together with probability at least 1 − alpha."""
        return self.lower(alpha / 2), self.upper(alpha / 2)

    def _bound(self, gains: Array, alpha: float) -> Array:
        """The largest mean that is rejected, 0 where none is; e-values fall with the tested mean."""
        low, high = np.zeros(gains.shape[:-1]), np.ones(gains.shape[:-1])
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            rejected = _log_e(gains, self.requests, middle) >= -np.log(alpha)
            low, high = np.where(rejected, middle, low), np.where(rejected, high, middle)
        return low


@dataclass(slots=True)
class NonInferiority:
    """Sequential test of H₀: on average over the items asked, the provider scores lower by at least `margin`.

    Each item is graded from 0 to 1 for the provider and for the reference; d is the first grade minus the second, so
    that d is -1, 0 or 1 where grades are right or wrong. margin: in (0, 1); 0.05 is five points. The test bets on
    (d + 1)/2, whose running mean is at most (1 − margin)/2 under H₀. The chance that the e-value is 1/α or more at any
    time at which H₀ holds is at most α. Rejecting H₀ says "not worse by the margin", never "as good".

    Richter, He, Minervini & Kusner 2025, "An Auditing Test to Detect Behavioral Shift in Language Models" (ICLR), bet
    on a shift of behaviour with a tolerance, too, and learn what to bet on; here the grade is given, and answers are
    paired item by item, which takes the items' own variance out.
    """

    margin: float
    _bets: MeanBets = field(default_factory=MeanBets, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ValueError("margin must lie strictly between 0 and 1: 0.05 is five points")

    def update(self, differences: ArrayLike) -> Array:
        """Fold paired differences in [-1, 1], (..., items), leading axes being streams; returns `log_e`."""
        self._bets.update((np.asarray(differences, float) + 1.0) / 2.0)
        return self.log_e

    @property
    def log_e(self) -> Array:
        """Log e-values against H₀, one a stream."""
        return self._bets.log_e_above((1.0 - self.margin) / 2.0)

    def difference(self, alpha: float) -> tuple[Array, Array]:
        """Bounds of the mean difference in points, in [-1, 1], that hold at all times together at level 1 − alpha."""
        low, high = self._bets.interval(alpha)
        return 2.0 * low - 1.0, 2.0 * high - 1.0
