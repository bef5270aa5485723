"""Token-DiFR: Karvonen et al. 2025, "DiFR: Inference Verification Despite Nondeterminism".

arXiv 2511.20621; read with the authors' code, github.com/adamkarvonen/difr at eecde35 (`token_difr_vllm.py`,
`plot_token_difr_bar_plot.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.answers import ScoredTokens

__all__ = ["TokenDifr"]

CLIP_QUANTILE = 0.999  # of the reference's own margins


@dataclass(frozen=True, slots=True)
class TokenDifr:
    """Mean over tokens of the margin by which the reference prefers another token, or of whether it does.

    Margins are clipped at the 99.9 % quantile of honest ones, as the authors do; not where that is 0, as honest answers
    hardly ever differ there and all margins would be lost. `reference` holds margins of honest answers and serves for
    that alone. The authors also cover sampling with a shared seed, whose noise is added to both; here answers are
    greedy, which they advise where it is unknown how a provider samples.
    """

    statistic: Literal["margin", "mismatch"] = "margin"
    tokens_per_request: int = 32

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"Token-DiFR {self.statistic}"

    def scores(self, reference: ScoredTokens, candidate: ScoredTokens, rng: np.random.Generator) -> NDArray[np.float64]:
        """One a stream: nats, or a share of tokens; 0 where nothing could be scored."""
        margins = candidate.margins[..., : self.tokens_per_request]
        scored = ~np.isnan(margins)
        if self.statistic == "mismatch":
            values = (margins > 0).astype(float)
        else:
            values = np.nan_to_num(np.minimum(margins, _clip(reference)), nan=0.0)
        axes = (-3, -2, -1)
        result: NDArray[np.float64] = values.sum(axis=axes) / np.maximum(scored.sum(axis=axes), 1)
        return result


def _clip(honest: ScoredTokens) -> float:
    quantile = float(np.nanquantile(honest.margins, CLIP_QUANTILE))
    return quantile if quantile > 0 else np.inf
