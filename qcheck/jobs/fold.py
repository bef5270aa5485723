"""A run's records folded into evidence, verdicts and the result, in plan order.

`compare` folds while answers arrive, to know when to stop; the result itself is always made by folding the finished
journal once more, so that `verify` cannot reach another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations

from qcheck.baselines import Answer, Baseline, answer_of
from qcheck.evidence.margin import MARGIN_SHARE, MarginEvidence
from qcheck.evidence.prompt_tokens import PromptTokenEvidence
from qcheck.evidence.tails import TailEvidence
from qcheck.records import Attempt
from qcheck.result import Cause, Evidence, Finding
from qcheck.run.lane import FAILURES_IN_A_ROW
from qcheck.stats.attribution import NONE
from qcheck.verdict import Claims, Decision, Rules, decide, should_stop

__all__ = ["WEIGHTS", "PairFold", "ProviderFold", "RunFold", "folded", "settled"]

# Of each observable's e-value in the average; of the first three a run has one. Prompt tokens bet nothing: they speak
# through findings alone.
WEIGHTS: Mapping[str, float] = {"logprobs": 1.0, "greedy_text": 1.0, "answers": 1.0, "prompt_tokens": 0.0}
NAMED = 0.5  # posterior from which a cause is named


def settled(attempts: Iterable[Attempt]) -> dict[str, list[Attempt]]:
    """Each provider's settled attempts in plan order, up to the first gap."""
    by_provider: dict[str, dict[int, Attempt]] = {}
    for attempt in attempts:
        if attempt.settled:
            by_provider.setdefault(attempt.provider, {})[attempt.seq] = attempt
    heads = {}
    for provider, by_seq in by_provider.items():
        head: list[Attempt] = []
        while len(head) in by_seq:
            head.append(by_seq[len(head)])
        heads[provider] = head
    return heads


class _Availability:
    """The rule by which a provider counts as unavailable; `run.lane` stops sending by the same."""

    def __init__(self) -> None:
        self.requests = self.failures = self._in_a_row = 0
        self.reason: str | None = None

    def update(self, attempt: Attempt) -> None:
        self.requests += 1
        if attempt.outcome == "answered":
            self._in_a_row = 0
            return
        self.failures += 1
        self._in_a_row += 1
        if attempt.fatal or self._in_a_row >= FAILURES_IN_A_ROW:
            self.reason = attempt.error or "requests failed"


class ProviderFold:
    """One provider against a recorded envelope, or without one against a lone recording or a live reference (`peer`).

    observable: the evidence that bets.
    """

    def __init__(
        self, rules: Rules, baseline: Baseline | None, envelope: TailEvidence | None, weights: Mapping[str, float]
    ) -> None:
        self.rules, self._weights, self._baseline = rules, weights, baseline
        self.available = _Availability()
        self.observable: TailEvidence | MarginEvidence = envelope or MarginEvidence(rules.alpha)
        self.prompt_tokens = PromptTokenEvidence(baseline) if baseline else None
        self.decided = False

    def update(self, attempt: Attempt) -> None:
        """Fold one settled attempt against the recorded reference."""
        self.availability(attempt)
        if attempt.response is not None:
            self._answered(attempt.probe_id, answer_of(attempt.response, with_text=True))

    def availability(self, attempt: Attempt) -> None:
        """Count whether a request was answered."""
        self.available.update(attempt)
        if attempt.response is None:
            self.observable.fail()

    def compare_with(self, probe_id: str, answer: Answer, peer: Answer) -> None:
        """Fold an answer against a live reference's; the provider's availability is counted elsewhere."""
        if isinstance(self.observable, MarginEvidence):
            self.observable.update(probe_id, answer, peer)

    def _answered(self, probe_id: str, answer: Answer) -> None:
        if isinstance(self.observable, TailEvidence):
            self.observable.update(probe_id, answer)
        elif recorded := self._recorded(probe_id):
            self.observable.update(probe_id, answer, recorded)
        if self.prompt_tokens:
            self.prompt_tokens.update(probe_id, answer)

    def _recorded(self, probe_id: str) -> Answer | None:
        reference = self._baseline.probe(probe_id) if self._baseline else None
        if reference is None or self._baseline is None or not self._baseline.references:
            return None
        return reference.answers[self._baseline.references[0]][0]

    def findings(self) -> tuple[Finding, ...]:
        """All findings so far."""
        return tuple(f for e in self.evidence() for f in e.findings)

    def evidence(self) -> tuple[Evidence, ...]:
        """Each observable's part of the result."""
        observables = [self.observable, *([self.prompt_tokens] if self.prompt_tokens else [])]
        return tuple(o.snapshot(self._weights[o.name]) for o in observables)

    def claims(self, *, has_reference: bool = True) -> Claims:
        """What the verdict rests on."""
        seen = self.observable
        return Claims(
            answered=seen.answered,
            failures=self.available.failures,
            log_e=seen.log_e,
            deviating=seen.deviating,
            outside=seen.outside,
            findings=self.findings(),
            upper=seen.bound() if has_reference else None,
            resolution=seen.resolution,
            blind_to=seen.blind_to(self.rules.tolerance) if has_reference else (),
            proven=seen.fraction()[0],
            unavailable_reason=self.available.reason,
            has_reference=has_reference,
        )

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
        posterior = self.observable.posterior() if self.observable.deviating else {}
        for finding in self.findings():
            if finding.likely_cause:
                return finding.likely_cause, posterior
        if not posterior:
            return None, posterior
        best, probability = next(iter(posterior.items()))
        if best == NONE or probability < NAMED:
            return Cause(
                "no recorded variant explains it: another model, format or settings", posterior[NONE]
            ), posterior
        return Cause(f"served as the recorded variant {best}", probability), posterior


class PairFold:
    """Two providers, no reference: alike, different, or not yet known. Frozen once decided."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.evidence = MarginEvidence(rules.alpha / rules.family)
        self.state: str | None = None

    def update(self, probe_id: str, a: Answer, b: Answer) -> None:
        """Fold one probe that both have answered."""
        if self.state is not None:
            return
        self.evidence.update(probe_id, a, b)
        if self.evidence.log_e >= self._rules.log_threshold and len(self.evidence.deviating) > 1:
            self.state = "different"
        elif self.evidence.bound() <= MARGIN_SHARE:
            self.state = "alike"


class RunFold:
    """All providers of a run. `evidence` makes each one's against the envelope, if there is one.

    `live` names the live reference among them.
    """

    def __init__(
        self,
        providers: Sequence[str],
        rules: Rules,
        baseline: Baseline | None = None,
        evidence: Callable[[], TailEvidence] | None = None,
        live: str | None = None,
        weights: Mapping[str, float] = WEIGHTS,
    ) -> None:
        self.rules, self.live = rules, live
        self.has_reference = baseline is not None or live is not None
        self.providers = {
            p: ProviderFold(rules, baseline, evidence() if evidence else None, weights) for p in providers
        }
        everyone = [*providers, *([live] if live else [])]
        self.live_available = _Availability()
        self._answers: dict[str, list[Attempt]] = {p: [] for p in everyone}
        self.pairs: dict[tuple[str, str], PairFold] = {}
        if not self.has_reference:
            self.pairs = {pair: PairFold(rules) for pair in combinations(providers, 2)}

    def settle(self, attempt: Attempt) -> None:
        """Fold a provider's next settled attempt."""
        name = attempt.provider
        self._answers[name].append(attempt)
        if name == self.live:
            self.live_available.update(attempt)
            for provider in self.providers:
                self._meet_live(provider, attempt.seq)
        elif self.live:
            self.providers[name].availability(attempt)
            self._meet_live(name, attempt.seq)
        elif self.has_reference:
            self.providers[name].update(attempt)
        else:
            self.providers[name].available.update(attempt)
            for pair, fold in self.pairs.items():
                if name in pair and (answers := self._both(pair[0], pair[1], attempt.seq)):
                    fold.update(attempt.probe_id, *answers)

    def _both(self, a: str, b: str, seq: int) -> tuple[Answer, Answer] | None:
        left, right = self._answers[a], self._answers[b]
        if seq >= len(left) or seq >= len(right):
            return None
        x, y = left[seq].response, right[seq].response
        return (answer_of(x), answer_of(y)) if x and y else None

    def _meet_live(self, provider: str, seq: int) -> None:
        fold = self.providers[provider]
        if fold.decided or self.live is None or not (answers := self._both(provider, self.live, seq)):
            return
        fold.compare_with(self._answers[provider][seq].probe_id, *answers)
        fold.decided = fold.should_stop() is not None

    def should_stop(self, name: str) -> str | None:
        """Why a provider is asked no further, or None."""
        if name == self.live:
            if self.live_available.reason:
                return "unavailable"
            return "done" if all(self.should_stop(p) for p in self.providers) else None
        if self.live and self.live_available.reason:
            return "reference unavailable"
        fold = self.providers[name]
        if fold.available.reason:
            return "unavailable"
        if self.has_reference:
            return fold.should_stop()
        mine = [f for pair, f in self.pairs.items() if name in pair and not self._gone(pair, name)]
        if not mine:
            return "nobody to compare with"
        return "grouped" if all(f.state for f in mine) else None

    def _gone(self, pair: tuple[str, str], name: str) -> bool:
        other = pair[0] if pair[1] == name else pair[1]
        return self.providers[other].available.reason is not None

    def groups(self) -> tuple[tuple[str, ...], ...] | None:
        """Providers shown to agree, joined along agreeing pairs; None where there is a reference."""
        if self.has_reference:
            return None
        group = {p: {p} for p in self.providers if self.providers[p].available.reason is None}
        for (a, b), fold in self.pairs.items():
            if fold.state == "alike" and a in group and b in group and group[a] is not group[b]:
                merged = group[a] | group[b]
                if any(
                    self.pairs[pair].state == "different"
                    for pair in combinations(self.providers, 2)
                    if {*pair} <= merged
                ):
                    continue
                for member in merged:
                    group[member] = merged
        unique = {tuple(sorted(g)) for g in group.values()}
        return tuple(sorted(unique))

    def different(self) -> tuple[tuple[str, str], ...] | None:
        """Pairs shown to differ beyond the margin; None where there is a reference."""
        if self.has_reference:
            return None
        return tuple(pair for pair, fold in self.pairs.items() if fold.state == "different")

    def pair_log_e(self, name: str) -> float:
        """The largest log e-value over a provider's pairs; 0 without pairs."""
        return max((f.evidence.log_e for pair, f in self.pairs.items() if name in pair), default=0.0)


def folded(fold: RunFold, attempts: Iterable[Attempt]) -> dict[str, int]:
    """Fold a whole journal as the run did, each provider up to where it stopped; returns how many each folded."""
    heads = settled(attempts)
    used = dict.fromkeys(heads, 0)
    for seq in range(max((len(h) for h in heads.values()), default=0)):
        for name, head in heads.items():
            if seq < len(head) and used[name] == seq and fold.should_stop(name) is None:
                fold.settle(head[seq])
                used[name] = seq + 1
    return used
