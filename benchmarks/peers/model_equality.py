"""Model Equality Testing: Gao, Liang & Guestrin 2025, "Model Equality Testing: Which Model Is This API Serving?", ICLR.

arXiv 2410.20247; read with the authors' code, github.com/i-gao/model-equality-testing at fd2ee24 (`src/tests.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.answers import Samples
from qcheck.stats.two_sample import hamming_kernel, mmd_squared

__all__ = ["ModelEqualityTesting"]


@dataclass(frozen=True, slots=True)
class ModelEqualityTesting:
    """Maximum mean discrepancy with a Hamming kernel, averaged over prompts.

    The authors take some ten samples of up to 50 tokens at T = 1 to each of 25 prompts, drawn at random, and permute.
    Where there is one sample to a prompt the biased estimate is taken, as the unbiased one is not defined. The kernel
    takes 8 bytes × streams × prompts × (samples of both)², so streams are best given in blocks.
    """

    tokens_per_request: int = 50
    name: ClassVar[str] = "Model Equality Testing"

    def scores(self, reference: Samples, candidate: Samples, rng: np.random.Generator) -> NDArray[np.float64]:
        """One a stream: the squared discrepancy."""
        x, y = (samples.first(self.tokens_per_request).tokens for samples in (candidate, reference))
        streams = np.broadcast_shapes(x.shape[:-3], y.shape[:-3])
        x, y = (np.broadcast_to(tokens, (*streams, *tokens.shape[-3:])) for tokens in (x, y))
        labels = np.arange(x.shape[-2] + y.shape[-2]) < x.shape[-2]
        biased = min(x.shape[-2], y.shape[-2]) < 2
        by_prompt = mmd_squared(hamming_kernel(np.concatenate([x, y], axis=-2)), labels, biased=biased)
        result: NDArray[np.float64] = by_prompt.mean(axis=-1)
        return result
