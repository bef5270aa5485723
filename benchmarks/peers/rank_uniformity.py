"""Rank-based uniformity test: Zhu et al. 2025, "Auditing Black-Box LLM APIs with a Rank-Based Uniformity Test".

arXiv 2506.06975.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.answers import PADDING, Samples
from qcheck.stats.two_sample import rank_uniformity

__all__ = ["RankUniformity"]


@dataclass(frozen=True, slots=True)
class RankUniformity:
    """Cramér-von Mises distance from uniformity of the responses' ranks among the reference's own responses.

    A response's score is the mean logarithm of its tokens' ranks under the reference. The authors ask each of 100
    prompts once, at T = 0.5 and 30 tokens, beside 100 samples of the reference. Of several responses to a prompt the
    first is taken, as the test is of one to each. Written from the paper's description, without its code.
    """

    tokens_per_request: int = 30
    name: ClassVar[str] = "rank uniformity"

    def scores(self, reference: Samples, candidate: Samples, rng: np.random.Generator) -> NDArray[np.float64]:
        """One a stream: the statistic."""
        own, others = (_mean_log_rank(samples.first(self.tokens_per_request)) for samples in (candidate, reference))
        return rank_uniformity(own[..., 0], others, rng)[0]


def _mean_log_rank(samples: Samples) -> NDArray[np.float64]:
    there = samples.tokens != PADDING
    total = np.log(np.where(there, samples.ranks, 1)).sum(axis=-1)
    score: NDArray[np.float64] = total / np.maximum(there.sum(axis=-1), 1)
    return score
