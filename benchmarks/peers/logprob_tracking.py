"""Log-probability tracking: Chauvin, Le Merrer, Taïani & Tredan 2025, "Log Probability Tracking of LLM APIs".

arXiv 2512.03816; read with the authors' code, github.com/timothee-chauvin/track-llm-apis at f2d1115
(`sampling/analyze_logprobs.py`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.answers import FirstTokens

__all__ = ["LogprobTracking"]


class LogprobTracking:
    """Mean absolute difference between two samples' mean log-probabilities, token by token.

    A token that an answer does not list has its smallest listed log-probability; tokens that no answer lists are left
    out. The authors ask one prompt ("x") of one endpoint at two times, ten answers each, and test by permutation; here
    the statistic is averaged over as many prompts as there are, between reference and candidate.
    """

    name: ClassVar[str] = "log-probability tracking"
    tokens_per_request: ClassVar[int] = 1

    def scores(self, reference: FirstTokens, candidate: FirstTokens, rng: np.random.Generator) -> NDArray[np.float64]:
        """One a stream, in nats."""
        seen = _listed(reference) | _listed(candidate)
        distance = np.abs(_mean_censored(reference) - _mean_censored(candidate))
        by_prompt = (distance * seen).sum(axis=-1, dtype=float) / seen.sum(axis=-1)
        result: NDArray[np.float64] = by_prompt.mean(axis=-1)
        return result


def _listed(answers: FirstTokens) -> NDArray[np.bool_]:
    times: NDArray[np.intp] = np.sum(~np.isnan(answers.logprobs), axis=-2)
    return times > 0


def _mean_censored(answers: FirstTokens) -> NDArray[np.float32]:
    floors = np.nanmin(answers.logprobs, axis=-1, keepdims=True)
    mean: NDArray[np.float32] = np.where(np.isnan(answers.logprobs), floors, answers.logprobs).mean(axis=-2)
    return mean
