"""Which recorded variant do deviating answers resemble? A posterior with an explicit "none of these".

Model. An answer comes from the honest envelope with probability 1 − ε and from one deviation with probability ε; a
uniform prior over a grid of ε and over the deviations, `PRIOR_NONE` on none of the recorded ones. Given variant j the
deviation vector is Gaussian around its recorded deviation with a scale that allows a fifth of the variant's own size
beside the noise; given none of them it is Gaussian around zero with an unknown, log-uniform scale. Coordinates of one
answer are dependent, so its log-likelihood counts as that of at most `EFFECTIVE` independent coordinates.

This names a cause, it decides nothing: verdicts rest on the tail bets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["NONE", "Attribution"]

NONE = "none of these"
PRIOR_NONE = 0.2
EFFECTIVE = 6.0
LOOSENESS = 0.2
FRACTIONS = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
SCALES = np.geomspace(1.0, 300.0, 12)  # of "none of these", in multiples of the noise


class Attribution:
    """Accumulates the posterior over `variants`; `noise` is the honest rms deviation in nats."""

    def __init__(self, variants: tuple[str, ...], noise: float) -> None:
        self.variants = variants
        self._noise = max(noise, 1e-6)
        self._log_likelihood = np.zeros((len(variants) + 1, len(FRACTIONS)))

    def update(self, deviations: NDArray[np.float64]) -> None:
        """Fold one answer. deviations: (1 + variants, n) nats, the answer's first; n = 0 says nothing."""
        n = deviations.shape[1]
        if n == 0 or not self.variants:
            return
        weight = min(EFFECTIVE, n) / n
        answer, recorded = deviations[0], deviations[1:]

        def log_density(square: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
            density: NDArray[np.float64] = -0.5 * weight * (square / scale**2 + n * np.log(scale**2))
            return density

        honest = log_density(np.array([(answer**2).sum()]), np.array([self._noise]))[0]
        own = LOOSENESS * np.sqrt((recorded**2).mean(axis=1))
        named = log_density(((answer - recorded) ** 2).sum(axis=1), np.hypot(self._noise, own))
        spread = log_density(np.full(len(SCALES), (answer**2).sum()), self._noise * SCALES)
        other = special.logsumexp(spread) - np.log(len(SCALES))
        self.fold(float(honest), np.append(named, other))

    def fold(self, honest: float, deviating: NDArray[np.float64]) -> None:
        """Fold one answer by its log-likelihoods: inside the envelope, and (variants + 1,) under each deviation.

        The last one is that of none of the recorded variants.
        """
        with np.errstate(divide="ignore"):
            inside, outside = np.log1p(-FRACTIONS) + honest, np.log(FRACTIONS) + deviating[:, None]
        self._log_likelihood += np.logaddexp(inside, outside)

    def posterior(self) -> dict[str, float]:
        """Probability of each variant and of `NONE`, given that something deviates; largest first."""
        if not self.variants:
            return {NONE: 1.0}
        evidence = special.logsumexp(self._log_likelihood, axis=1)
        prior = np.log([(1 - PRIOR_NONE) / len(self.variants)] * len(self.variants) + [PRIOR_NONE])
        probabilities = special.softmax(evidence + prior)
        pairs = zip((*self.variants, NONE), (float(p) for p in probabilities), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
