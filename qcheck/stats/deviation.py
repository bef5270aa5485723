"""How far one top-k list of log-probabilities lies from another, coordinate by coordinate.

Arrays run over a common universe of tokens; NaN means "not listed". A list also has a floor, its smallest listed
log-probability: a token that it does not list has at most that. All logarithms are natural.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = [
    "by_position",
    "centred",
    "deviation",
    "least_kl",
    "matched_filters",
    "pair_sums",
    "partition_kl",
    "rms",
    "root_mean",
    "spread",
]

NOTHING = 1e-9  # of a squared deviation: what cancellation may leave of a mere offset

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
    x_known, y_known = ~np.isnan(x), ~np.isnan(y)
    left = np.where(x_known, x, np.fmin(x_floor, y))
    right = np.where(y_known, y, np.fmin(y_floor, x))
    return np.where(x_known | y_known, left - right, 0.0)


def root_mean(total: Array, count: Array) -> Array:
    """Square roots of `total` / `count`; 0 where nothing was counted."""
    result: Array = np.sqrt(np.divide(total, count, out=np.zeros_like(total), where=count > 0))
    return result


def rms(deviations: Array, weights: Array) -> Array:
    """Root mean square over the last axis; `weights` (0 or 1) choose the coordinates. 0 where there are none."""
    return root_mean((weights * deviations**2).sum(axis=-1), weights.sum(axis=-1))


def by_position(values: Array, positions: NDArray[np.intp]) -> Array:
    """(..., positions): sums of (..., n) values over the coordinates of each position. positions (n,): rising."""
    if not len(positions):
        return values
    changes = (positions[1:] != positions[:-1]).nonzero()[0] + 1
    result: Array = np.add.reduceat(values, np.concatenate([[0], changes]), axis=-1)
    return result


def centred(values: Array, known: NDArray[np.bool_], positions: NDArray[np.intp]) -> Array:
    """(..., n) values less the mean of those that are known at their position, and 0 where they are not.

    What the tokens of a position have in common is the normalisation constant, or the half step by which values that
    were cut off lie too low. positions: as `by_position` takes them.
    """
    kept = np.where(known, values, 0.0)
    means = by_position(kept, positions) / np.maximum(by_position(known.astype(float), positions), 1)
    places = np.searchsorted(np.unique(positions), positions)
    return np.where(known, kept - means[..., places], 0.0)


def matched_filters(
    candidate: Array,
    references: Array,
    variants: Array,
    positions: NDArray[np.intp],
    factor: float | Array = 1.0,
    share: float = 1.0,
) -> Array:
    """How much better each variant's recorded deviation explains an answer than no deviation does, for every pair of
    references.

    The answer's deviation c is taken from reference a, the variant's deviation d from reference b, on the
    coordinates that all four list. Both lose what the tokens of a position share (a common offset is the
    normalisation constant, which every change of the model moves); then ⟨c, d⟩ − `share`·⟨d, d⟩/2. Times
    `share`, and divided by the variance of independent Gaussian noise, that is the log-likelihood ratio of "such a
    share of the variant's deviation" to "the reference", the filter matched to it in such noise (Turin 1960, "An
    introduction to matched filters", IRE Trans. Inf. Theory 6:311). A variant that hardly deviates explains hardly
    anything, whichever way the noise points.

    Parameters
    ----------
    candidate (n,), or (r, n) where it is another one beside each reference, or (answers, r, n); references (r, n),
    variants (v, n): log-probabilities in nats, NaN where unlisted.
    positions (n,): which position each coordinate belongs to, rising from 0.
    factor: what c is multiplied by where it points the variant's way, so that a larger factor never gives less; one,
    or one for each of the answers.
    share: of d, how much is expected in c.

    Returns
    -------
    (positions, r, r, v) in nats², indexed [position, a, b, variant], or (answers, positions, r, r, v); 0 where there is
    nothing to show: fewer than two common coordinates at the position, or a recorded deviation that is a mere offset
    there.
    """
    listed, ref_listed, var_listed = ~np.isnan(candidate), ~np.isnan(references), ~np.isnan(variants)
    left_known, right_known = ref_listed & listed, ref_listed[:, None] & var_listed
    left = np.where(left_known, candidate - references, 0.0)
    right = np.where(right_known, variants - references[:, None], 0.0)
    shape = (*left.shape[:-1], len(references), len(variants))
    factors = np.reshape(factor, (-1, 1, 1, 1)) if np.ndim(factor) else factor
    found = np.zeros((int(positions[-1]) + 1 if len(positions) else 0, *shape))
    for position, filters in enumerate(found):
        at = np.flatnonzero(positions == position)
        c, d, one_c, one_d = (
            x[..., at].reshape(-1, len(at)) for x in (left, right, left_known.astype(float), right_known.astype(float))
        )
        # Sums over the coordinates that a pair has in common: products of what depends on a and what depends on b.
        count, sum_c, sum_d, sum_cd, sum_dd = (
            (x @ y.T).reshape(shape) for x, y in ((one_c, one_d), (c, one_d), (one_c, d), (c, d), (one_c, d * d))
        )
        mean = np.divide(sum_d, count, out=np.zeros(shape), where=count > 1)
        norm = sum_dd - sum_d * mean
        product = sum_cd - sum_c * mean
        gains = np.where(product > 0, factors, 1.0) * product - share * norm / 2
        filters[:] = np.where((count > 1) & (norm > NOTHING * sum_dd), gains, 0.0)
    return np.moveaxis(found, 0, -4)


def spread(values: Array, floors: Array) -> float:
    """The largest rms deviation, in nats, between two rows of (r, n) log-probabilities (see `pair_sums`)."""
    total, count = pair_sums(values, floors, np.zeros(values.shape[1], int))
    return float(root_mean(total, count).max(initial=0.0))


def pair_sums(values: Array, floors: Array, positions: NDArray[np.intp]) -> tuple[Array, Array]:
    """(r, r, positions) squared deviations, nats², between each two rows of (r, n) log-probabilities, each with its
    floors, summed over the coordinates of each position, and how many coordinates these are.

    A row without a floor at a coordinate has no list there: what another row lists of it is not compared.
    """
    present = ~np.isnan(floors)
    listed = ~np.isnan(values)
    both = present[:, None] & present & (listed[:, None] | listed)
    deviations = deviation(values[:, None], floors[:, None], values, floors)
    return by_position(np.where(both, deviations**2, 0.0), positions), by_position(both.astype(float), positions)


def partition_kl(p: Array, q: Array, positions: NDArray[np.intp]) -> Array:
    """(..., positions): KL divergence of q from p, in nats, on the coarsest partition that both lists allow.

    p, q (..., n): broadcast, NaN where unlisted; positions (n,): rising. Tokens of a position listed by both are cells
    of their own, all others share one cell; 0 where none is. By the data-processing inequality this is a lower bound
    of the divergence over the full vocabulary, but for what rounding does to the lists (`least_kl`).
    """
    both = ~(np.isnan(p) | np.isnan(q))
    a, b = np.where(both, np.exp(p), 0.0), np.where(both, np.exp(q), 0.0)
    listed = np.where(both, a * (p - q), 0.0)
    kl, mass_a, mass_b, common = (by_position(x, positions) for x in (listed, a, b, both.astype(float)))
    rest_a, rest_b = np.maximum(1.0 - mass_a, 0.0), np.maximum(1.0 - mass_b, 1e-9)
    kl = kl + special.xlogy(rest_a, rest_a / rest_b)
    result: Array = np.where(common > 0, np.maximum(kl, 0.0), 0.0)
    return result


def least_kl(p: Array, q: Array, positions: NDArray[np.intp], within: float) -> Array:
    """(..., positions): the least that `partition_kl` may have been where values of p and of q together may have been
    moved by up to `within` nats, in nats.

    As p and q sum to 1, KL is the sum over the cells of p log(p/q) − p + q, none of which is negative, and which is
    p (d − 1 + exp(−d)) at d = log p − log q: the smaller the nearer d is to 0. So listed cells count with |d| less
    `within`, and the rest with the two masses that lie nearest to each other of those it may have.
    """
    both = ~(np.isnan(p) | np.isnan(q))
    off = np.where(both, p - q, 0.0)
    off = np.sign(off) * np.maximum(np.abs(off) - within, 0.0)
    a, b = np.where(both, np.exp(p), 0.0), np.where(both, np.exp(q), 0.0)
    terms = np.exp(-within) * a * (off + np.expm1(-off))
    kl, mass_a, mass_b, common = (by_position(x, positions) for x in (terms, a, b, both.astype(float)))
    rest_a, rest_b = np.maximum(1.0 - mass_a, 0.0), np.maximum(1.0 - mass_b, 1e-9)
    more = np.where(rest_a > rest_b, np.expm1(within), -np.expm1(within))
    rest_a, rest_b = np.maximum(rest_a - more * mass_a, 0.0), np.maximum(rest_b + more * mass_b, 1e-9)
    meet = (rest_a - rest_b) * more < 0
    kl = kl + np.where(meet, 0.0, special.xlogy(rest_a, rest_a / rest_b) - rest_a + rest_b)
    result: Array = np.where(common > 0, np.maximum(kl, 0.0), 0.0)
    return result
