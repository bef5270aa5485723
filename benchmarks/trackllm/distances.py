"""Distances between top-k lists, in matrices: (a, tokens) against (b, tokens) gives (a, b).

Log-probabilities are in nats, NaN where unlisted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from qcheck.stats.deviation import deviation, partition_kl, rms

__all__ = ["kl_nats", "rms_nats", "total_variation"]

Array = NDArray[np.float64]


def kl_nats(p: Array, q: Array) -> Array:
    """KL divergence of each q from each p, on the partition that both lists allow: a lower bound."""
    return partition_kl(p[:, None], q, np.zeros(p.shape[-1], int))[..., 0]


def rms_nats(x: Array, y: Array) -> Array:
    """Root mean square deviation over the tokens that either lists; unlisted ones count as near as they can be."""
    left, right = x[:, None], y[None]
    floors = np.nanmin(x, axis=1)[:, None, None], np.nanmin(y, axis=1)[None, :, None]
    listed = ~np.isnan(left) | ~np.isnan(right)
    return rms(deviation(left, floors[0], right, floors[1]), listed.astype(float))


def total_variation(p: Array, q: Array) -> Array:
    """Half the sum of absolute differences of the listed probabilities; an unlisted token counts as 0.

    What is unlisted has at most the list's smallest probability, so a token that one list lacks puts this off by less
    than half of that.
    """
    distances: Array = cdist(np.nan_to_num(np.exp(p)), np.nan_to_num(np.exp(q)), "cityblock") / 2
    return distances
