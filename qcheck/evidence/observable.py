"""Which observable of a suite the bets are on: the strongest one that it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcheck.evidence.answers import AnswerEvidence
from qcheck.evidence.greedy import GreedyEvidence
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.recorded import ObservedEvidence
from qcheck.evidence.sampled_text import SampledTextEvidence
from qcheck.evidence.scored_text import ScoredTextEvidence
from qcheck.evidence.toolcalls import ToolCallEvidence
from qcheck.suites import Suite

__all__ = ["evidence_of", "graded", "rank"]

# The strongest first.
EVIDENCE: Final[Mapping[str, type[ObservedEvidence]]] = {
    e.name: e
    for e in (
        LogprobEvidence,
        GreedyEvidence,
        ScoredTextEvidence,
        SampledTextEvidence,
        AnswerEvidence,
        ToolCallEvidence,
    )
}


def evidence_of(suite: Suite) -> type[ObservedEvidence]:
    """The evidence that judges answers to the suite: against an envelope, or as live deployments score them."""
    return next((e for name, e in EVIDENCE.items() if name in suite.manifest.observes), LogprobEvidence)


def graded(suite: Suite) -> bool:
    """Whether answers are graded, what they say or what they call, there being nothing that shows more."""
    return issubclass(evidence_of(suite), AnswerEvidence)


def rank(suite: Suite) -> int:
    """The place of the suite's observable among all, the strongest first."""
    return list(EVIDENCE).index(evidence_of(suite).name)
