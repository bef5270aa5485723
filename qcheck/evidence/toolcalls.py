"""Tool calls against a recorded envelope: the right functions with the right arguments, item by item.

They are judged as other graded answers are (`answers`): an item is lost where the provider's calls are wrong and those
of every reference deployment right. Beside that stand, as findings, two measures that K2 Vendor Verifier publishes
(https://github.com/MoonshotAI/K2-Vendor-Verifier): how many answers say that they end in calls, and of those that call
anything, how many only make calls that are valid under the declared schemas.
"""

from __future__ import annotations

from statistics import fmean
from typing import Final

from qcheck.baselines import Answer, Baseline, answer_of
from qcheck.evidence.answers import AnswerEvidence
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.tails import Shown
from qcheck.records import Response
from qcheck.result import Finding
from qcheck.stats.means import MeanBets
from qcheck.suites import Suite
from qcheck.toolcalls import REFUSED, Made, read_made

__all__ = ["ToolCallEvidence"]

ENDS_IN_CALLS: Final = "tool_calls"  # the finish reason


class ToolCallEvidence(AnswerEvidence):
    """Folds what one provider's answers call, in plan order."""

    name = "tool_calls"

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        self._tools = {p.id: {tool.name: tool for tool in suite.tools(p)} for p in suite.probes}
        self._ended, self._valid = _Share(), _Share()

    @staticmethod
    def read(response: Response) -> Answer:
        """What of a response is judged: its calls."""
        return answer_of(response, with_calls=True)

    @staticmethod
    def _says(answer: Answer) -> bool:
        made = _made(answer)
        return made.says or bool(made.calls) or made.finish_reason == REFUSED

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        shown = super()._shown(probe_id, answer)
        reference = self._baseline.probe(probe_id)
        if reference is None:
            return None
        mine = _made(answer)
        recorded = [_made(a) for i in self._baseline.references for a in reference.answers[i]]
        self._ended.update(mine.finish_reason == ENDS_IN_CALLS, [m.finish_reason == ENDS_IN_CALLS for m in recorded])
        if mine.calls:
            self._valid.update(
                self._is_valid(probe_id, mine), [self._is_valid(probe_id, m) for m in recorded if m.calls]
            )
        return shown

    def _is_valid(self, probe_id: str, made: Made) -> bool:
        return all(call.fits(self._tools[probe_id]) for call in made.calls)

    def _findings(self) -> tuple[Finding, ...]:
        shares = (
            ("finish_reason_tool_calls", self._ended, "answers end with the finish reason tool_calls"),
            ("schema_valid", self._valid, "answers with calls make none that is invalid under the declared schemas"),
        )
        said = (Finding(kind, "info", s.text(what, self._envelope.alpha), None, ()) for kind, s, what in shares if s.of)
        return (*super()._findings(), *said)


def _made(answer: Answer) -> Made:
    try:
        return read_made(answer.text or "")
    except ValueError:  # a baseline that holds texts: no call in it is right
        return Made((), False, None)


class _Share:
    """How many of a provider's answers are of some kind, and of the recorded ones to the same probes on average."""

    def __init__(self) -> None:
        self._bets = MeanBets()
        self._hits = self.of = 0
        self._recorded: list[float] = []

    def update(self, mine: bool, recorded: list[bool]) -> None:
        """Fold one answer, and what was recorded of its probe."""
        self._bets.update([mine])
        self._hits += mine
        self.of += 1
        if recorded:
            self._recorded.append(fmean(recorded))

    def text(self, what: str, alpha: float) -> str:
        """The counts, with an interval that holds at all times together, and the references' share."""
        low, high = (100 * float(bound) for bound in self._bets.interval(alpha))
        usual = f"{100 * fmean(self._recorded):.1f} %" if self._recorded else "none"
        return (
            f"{self._hits} of {self.of} {what}: {low:.1f} to {high:.1f} % at all times together (confidence "
            f"{100 * (1 - alpha):g} %), of the reference deployments' answers to the same probes {usual}"
        )
