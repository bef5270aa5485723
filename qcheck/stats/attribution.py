"""Which recorded variant do deviating answers resemble? A posterior with an explicit "none of these".

A request is answered inside the envelope with probability 1 − ε and by one deviation with probability ε. The prior is
uniform over a grid of ε, `PRIOR_NONE` on a deviation that nobody recorded, the rest uniform over the variants.

An answer's deviation y is taken from the centre of the references, in units of the probe's noise. Honest engines differ
from the centre by `NOISE` such units. A recorded variant's deviation d comes from one engine, the answer may come from
another: each is the variant's own deviation plus its engine's error, whose variance is s² = NOISE² + (LOOSENESS·|d|)²,
as a quantised model's kernels differ the more the coarser it is. Regression on a variable with error (Fuller 1987,
"Measurement Error Models", section 1.2) then says of the answer

    y = β·d + remainder,    β = 1 − s²/|d|²,    variance of the remainder = s²·(1 + β),

so that a variant which barely stands out of the noise explains a fraction of itself, and one that does not explains
nothing. A deviation that nobody recorded goes in no known direction and has a size that is unknown, log-uniform, but
the same in all answers.

Variants list different tokens. What a variant does not list of an answer counts as a deviation that nobody recorded
would explain it, given what it lists: hypotheses are compared on the same numbers, and no variant gains or loses by
the length of its lists.

Coordinates of one answer depend on each other: they have one scale in common, so that their mean square counts (a
multivariate Student t with `DEGREES` degrees of freedom), and each counts as `TEMPER` independent ones. That exponent
is chosen for the log score of the posterior (a power posterior; as the temperature of Guo et al. 2017, "On Calibration
of Modern Neural Networks", is): `python -m benchmarks attribution` tells how each exponent does on every lab model, and
how well stated probabilities hold. On a mixture of experts they are too high all the same.

This names a cause, it decides nothing: verdicts rest on the tail bets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["NONE", "TEMPER", "Attribution", "log_likelihoods"]

NONE = "none of these"
PRIOR_NONE = 0.5
FRACTIONS = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
NOISE = 0.5  # a probe's noise is the largest difference of two references on it, and the usual one added
LOOSENESS = 0.3
SIZES = np.geomspace(0.5, 40.0, 12)  # of a deviation that nobody recorded, in units of the noise
DEGREES = 8.0
TEMPER = 0.2  # less than is best on lab-tiny: a mixture of experts takes less

Array = NDArray[np.float64]


def log_likelihoods(
    answer: Array, recorded: Array, positions: NDArray[np.intp], temper: float = TEMPER
) -> tuple[float, Array]:
    """Of one answer: inside the envelope, and under each deviation, up to a constant that all have in common.

    answer: (n,) its deviations from the centre of the references in units of the noise. recorded: (variants, n) those
    of the variants, NaN where a variant does not list the token. positions: (n,) which position each belongs to. What
    the coordinates of a position share is left out: it is the normalisation constant, which every change moves.

    Returns
    -------
    The first, and (variants + 1, sizes): each variant's, alike for all `SIZES`, and last that of none of them by size.
    """
    deviations = np.vstack([recorded, answer])
    listed = ~np.isnan(deviations)
    at = (positions[:, None] == np.unique(positions)).astype(float)
    counts = listed @ at
    y, d = np.where(listed, answer, 0.0), np.where(listed, deviations, 0.0)
    free = listed.sum(axis=1) - (counts > 0).sum(axis=1)

    def mean_product(a: Array, b: Array) -> Array:
        shared = ((a @ at) * (b @ at) / np.maximum(counts, 1)).sum(axis=1)
        product: Array = ((a * b).sum(axis=1) - shared) / np.maximum(free, 1)
        return product

    def log_density(square: Array, variance: Array) -> Array:
        density: Array = -0.5 * (n * np.log(variance) + (DEGREES + n) * np.log1p(n * square / (DEGREES * variance)))
        return density

    # Rows are the coordinates that a variant lists, the last one all; so the answer itself stands there as d.
    yy, yd, dd = mean_product(y, y)[:, None], mean_product(y, d)[:, None], mean_product(d, d)[:, None]
    n = temper * free[:, None]
    inside = log_density(yy, np.full_like(yy, NOISE**2))[-1, 0]
    unknown = log_density(yy, NOISE**2 + SIZES**2)
    elsewhere = special.logsumexp(unknown[-1]) - special.logsumexp(unknown, axis=1, keepdims=True)
    error = NOISE**2 + LOOSENESS**2 * dd
    beta = np.clip(1 - error / np.maximum(dd, NOISE**2), 0.0, 1.0)
    known = log_density(yy - 2 * beta * yd + beta**2 * dd, error * (1 + beta)) + elsewhere
    return float(inside), np.vstack([np.broadcast_to(known[:-1], unknown[:-1].shape), unknown[-1]])


class Attribution:
    """Accumulates the posterior over `variants`."""

    def __init__(self, variants: tuple[str, ...]) -> None:
        self.variants = variants
        self._log_likelihood = np.zeros((len(variants) + 1, len(FRACTIONS), 1))

    def fold(self, inside: float, deviating: Array) -> None:
        """Fold one answer by its log-likelihoods: inside the envelope, and under each deviation.

        deviating: (variants + 1,) or (variants + 1, m), last that of none of the recorded variants. m: settings of
        what is unknown besides and the same in all answers, equally likely beforehand.
        """
        by_setting = deviating.reshape(len(self.variants) + 1, 1, -1)
        with np.errstate(divide="ignore"):
            honest, other = np.log1p(-FRACTIONS) + inside, np.log(FRACTIONS)
        self._log_likelihood = self._log_likelihood + np.logaddexp(honest[:, None], other[:, None] + by_setting)

    def posterior(self) -> dict[str, float]:
        """Probability of each variant and of `NONE`, given that something deviates; largest first."""
        if not self.variants:
            return {NONE: 1.0}
        evidence = special.logsumexp(self._log_likelihood, axis=(1, 2))
        prior = np.log([(1 - PRIOR_NONE) / len(self.variants)] * len(self.variants) + [PRIOR_NONE])
        probabilities = special.softmax(evidence + prior)
        pairs = zip((*self.variants, NONE), (float(p) for p in probabilities), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
