"""Which observable of a suite the bets are on: the strongest one that it has."""

from __future__ import annotations

from qcheck.evidence.answers import AnswerEvidence
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.tails import TailEvidence
from qcheck.suites import Suite

__all__ = ["evidence_of", "graded"]


def graded(suite: Suite) -> bool:
    """Whether the answers themselves are judged, there being no log-probabilities, which show more."""
    return "logprobs" not in suite.manifest.observes and "answers" in suite.manifest.observes


def evidence_of(suite: Suite) -> type[TailEvidence]:
    """The evidence that judges answers to the suite against an envelope."""
    return AnswerEvidence if graded(suite) else LogprobEvidence
