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
from scipy import special

__all__ = [
    "LAMBDAS",
    "LAMBDA_SHARES",
    "TailBets",
    "averaged",
    "averaged_log_e",
    "binomial_lower",
    "binomial_upper",
    "gains",
    "log_e_paths",
]

Array = NDArray[np.float64]

# A bet of λ is best where about a share λ of the requests shows the event: from one in a hundred to all of them.
LAMBDAS = (0.01, 0.05, 0.2, 0.7)
# Of an event's weight. Few events take long to add up, so that bets on them have most; where nearly all requests show
# the event two or three of them prove it in any case. Chosen on lab-tiny and half of its variants.
LAMBDA_SHARES = np.array([6, 4, 2, 1]) / 13


def binomial_upper(successes: int, trials: int, level: float) -> float:
    """Upper confidence bound of a proportion that fails with probability at most `level` (Clopper & Pearson 1934)."""
    if trials <= 0 or successes >= trials:
        return 1.0
    return float(special.betainccinv(successes + 1, trials - successes, level))


def binomial_lower(successes: int, trials: int, level: float) -> float:
    """Lower confidence bound of a proportion that fails with probability at most `level` (Clopper & Pearson 1934)."""
    if trials <= 0 or successes <= 0:
        return 0.0
    return float(special.betaincinv(successes, trials - successes + 1, level))


def gains(hits: NDArray[np.bool_], bounds: Array) -> Array:
    """What each bet adds to its log-wealth; hits and bounds (..., events), the result (..., events, lambdas)."""
    q = np.asarray(bounds, float)[..., None]
    if ((q <= 0) | (q > 1)).any():
        raise ValueError("bounds must lie in (0, 1]")
    lam = np.where(q < 1, LAMBDAS, 0.0)  # against a bound of 1 a bet can only lose
    won, lost = np.log(1 - lam + lam / q), np.log1p(-lam)
    return np.where(np.asarray(hits, bool)[..., None], won, lost)


def averaged(wealth: Array, weights: Array, shares: Array) -> Array:
    """Logarithm of the weighted average over the last two axes (events, bets); the rest of the weight counts 1.

    weights: (events,). shares: (bets,) of an event's weight, summing to 1.
    """
    with np.errstate(divide="ignore"):  # a weight of nothing
        terms = wealth.reshape(*wealth.shape[:-2], -1) + np.log(np.outer(weights, shares)).ravel()
        cash = np.log(max(0.0, 1.0 - weights.sum()))
    top = np.maximum(terms.max(axis=-1), cash)
    result: Array = top + np.log(np.exp(terms - top[..., None]).sum(axis=-1) + np.exp(cash - top))
    return result


def _checked(weights: Sequence[float]) -> Array:
    row = np.asarray(weights, float)
    if row.ndim != 1 or (row < 0).any() or row.sum() > 1 + 1e-9:
        raise ValueError("weights must be a row of non-negative numbers that sum to at most 1")
    return row


def averaged_log_e(log_e: Sequence[float], weights: Sequence[float]) -> float:
    """Natural logarithm of the weighted average of e-values given by theirs.

    weights: one each, summing to at most 1. Where all e-processes are test supermartingales of the same filtration, so
    is their average (Vovk & Wang 2021, section 3), in whatever order and however often each is folded.
    """
    return float(special.logsumexp(np.asarray(log_e, float), b=_checked(weights)))


def log_e_paths(
    hits: NDArray[np.bool_],
    bounds: Array,
    weights: Sequence[float],
    wealth: Array | None = None,
) -> tuple[Array, Array]:
    """What `TailBets` says after every request of many streams at once.

    hits (..., requests, events), bounds broadcast against them. wealth: what an earlier call returned, to go on from.

    Returns the natural logarithm of the e-value after each request (..., requests), and the log-wealth of every bet
    (..., events, lambdas) after the last.
    """
    gained = gains(hits, np.broadcast_to(bounds, np.shape(hits)))
    path = np.cumsum(gained, axis=-3)
    if wealth is not None:
        path += wealth[..., None, :, :]
    return averaged(path, _checked(weights), LAMBDA_SHARES), path[..., -1, :, :]


@dataclass(slots=True)
class TailBets:
    """A weighted average of tail-bet products, one row per tail event, one column per λ.

    weights: of each tail event, summing to at most 1; a λ gets its share (`LAMBDA_SHARES`) of its event's weight.
    """

    weights: Sequence[float]
    requests: int = 0
    _lost: Array = field(init=False)  # did no request show anything
    _won: Array = field(init=False)  # by those that did

    def __post_init__(self) -> None:
        self._lost, self._won = np.zeros((2, len(_checked(self.weights)), len(LAMBDAS)))

    def update(self, hits: NDArray[np.bool_] | Sequence[bool], bounds: Sequence[float]) -> float:
        """Fold one request; returns `log_e`.

        hits (events,) says which tail events it shows, bounds (events,) their null probabilities q in (0, 1]. The
        bounds may differ from request to request, as long as they are fixed before the answer is seen.
        """
        if len(hits) != len(self.weights) or len(bounds) != len(self.weights):
            raise ValueError("hits and bounds must be rows like the weights")
        q = np.asarray(bounds, float)
        missed = gains(np.zeros(len(q), bool), q)
        self._lost += missed
        self._won += gains(np.asarray(hits, bool), q) - missed
        self.requests += 1
        return self.log_e

    def give_back(self) -> None:
        """Forget all hits so far, as if those requests had shown nothing."""
        self._won[:] = 0.0

    @property
    def log_e(self) -> float:
        """Natural logarithm of the averaged e-value so far; 0 before the first request.

        Weight that no event holds stays in cash: it counts 1.
        """
        weights = np.asarray(self.weights, float)
        return float(averaged(self._lost + self._won, weights, LAMBDA_SHARES)) if self.requests else 0.0
