"""One provider's records folded into evidence and a verdict: a fold for each suite, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from qcheck.baselines import Answer, answer_of
from qcheck.errors import RunFolderError
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.margin import MarginEvidence
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.prompt_tokens import PromptTokenEvidence
from qcheck.evidence.recorded import ObservedEvidence, RecordedEvidence
from qcheck.evidence.scored_text import Sampling, ScoredTextEvidence, text_to_score
from qcheck.jobs.panel import Panel, sample
from qcheck.records import Attempt, Position, Response
from qcheck.result import Cause, Divergence, Evidence, Finding, Verdict
from qcheck.run.availability import Availability
from qcheck.stats.attribution import NONE
from qcheck.verdict import MIN_DEVIATING, Claims, Decision, Observed, Rules, asks_again, decide, should_stop

__all__ = ["NAMED", "ProviderFold"]

NAMED = 0.5  # posterior from which a cause is named


class _PanelFold:
    """One provider's answers to one suite: the evidence that bets, and beside it the prompt tokens.

    The suite has an even share, one of `suites`, of the run's error. scorers: by name, whether they still score
    its texts.
    """

    def __init__(self, panel: Panel, rules: Rules, suites: int, *, streamed: bool, plain: bool) -> None:
        self.panel, baseline = panel, panel.baseline
        self._probes = {p.id: p for p in panel.suite.probes}
        self.observable = _observable(panel, rules.alpha / suites, plain=plain)
        self.scorers = {name: Availability() for name in panel.scorers}
        decides = panel.envelope is not None and not (rules.dated or streamed)
        alpha = rules.alpha / (rules.family * suites)
        self.prompt_tokens = PromptTokenEvidence(baseline, panel.suite, alpha, decides=decides) if baseline else None

    def update(self, probe_id: str, response: Response, scores: Sequence[Attempt]) -> None:
        """Fold a response against the recorded reference, or as live deployments score it."""
        if isinstance(self.observable, ScoredTextEvidence):
            self._update_scored(self.observable, probe_id, response, scores)
        elif isinstance(self.observable, RecordedEvidence):
            answer = self.observable.read(response)
            # What the server's own limit cut off is not what the model would have said.
            whole = answer.whole and not response.cut_before(self.panel.suite.manifest.max_tokens)
            self.observable.update(probe_id, replace(answer, whole=whole))
        elif isinstance(self.observable, MarginEvidence) and (recorded := self._recorded(probe_id)):
            self.observable.update(probe_id, answer_of(response), recorded)
        if self.prompt_tokens:
            self.prompt_tokens.update(probe_id, answer_of(response))

    def _update_scored(
        self, observable: ScoredTextEvidence, probe_id: str, response: Response, scores: Sequence[Attempt]
    ) -> None:
        text, found = text_to_score(response), dict[str, tuple[Position, ...]]()
        for score in scores:
            positions = score.response.positions if score.response and score.response.text == text else ()
            # A text that cannot be found again in what was scored is the provider's, and no failure of the scorer.
            error = None if score.response else score.error or "it gave no answer"
            self.scorers[score.provider].count(error, fatal=score.fatal)
            found[score.provider] = positions
        references, variants = (
            [found.get(name, ()) for name in names] for names in (self.panel.references, self.panel.variants)
        )
        observable.update(probe_id, self._probes[probe_id].said, references, variants)

    @property
    def scorers_gone(self) -> str | None:
        """Who scores texts no more, and why; None where all do."""
        return next((f"{name}: {s.reason}" for name, s in self.scorers.items() if s.reason), None)

    def _recorded(self, probe_id: str) -> Sequence[Answer]:
        baseline = self.panel.baseline
        reference = baseline.probe(probe_id) if baseline else None
        if reference is None or baseline is None:
            return ()
        return [reference.answers[i][0] for i in baseline.references]

    def evidence(self) -> tuple[Evidence, ...]:
        """Each observable's part of the result. Prompt tokens bet nothing: they speak through findings alone."""
        part = self.observable.snapshot(self.panel.weight)
        if gone := self.scorers_gone:
            silent = Finding("scoring_ended", "warning", f"texts are scored no more by {gone}", None, ())
            part = replace(part, findings=(*part.findings, silent))
        parts = [part]
        if self.prompt_tokens:
            parts.append(replace(self.prompt_tokens.snapshot(0.0), findings=self.counts()))
        return tuple(replace(part, suite=self.panel.suite.name) for part in parts)

    def counts(self) -> tuple[Finding, ...]:
        """What prompt tokens show. It decides nothing where the log-probabilities of most answers agree with the
        envelope: a prompt that says more moves them, so that only the count differs."""
        found = self.prompt_tokens.findings() if self.prompt_tokens else ()
        agrees = isinstance(self.observable, LogprobEvidence) and self.observable.agrees
        return tuple(replace(f, severity="warning") if agrees and f.severity == "deviation" else f for f in found)

    def left(self, tolerance: float) -> int:
        """How many requests of the suite have not been folded yet, answered or failed."""
        asked = sum(len(probes) for _, probes in sample([self.panel], tolerance, 0))  # as many whatever the seed
        return asked - self.observable.requests

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
            mute=seen.mute,
            stands=seen.repeats.stands if seen.asks_again else True,
        )

    def visible(self, tolerance: float) -> frozenset[str]:
        """The recorded variants of which no more than `tolerance` of the requests can have come."""
        baseline = self.panel.baseline
        if baseline is None or not isinstance(self.observable, RecordedEvidence):
            return frozenset()
        return frozenset(baseline.names(baseline.variants)).difference(self.observable.blind_to(tolerance))


def _observable(panel: Panel, alpha: float, *, plain: bool) -> ObservedEvidence:
    """The evidence that bets, of which nothing is folded yet."""
    kind, asked = evidence_of(panel.suite), panel.suite.manifest
    if kind is ScoredTextEvidence:
        return ScoredTextEvidence(panel.variants, Sampling(asked.temperature or 1.0, asked.max_tokens, plain))
    if panel.baseline and panel.envelope and issubclass(kind, RecordedEvidence):
        return kind(panel.baseline, panel.envelope, panel.suite)
    return MarginEvidence(alpha)


class ProviderFold:
    """One provider against a recorded reference for each suite, or against a live one (`compare_with`).

    A suite's e-value moves only when one of its own probes is answered, whatever was answered to the others before;
    so all are test supermartingales of the same filtration, and so is their weighted average. unjudged: why there is no
    suite. streamed: whether prompt tokens are those of streams, which decide nothing. plain: whether samples are known
    to be drawn from the whole distribution, without penalties.
    """

    def __init__(
        self,
        rules: Rules,
        panels: Sequence[Panel],
        unjudged: str | None = None,
        *,
        streamed: bool = False,
        plain: bool = False,
    ) -> None:
        self.rules, self.unjudged = rules, unjudged
        self.available = Availability()
        self.decided = False
        self._most = (-math.inf, -math.inf)  # that the claims' `suspicion` and `proof` have been
        self._folds = tuple(_PanelFold(panel, rules, len(panels), streamed=streamed, plain=plain) for panel in panels)
        self._by_probe = {p.id: fold for fold in self._folds for p in fold.panel.suite.fold("evaluation")}

    def _fold_of(self, probe_id: str) -> _PanelFold:
        if probe_id not in self._by_probe:
            raise RunFolderError("the journal holds a probe that no suite of the run has; start a new run.")
        return self._by_probe[probe_id]

    def update(self, attempt: Attempt, scores: Sequence[Attempt] = ()) -> None:
        """Fold one settled attempt against the recorded reference, or as live deployments score it."""
        self.available.update(attempt)
        if attempt.response is None:
            self.fail(attempt.probe_id)
        else:
            self._fold_of(attempt.probe_id).update(attempt.probe_id, attempt.response, scores)

    @property
    def scorers_gone(self) -> str | None:
        """Who scores the answers no more, and why; None where all do, who are to."""
        return next((gone for fold in self._folds if (gone := fold.scorers_gone)), None)

    def fail(self, probe_id: str) -> None:
        """Fold a request that finally failed."""
        self._fold_of(probe_id).observable.fail(probe_id)

    def compare_with(self, probe_id: str, answer: Answer, peer: Answer) -> None:
        """Fold an answer against a live reference's; the provider's availability is counted elsewhere."""
        observable = self._fold_of(probe_id).observable
        if isinstance(observable, MarginEvidence):
            observable.update(probe_id, answer, [peer])

    def asks_again(self) -> tuple[str, ...]:
        """The probes of which one is to be asked again before more is folded, the latest first; mostly none."""
        seen = (fold.observable for fold in self._folds)
        doubtful = [o for o in seen if o.repeats.due and len(set(o.deviating)) >= MIN_DEVIATING]
        if not doubtful or not asks_again(self.claims(), self.rules):
            return ()
        return max(doubtful, key=lambda o: o.log_e).repeats.due

    def settle_again(self, attempt: Attempt, peers: Sequence[Attempt] = ()) -> None:
        """Fold what came when a probe was asked again, of a live reference, too."""
        self.available.update(attempt)
        mine, *others = (answer_of(a.response) if a.response else None for a in (attempt, *peers))
        self._fold_of(attempt.probe_id).observable.settle_again(attempt.probe_id, mine, others)

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far."""
        return tuple(f for e in self.evidence() for f in e.findings)

    def evidence(self) -> tuple[Evidence, ...]:
        """Each observable's part of the result, suite by suite."""
        return tuple(e for fold in self._folds for e in fold.evidence())

    def claims(self, *, has_reference: bool = True) -> Claims:
        """What the verdict rests on; it is asked for after each answer, so that no proof is missed."""
        claims = Claims(
            observed=tuple(fold.observed(has_reference=has_reference) for fold in self._folds),
            failures=self.available.failures,
            # What bets is in the e-value: its findings decide nothing, and some take long to compute.
            findings=tuple(f for fold in self._folds for f in fold.counts()),
            blind_to=self._blind_to() if has_reference else (),
            unavailable_reason=self.available.reason,
            error=self.available.error,
            has_reference=has_reference,
            unjudged=self.unjudged,
            most=self._most,
        )
        self._most = claims.suspicion, claims.proof
        return claims

    def _blind_to(self) -> tuple[str, ...]:
        """What would have gone unseen by every suite; as their bounds hold together, the best one counts."""
        tolerance = self.rules.tolerance
        seen = frozenset[str]().union(*(fold.visible(tolerance) for fold in self._folds))
        unseen = dict.fromkeys(v for fold in self._folds for v in fold.observable.blind_to(tolerance))
        return tuple(v for v in unseen if v not in seen)

    def _strongest(self) -> ObservedEvidence:
        """The evidence, of answers there are, that speaks most for a deviation."""
        return max((fold.observable for fold in self._folds), key=lambda seen: (seen.answered > 0, seen.log_e))

    def fraction(self, verdict: Verdict, named: str | None) -> tuple[float, float | None, float]:
        """Routing fraction: of the suite that shows most of a deviation, or that bounds its share best.

        named: the recorded variant that deviating answers most probably come from. Where none is named, every request
        a little off and a few far off look alike, and nothing is estimated.
        """
        if verdict == "deviates":
            low, estimate, high = self._strongest().fraction()
            return low, estimate if named not in (None, NONE) else None, high
        bounds = (fold.observable.fraction() for fold in self._folds)
        return min(bounds, key=lambda bound: bound[2], default=(0.0, 0.0, 1.0))

    def needed(self) -> int | None:
        """How many more requests to one suite would make the provider consistent; None where all it has would not."""
        tolerance = self.rules.tolerance
        needed = ((fold.observable.needed(tolerance), fold.left(tolerance)) for fold in self._folds)
        return min((n for n, most in needed if n is not None and n <= most), default=None)

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
            ladder = strongest.ladder()
            return (Cause(f"another model, format or settings; {ladder}", None) if ladder else None), posterior
        best, probability = next(iter(posterior.items()))
        if best == NONE or probability < NAMED:
            ladder = strongest.ladder()
            where = f"; {ladder}" if ladder else ""
            text = f"no recorded variant explains it: another model, format or settings{where}"
            return Cause(text, posterior[NONE]), posterior
        return Cause(f"served as the recorded variant {best}", probability), posterior
