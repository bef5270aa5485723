"""One provider's records folded into evidence and a verdict: a fold for each suite, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qcheck.baselines import Answer, answer_of
from qcheck.errors import RunFolderError
from qcheck.evidence.margin import MarginEvidence
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.prompt_tokens import PromptTokenEvidence
from qcheck.evidence.recorded import RecordedEvidence
from qcheck.jobs.panel import Panel
from qcheck.records import Attempt, Response
from qcheck.result import Cause, Divergence, Evidence, Finding, Verdict
from qcheck.run.lane import FAILURES_IN_A_ROW
from qcheck.stats.attribution import NONE
from qcheck.verdict import Claims, Decision, Observed, Rules, decide, should_stop

__all__ = ["NAMED", "Availability", "ProviderFold"]

NAMED = 0.5  # posterior from which a cause is named


class Availability:
    """The rule by which a provider counts as unavailable; `run.lane` stops sending by the same.

    reason: why it is, once it is.
    """

    def __init__(self) -> None:
        self.requests = self.failures = self._in_a_row = 0
        self.reason: str | None = None

    def update(self, attempt: Attempt) -> None:
        """Count one settled attempt."""
        self.requests += 1
        if attempt.outcome == "answered":
            self._in_a_row = 0
            return
        self.failures += 1
        self._in_a_row += 1
        if attempt.fatal or self._in_a_row >= FAILURES_IN_A_ROW:
            self.reason = attempt.error or "requests failed"


class _PanelFold:
    """One provider's answers to one suite: the evidence that bets, and beside it the prompt tokens.

    The suite has an even share, one of `suites`, of the run's error.
    """

    def __init__(self, panel: Panel, rules: Rules, suites: int, *, streamed: bool) -> None:
        self.panel, baseline = panel, panel.baseline
        self.observable: RecordedEvidence | MarginEvidence = (
            evidence_of(panel.suite)(baseline, panel.envelope, panel.suite)
            if baseline and panel.envelope
            else MarginEvidence(rules.alpha / suites)
        )
        decides = not (rules.dated or streamed)
        self.prompt_tokens = PromptTokenEvidence(baseline, panel.suite, decides=decides) if baseline else None

    def update(self, probe_id: str, response: Response) -> None:
        """Fold a response against the recorded reference."""
        if isinstance(self.observable, RecordedEvidence):
            self.observable.update(probe_id, self.observable.read(response))
        elif recorded := self._recorded(probe_id):
            self.observable.update(probe_id, answer_of(response), recorded)
        if self.prompt_tokens:
            self.prompt_tokens.update(probe_id, answer_of(response))

    def _recorded(self, probe_id: str) -> Answer | None:
        baseline = self.panel.baseline
        reference = baseline.probe(probe_id) if baseline else None
        if reference is None or baseline is None or not baseline.references:
            return None
        return reference.answers[baseline.references[0]][0]

    def evidence(self) -> tuple[Evidence, ...]:
        """Each observable's part of the result. Prompt tokens bet nothing: they speak through findings alone."""
        parts = [self.observable.snapshot(self.panel.weight)]
        if self.prompt_tokens:
            parts.append(self.prompt_tokens.snapshot(0.0))
        return tuple(replace(part, suite=self.panel.suite.name) for part in parts)

    def observed(self, *, has_reference: bool) -> Observed:
        """What a verdict takes from this suite."""
        seen = self.observable
        return Observed(
            suite=self.panel.suite.name,
            answered=seen.answered,
            log_e=seen.log_e,
            weight=self.panel.weight,
            deviating=seen.deviating,
            outside=seen.outside,
            upper=seen.bound() if has_reference else None,
            resolution=seen.resolution,
            proven=seen.fraction()[0],
        )

    def visible(self, tolerance: float) -> frozenset[str]:
        """The recorded variants of which no more than `tolerance` of the requests can have come."""
        baseline = self.panel.baseline
        if baseline is None or not isinstance(self.observable, RecordedEvidence):
            return frozenset()
        return frozenset(baseline.names(baseline.variants)).difference(self.observable.blind_to(tolerance))


class ProviderFold:
    """One provider against a recorded reference for each suite, or against a live one (`compare_with`).

    A suite's e-value moves only when one of its own probes is answered, whatever was answered to the others before;
    so all are test supermartingales of the same filtration, and so is their weighted average. unjudged: why there is no
    suite. streamed: whether prompt tokens are those of streams, which decide nothing.
    """

    def __init__(
        self, rules: Rules, panels: Sequence[Panel], unjudged: str | None = None, *, streamed: bool = False
    ) -> None:
        self.rules, self.unjudged = rules, unjudged
        self.available = Availability()
        self.decided = False
        self._folds = tuple(_PanelFold(panel, rules, len(panels), streamed=streamed) for panel in panels)
        self._by_probe = {p.id: fold for fold in self._folds for p in fold.panel.suite.fold("evaluation")}

    def _fold_of(self, probe_id: str) -> _PanelFold:
        if probe_id not in self._by_probe:
            raise RunFolderError("the journal holds a probe that no suite of the run has; start a new run.")
        return self._by_probe[probe_id]

    def update(self, attempt: Attempt) -> None:
        """Fold one settled attempt against the recorded reference."""
        self.availability(attempt)
        if attempt.response is not None:
            self._fold_of(attempt.probe_id).update(attempt.probe_id, attempt.response)

    def availability(self, attempt: Attempt) -> None:
        """Count whether a request was answered."""
        self.available.update(attempt)
        if attempt.response is None:
            self._fold_of(attempt.probe_id).observable.fail()

    def compare_with(self, probe_id: str, answer: Answer, peer: Answer) -> None:
        """Fold an answer against a live reference's; the provider's availability is counted elsewhere."""
        observable = self._fold_of(probe_id).observable
        if isinstance(observable, MarginEvidence):
            observable.update(probe_id, answer, peer)

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far."""
        return tuple(f for e in self.evidence() for f in e.findings)

    def evidence(self) -> tuple[Evidence, ...]:
        """Each observable's part of the result, suite by suite."""
        return tuple(e for fold in self._folds for e in fold.evidence())

    def claims(self, *, has_reference: bool = True) -> Claims:
        """What the verdict rests on."""
        return Claims(
            observed=tuple(fold.observed(has_reference=has_reference) for fold in self._folds),
            failures=self.available.failures,
            # What bets is in the e-value: its findings decide nothing, and some take long to compute.
            findings=tuple(f for fold in self._folds if fold.prompt_tokens for f in fold.prompt_tokens.findings()),
            blind_to=self._blind_to() if has_reference else (),
            unavailable_reason=self.available.reason,
            has_reference=has_reference,
            unjudged=self.unjudged,
        )

    def _blind_to(self) -> tuple[str, ...]:
        """What would have gone unseen by every suite; as their bounds hold together, the best one counts."""
        tolerance = self.rules.tolerance
        seen = frozenset[str]().union(*(fold.visible(tolerance) for fold in self._folds))
        unseen = dict.fromkeys(v for fold in self._folds for v in fold.observable.blind_to(tolerance))
        return tuple(v for v in unseen if v not in seen)

    def _strongest(self) -> RecordedEvidence | MarginEvidence:
        """The evidence, of answers there are, that speaks most for a deviation."""
        return max((fold.observable for fold in self._folds), key=lambda seen: (seen.answered > 0, seen.log_e))

    def fraction(self, verdict: Verdict) -> tuple[float, float, float]:
        """Routing fraction: of the suite that shows most of a deviation, or that bounds its share best."""
        if verdict == "deviates":
            return self._strongest().fraction()
        bounds = (fold.observable.fraction() for fold in self._folds)
        return min(bounds, key=lambda bound: bound[2], default=(0.0, 0.0, 1.0))

    def needed(self) -> int | None:
        """How many more requests to one suite would make the provider consistent; None where none would."""
        needed = (fold.observable.needed(self.rules.tolerance) for fold in self._folds)
        return min((n for n in needed if n is not None), default=None)

    def divergence(self) -> Divergence | None:
        """How far the answers lie from the reference in nats, where log-probabilities are compared."""
        return next((d for fold in self._folds if (d := fold.observable.divergence())), None)

    def decide(self, *, has_reference: bool = True) -> Decision:
        """The verdict so far."""
        return decide(self.claims(has_reference=has_reference), self.rules)

    def should_stop(self) -> str | None:
        """Why no more requests are needed, or None."""
        return should_stop(self.claims(), self.rules)

    def cause(self) -> tuple[Cause | None, dict[str, float]]:
        """The likely cause in words, and the posterior over recorded variants.

        A finding that explains itself, be it too small to decide, explains more than a resemblance does.
        """
        strongest = self._strongest()
        posterior = strongest.posterior() if strongest.deviating else {}
        for finding in self.findings():
            if finding.likely_cause:
                return finding.likely_cause, posterior
        if not posterior:
            return None, posterior
        best, probability = next(iter(posterior.items()))
        if best == NONE or probability < NAMED:
            ladder = strongest.ladder()
            where = f"; {ladder}" if ladder else ""
            text = f"no recorded variant explains it: another model, format or settings{where}"
            return Cause(text, posterior[NONE]), posterior
        return Cause(f"served as the recorded variant {best}", probability), posterior
