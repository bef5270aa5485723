"""How far one top-k list of log-probabilities lies from another, coordinate by coordinate.

Arrays run over a common universe of tokens; NaN means "not listed". A list also has a floor, its smallest listed
log-probability: a token that it does not list has at most that. All logarithms are natural.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["deviation", "direction", "partition_kl", "projections", "rms"]

Array = NDArray[np.float64]


def deviation(x: Array, x_floor: Array | float, y: Array, y_floor: Array | float) -> Array:
    """x − y where both are listed, else the smallest deviation that truncation leaves possible.

    Where only x is listed, y is at most its floor, so the deviation is at least max(0, x − y_floor); where only y
    is listed, at most min(0, x_floor − y); where neither is, 0. So a provider that lists less never looks further
    away. Arrays broadcast; floors broadcast against them without the token axis expanded (shape (..., 1)).

    Returns
    -------
    Deviations in nats, shape of the broadcast.
    """
    x, y = np.broadcast_arrays(x, y)
    x_known, y_known = ~np.isnan(x), ~np.isnan(y)
    left = np.where(x_known, x, np.fmin(x_floor, y))
    right = np.where(y_known, y, np.fmin(y_floor, x))
    return np.where(x_known | y_known, left - right, 0.0)


def rms(deviations: Array, weights: Array) -> Array:
    """Root mean square over the last axis; `weights` (0 or 1) choose the coordinates. 0 where there are none."""
    count = weights.sum(axis=-1)
    total = (weights * deviations**2).sum(axis=-1)
    result: Array = np.sqrt(np.divide(total, count, out=np.zeros_like(total), where=count > 0))
    return result


def direction(deviations: Array, weights: Array, positions: NDArray[np.intp]) -> Array:
    """The deviation without what all tokens of a position share, so that only its direction is left.

    A common offset within one position is the normalisation constant, which every change of the model moves. The
    last axis runs over coordinates, `positions` (n,) says which position each belongs to, `weights` (0 or 1)
    broadcasts; coordinates of weight 0 become 0. A position with a single coordinate has no direction.
    """
    deviations, weights = np.broadcast_arrays(deviations, weights)
    member = positions[:, None] == np.unique(positions)[None, :]
    count = weights @ member
    mean = np.divide((weights * deviations) @ member, count, out=np.zeros_like(count), where=count > 0)
    result: Array = weights * (deviations - mean @ member.T)
    return result


def projections(candidates: Array, variants: Array) -> Array:
    """How much of a recorded deviation an answer shows: ⟨c, v⟩ / ⟨v, v⟩ over the last axis, which is 1 for v itself.

    Shapes broadcast. Where the recorded deviation vanishes there is nothing to show: 0.
    """
    inner = (candidates * variants).sum(axis=-1)
    norm = (variants**2).sum(axis=-1)
    result: Array = np.divide(inner, norm, out=np.zeros_like(inner), where=norm > 0)
    return result


def partition_kl(p: Array, q: Array) -> float:
    """KL divergence of q from p, in nats, on the coarsest partition that both lists allow.

    p, q: shape (tokens,), NaN where unlisted. Tokens listed by both are cells of their own, all others share one
    cell. By the data-processing inequality this is a lower bound of the divergence over the full vocabulary.
    """
    both = ~(np.isnan(p) | np.isnan(q))
    if not both.any():
        return 0.0
    a, b = np.exp(p[both]), np.exp(q[both])
    kl = float((a * (p[both] - q[both])).sum())
    rest_a, rest_b = max(1.0 - float(a.sum()), 0.0), max(1.0 - float(b.sum()), 1e-9)
    if rest_a > 0:
        kl += rest_a * float(np.log(rest_a / rest_b))
    return max(kl, 0.0)
