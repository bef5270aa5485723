"""One provider's answers: what every observable owes the fold, and what those add that are judged by recordings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from qcheck.baselines import Answer, Baseline, answer_of
from qcheck.evidence.again import Repeats
from qcheck.evidence.envelope import Envelope
from qcheck.records import Response
from qcheck.result import Divergence, Evidence, Finding
from qcheck.suites import Suite

__all__ = ["ObservedEvidence", "RecordedEvidence"]


class ObservedEvidence(ABC):
    """Folds one provider's answers in plan order.

    name: the observable's. outside: what a deviating answer does, in words. resolution: the variant for which
    "consistent" is claimed, if for any. deviating: the probes of the deviating answers so far. answered: how many
    answers were folded. shows_agreement: whether answers can ever be called consistent. asks_again: whether a deviating
    answer is to stand, when its prompt is asked again, before *deviates* is said; `repeats` keeps those answers.
    """

    name: ClassVar[str]
    outside: ClassVar[str]
    shows_agreement: ClassVar[bool] = True
    asks_again: ClassVar[bool] = False

    def __init__(self) -> None:
        self.deviating: list[str] = []
        self.answered = self._failed = 0
        self.repeats = Repeats()

    def fail(self, probe_id: str) -> None:
        """Count a request that finally failed: no agreement, and what was bet on it is lost.

        Whether it failed may depend on what it would have been answered with, so that it must not count less against
        the bet than an answer that shows nothing.
        """
        self._failed += 1
        self._lose(probe_id)

    @property
    def requests(self) -> int:
        """How many requests were folded, answered or failed."""
        return self.answered + self._failed

    @abstractmethod
    def _lose(self, probe_id: str) -> None:
        """Lose what was bet on the request to one probe."""

    @property
    @abstractmethod
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "inside the envelope"."""

    @property
    def mute(self) -> bool:
        """Whether no answer so far could be evidence, or agreement."""
        return False

    def settle_again(self, probe_id: str, answer: Answer | None, peers: Sequence[Answer | None] = ()) -> None:
        """Fold what came when a probe was asked again, of live references, too; None for what did not come."""
        raise NotImplementedError  # only what `asks_again` is handed any

    @property
    def resolution(self) -> str | None:
        """The variant for which "consistent" is claimed; None where it never is."""
        return None

    def bound(self) -> float | None:
        """Upper bound of the share of requests with deviations as visible as the resolution; None without one."""
        return None

    def needed(self, _tolerance: float) -> int | None:
        """How many more requests, none of them deviating, bring `bound` down to the tolerance; None if none can."""
        return None

    @abstractmethod
    def fraction(self) -> tuple[float, float, float]:
        """Routing fraction: lower bound, estimate, upper bound, at alpha − delta per side."""

    @abstractmethod
    def blind_to(self, _tolerance: float) -> tuple[str, ...]:
        """What more than `tolerance` of the requests could come from for all that was seen."""

    def divergence(self) -> Divergence | None:
        """How far the answers lie from the reference in nats; None where no log-probabilities are compared."""
        return None

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates; {} if unknown."""
        return {}

    def ladder(self) -> str | None:
        """How far the deviating answers lie from the reference, beside known deviations; None if unknown."""
        return None

    def _findings(self) -> tuple[Finding, ...]:
        """What is to be said besides the e-value."""
        return ()

    def _counted(self, *rows: tuple[str, int, str]) -> tuple[Finding, ...]:
        """A finding for each kind of answer of which there were some. rows: kind, how many, and what they do."""
        return tuple(
            Finding(kind, "info", f"{count} of {self.answered} {what}", None, ()) for kind, count, what in rows if count
        )

    def snapshot(self, weight: float) -> Evidence:
        """The observable's part of the result."""
        findings = (*self._findings(), *self.repeats.findings())
        return Evidence(self.name, self.answered, self.log_e, weight, findings)


class RecordedEvidence(ObservedEvidence):
    """Judges answers by recorded deployments."""

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__()
        self._baseline, self._envelope = baseline, envelope
        self._probes = {p.id: p for p in suite.probes}
        self._variant_names = baseline.names(baseline.variants)
        self._silent = 0

    @property
    def mute(self) -> bool:
        """Whether no answer so far could be evidence, or agreement."""
        return self._silent == self.answered

    @staticmethod
    def read(response: Response) -> Answer:
        """What of a response is judged."""
        return answer_of(response, with_text=True)

    @abstractmethod
    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe."""

    def blind_to(self, _tolerance: float) -> tuple[str, ...]:
        """Recorded variants of which more than `tolerance` of the requests could come for all that was seen."""
        return self._variant_names
