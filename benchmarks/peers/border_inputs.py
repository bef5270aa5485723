"""Border inputs (B3IT): Chauvin et al. 2026, "Token-Efficient Change Detection in LLM APIs", ICML.

arXiv 2602.11083; read with the authors' code, github.com/timothee-chauvin/token-efficient-change-detection-llm-apis at
ad2f692 (`sampling/analyze_bi.py`, `b3it_demo/detection.py`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.answers import FirstTokens

__all__ = ["BorderInputs", "border_prompts"]


class BorderInputs:
    """Total variation distance between the tokens that both sent at T = 0, averaged over border prompts.

    The authors sample each prompt some ten times, and a border prompt is one to which the same endpoint gives more than
    one answer. Many deployments here always answer the same, so several reference deployments, or one, stand for the
    reference's distribution; the candidate's one answer to each of many prompts then gives the share of that
    distribution which it does not hit.
    """

    name: ClassVar[str] = "border inputs"
    tokens_per_request: ClassVar[int] = 1

    def scores(self, reference: FirstTokens, candidate: FirstTokens, rng: np.random.Generator) -> NDArray[np.float64]:
        """One a stream, from 0 (always the same) to 1."""
        gap = np.abs(_shares(reference) - _shares(candidate)).sum(axis=-1, dtype=float)
        result: NDArray[np.float64] = gap.mean(axis=-1) / 2
        return result


def border_prompts(reference: FirstTokens, count: int) -> NDArray[np.intp]:
    """The `count` prompts at which the reference's two most probable first tokens lie closest, nearest first.

    reference: (prompts, answers, ...). The authors take the prompts whose two most frequent answers are most balanced;
    its log-probabilities, which they have not, say the same of a reference that always answers the same.
    """
    mean = np.where(np.isnan(reference.logprobs), -np.inf, reference.logprobs).mean(axis=1)
    top = np.partition(mean, -2, axis=-1)
    return np.argsort(top[:, -1] - top[:, -2], kind="stable")[:count]


def _shares(answers: FirstTokens) -> NDArray[np.float32]:
    """Share of a prompt's answers that sent each token, (..., prompts, tokens)."""
    columns = np.arange(answers.logprobs.shape[-1])
    shares: NDArray[np.float32] = (answers.sent[..., None] == columns).mean(axis=-2, dtype=np.float32)
    return shares
