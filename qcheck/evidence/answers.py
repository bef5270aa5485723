"""Graded answers against a recorded envelope: right or wrong, item by item beside the reference.

A *loss* is an item that the provider answers wrongly and every reference deployment answers right, in all of its
repeats. Items that some reference deployment gets wrong say nothing. Adding deployments or repeats can only take losses
away, so what a deployment loses against the *others* bounds what it loses as a provider once it stands among them.

A wrong answer that says nothing at all, or does not say that it ended as answers do, is neither: servers give such
ones while they start or stop, and where a filter has taken away what the model said, many at a time. What was bet on it
is lost, and it counts against *consistent*. Of the accuracy below it is a part, as a wrong one: what is missing may be
missing because it was wrong.

Beside that stands, as a finding and never as a verdict, by how many points the provider is right less often than the
reference deployments are on average, item by item, and whether it was shown not to be by `MARGIN`. What is won counts
there as what is lost. Both hold at all times together for the mean over items as they were drawn. The items of a suite
are fixed and known, and answers at temperature 0 nearly so: about another choice of items, or a provider that knows
these, they say nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import pandas as pd

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.grading import grade
from qcheck.result import Finding
from qcheck.stats.means import NonInferiority
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import LOSS

__all__ = ["AnswerEvidence", "is_right", "losses"]

SHOWN_PROBES = 10
MARGIN: Final = 0.05  # of the accuracy: five points, a convention and no measurement


def is_right(answer: Answer, probe: Probe) -> bool:
    """Whether the answer is the right one. Raises ValueError where the probe does not say which that is."""
    if probe.answer is None:
        raise ValueError(f"the probe {probe.id} states no right answer")
    return grade(answer.text or "", probe.answer)


def losses(right: pd.DataFrame, references: Sequence[int]) -> pd.DataFrame:
    """Each deployment's losses against the references other than itself, item by item.

    right: (items, deployments) whether the answer is right, a column for each deployment's index; so is the result.
    """
    others = {index: [r for r in references if r != index] for index in right}
    return pd.DataFrame({index: ~right[index] & right[among].all(axis=1) for index, among in others.items()})


class AnswerEvidence(TailEvidence):
    """Folds one provider's answers to items in plan order."""

    name = "answers"
    outside = "are wrong where every reference deployment is right"

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        self._graded: Counter[tuple[bool, bool]] = Counter()  # whether the provider, and the reference, is right
        self._paired, self._difference = NonInferiority(MARGIN), 0.0
        self._empty = self._unknown = self._broken = 0

    @staticmethod
    def _says(answer: Answer) -> bool:
        return bool((answer.text or "").strip())

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        reference, probe, says = self._baseline.probe(probe_id), self._probes[probe_id], self._says(answer)
        self._empty += not says
        if reference is None:
            self._unknown += 1
            return None
        recorded = {a.text: a for i in self._baseline.references for a in reference.answers[i]}
        grades = {text: is_right(a, probe) for text, a in recorded.items()}
        expected, right = all(grades.values()), is_right(answer, probe)
        self._graded[right, expected] += 1
        usual = fmean(fmean(grades[a.text] for a in reference.answers[i]) for i in self._baseline.references)
        self._paired.update(right - usual)
        self._difference += right - usual
        broken = says and not right and not answer.whole
        self._broken += broken
        return Shown({LOSS: float(expected and not right)}) if says and not broken else None

    def _findings(self) -> tuple[Finding, ...]:
        counted = self._counted(
            (
                "reference_missing",
                self._unknown,
                "items were not answered by every recorded deployment; they count against a consistent verdict",
            ),
            (
                "answers_empty",
                self._empty,
                "answers say nothing at all; they count against a consistent verdict, and never for a deviation",
            ),
            (
                "answers_broken_off",
                self._broken,
                "answers are wrong and do not say that they ended as answers do; they count against a consistent "
                "verdict, and never for a deviation",
            ),
        )
        return (self._counts(), self._accuracy(), *counted) if self._graded else counted

    def _counts(self) -> Finding:
        g = self._graded
        text = (
            f"right on {g[True, True] + g[True, False]} of {g.total()} items, every reference deployment on "
            f"{g[True, True] + g[False, True]}; lost {g[False, True]}, won {g[True, False]}"
        )
        return Finding("answers_graded", "info", text, None, tuple(self.deviating[:SHOWN_PROBES]))

    def _accuracy(self) -> Finding:
        alpha, items = self._envelope.alpha, self._graded.total()
        low, high = (100 * float(bound) for bound in self._paired.difference(alpha))
        shown = "shown" if self._paired.log_e >= -math.log(alpha) else "not shown"
        text = (
            f"{100 * self._difference / items:+.1f} points of accuracy on {items} items beside the mean of the "
            f"reference deployments, {low:+.1f} to {high:+.1f} at all times together (confidence "
            f"{100 * (1 - alpha):g} %); {shown} to be less than {100 * MARGIN:g} points worse on such items"
        )
        return Finding("accuracy_difference", "info", text, None, ())
