"""Tail bets: evidence that tail events come more often than the reference envelope allows.

A tail event is "this request's score exceeds t". Under the null its conditional probability is at most q, whatever
came before, so e = 1 − λ + λ·1{score > t}/q has conditional mean at most 1 for every λ in [0, 1], and the running
product is a test supermartingale: P(it ever reaches 1/α) ≤ α (Ville). Products for several (t, λ) are averaged with
weights fixed beforehand, which again gives a test supermartingale (Waudby-Smith & Ramdas 2024, "Estimating means of
bounded random variables by betting", JRSS-B 86:1; Vovk & Wang 2021, "E-values", Ann. Statist. 49:1736).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["TailBets", "binomial_lower", "binomial_upper"]

LAMBDAS = (0.03, 0.12, 0.4, 0.9)


def binomial_upper(successes: int, trials: int, level: float) -> float:
    """Upper confidence bound of a proportion that fails with probability at most `level` (Clopper & Pearson 1934)."""
    if trials <= 0 or successes >= trials:
        return 1.0
    return float(stats.beta.isf(level, successes + 1, trials - successes))


def binomial_lower(successes: int, trials: int, level: float) -> float:
    """Lower confidence bound of a proportion that fails with probability at most `level` (Clopper & Pearson 1934)."""
    if trials <= 0 or successes <= 0:
        return 0.0
    return float(stats.beta.ppf(level, successes, trials - successes + 1))


@dataclass(slots=True)
class TailBets:
    """A weighted average of tail-bet products, one row per tail event, one column per λ.

    weights: of each tail event, summing to at most 1; a λ gets an equal share of its event's weight.
    """

    weights: Sequence[float]
    lambdas: Sequence[float] = LAMBDAS
    requests: int = 0
    _wealth: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, float)
        if weights.ndim != 1 or (weights < 0).any() or weights.sum() > 1 + 1e-9:
            raise ValueError("weights must be a row of non-negative numbers that sum to at most 1")
        self._wealth = np.zeros((len(weights), len(self.lambdas)))

    def update(self, hits: NDArray[np.bool_] | Sequence[bool], bounds: Sequence[float]) -> float:
        """Fold one request; returns `log_e`.

        hits (events,) says which tail events it shows, bounds (events,) their null probabilities q in (0, 1]. The
        bounds may differ from request to request, as long as they are fixed before the answer is seen.
        """
        q = np.asarray(bounds, float)[:, None]
        if q.shape != (len(self.weights), 1) or ((q <= 0) | (q > 1)).any():
            raise ValueError("bounds must be a row like the weights, in (0, 1]")
        lam = np.where(q < 1, self.lambdas, 0.0)  # against a bound of 1 a bet can only lose
        hit = np.asarray(hits, bool)[:, None]
        self._wealth += np.log(np.where(hit, 1 - lam + lam / q, 1 - lam))
        self.requests += 1
        return self.log_e

    @property
    def log_e(self) -> float:
        """Natural logarithm of the averaged e-value so far; 0 before the first request.

        Weight that no event holds stays in cash: it counts 1.
        """
        weights = np.asarray(self.weights, float)
        shares = np.append(np.repeat(weights / len(self.lambdas), len(self.lambdas)), max(0.0, 1.0 - weights.sum()))
        with np.errstate(divide="ignore"):  # a weight of nothing
            terms = np.append(self._wealth.ravel(), 0.0) + np.log(shares)
        return float(np.logaddexp.reduce(terms)) if self.requests else 0.0
