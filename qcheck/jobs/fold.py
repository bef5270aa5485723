"""A run's records folded into evidence, verdicts and the result, in plan order.

`compare` folds while answers arrive, to know when to stop; the result itself is always made by folding the finished
journal once more, so that `verify` cannot reach another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

from qcheck.baselines import Answer, answer_of
from qcheck.evidence.margin import MARGIN_SHARE, MarginEvidence
from qcheck.evidence.scored_text import text_to_score
from qcheck.jobs.panel import Panel
from qcheck.jobs.provider import ProviderFold
from qcheck.records import Attempt
from qcheck.run.availability import Availability
from qcheck.run.journal import settled_requests, settled_scores
from qcheck.run.lane import Settled
from qcheck.verdict import Rules

__all__ = ["PairFold", "RunFold", "due_scores", "folded", "settled"]


def settled(attempts: Sequence[Attempt], scorers: Collection[str] = ()) -> dict[str, list[Settled]]:
    """Each provider's settled requests in plan order, up to the first gap.

    scorers: who scores answers; one that lacks a score is not settled.
    """
    by_provider: dict[str, dict[int, Settled]] = {}
    scores = settled_scores(attempts)
    for (provider, seq), attempt in settled_requests(attempts).items():
        due, there = due_scores(attempt, scorers), scores.get((provider, seq), {})
        if there.keys() >= set(due):
            by_provider.setdefault(provider, {})[seq] = Settled(attempt, tuple(there[name] for name in due))
    heads = {}
    for provider, by_seq in by_provider.items():
        head: list[Settled] = []
        while len(head) in by_seq:
            head.append(by_seq[len(head)])
        heads[provider] = head
    return heads


def due_scores(attempt: Attempt, scorers: Collection[str]) -> tuple[str, ...]:
    """Who of the scorers is to score what ended a request of the plan: all where there is a text, else nobody."""
    return tuple(scorers) if attempt.response and text_to_score(attempt.response) else ()


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
        self.evidence.update(probe_id, a, [b])
        if self.evidence.log_e >= self._rules.log_threshold and len(self.evidence.deviating) > 1:
            self.state = "different"
        elif self.evidence.bound() <= MARGIN_SHARE:
            self.state = "alike"


class RunFold:
    """All providers of a run, each with the suites that it is asked. `live` names a live reference of the one suite.

    unjudged: by provider, why there is no suite for it. streamed: those whose counts of prompt tokens decide nothing.
    plain: those who are known to draw samples from the whole distribution. scorers: who scores the texts of answers.
    """

    def __init__(
        self,
        providers: Mapping[str, Sequence[Panel]],
        rules: Rules,
        live: str | None = None,
        unjudged: Mapping[str, str] = MappingProxyType({}),
        streamed: Collection[str] = (),
        plain: Collection[str] = (),
    ) -> None:
        self.rules, self.live = rules, live
        asked = [panel for panels in providers.values() for panel in panels]
        self.scorers = asked[0].scorers if asked else ()  # only the one suite of a run has any
        self.has_reference = live is not None or all(p.baseline or p.references for p in asked)
        self.providers = {
            p: ProviderFold(rules, panels, unjudged.get(p), streamed=p in streamed, plain=p in plain)
            for p, panels in providers.items()
        }
        everyone = [*providers, *([live] if live else [])]
        self.live_available = Availability()
        self._answers: dict[str, list[Attempt]] = {p: [] for p in everyone}
        self._ended: set[str] = set()  # who is asked no more
        self._met = dict.fromkeys(providers, 0)  # how many requests of each were compared with the live reference's
        self.pairs: dict[tuple[str, str], PairFold] = {}
        if not self.has_reference:
            judged = [p for p in providers if p not in unjudged]
            self.pairs = {pair: PairFold(rules) for pair in combinations(judged, 2)}

    def settle(self, attempt: Attempt, scores: Sequence[Attempt] = ()) -> None:
        """Fold a provider's next settled attempt, and those that scored its answer."""
        name = attempt.provider
        self._answers[name].append(attempt)
        if name == self.live:
            self.live_available.update(attempt)
            for provider in self.providers:
                self._meet_live(provider)
        elif self.live:
            self.providers[name].available.update(attempt)
            self._meet_live(name)
        elif self.has_reference:
            self.providers[name].update(attempt, scores)
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

    def _meet_live(self, provider: str) -> None:
        """Compare what both have settled by now, in plan order, up to where a request is to be asked again."""
        fold, live, mine = self.providers[provider], self.live, self._answers[provider]
        while live and self._met[provider] < min(len(mine), len(self._answers[live])):
            if fold.decided or fold.asks_again():
                return
            attempt = mine[self._met[provider]]
            self._met[provider] += 1
            if attempt.response is None:
                fold.fail(attempt.probe_id)
            elif answers := self._both(provider, live, attempt.seq):
                fold.compare_with(attempt.probe_id, *answers)
            fold.decided = fold.should_stop() is not None

    def asks_again(self, name: str) -> tuple[int, ...]:
        """The requests of which one is to be asked again before more is folded, the latest first; mostly none."""
        if name not in self.providers or not self.has_reference:
            return ()
        probes = self.providers[name].asks_again()
        seqs = {a.probe_id: a.seq for a in self._answers[name]} if probes else {}
        return tuple(seqs[probe] for probe in probes)

    def asked_again(self, name: str) -> tuple[str, ...]:
        """Who is asked again before a provider deviates: itself, and the live reference that it is compared with."""
        return (name, self.live) if self.live else (name,)

    def settle_again(self, name: str, attempts: Sequence[Attempt]) -> None:
        """Fold what came when a request of a provider was asked again: its own attempt, and a live reference's."""
        fold = self.providers[name]
        fold.settle_again(attempts[0], attempts[1:])
        for attempt in attempts[1:]:
            self.live_available.update(attempt)
        fold.decided = fold.should_stop() is not None
        self._meet_live(name)

    def end(self, name: str) -> None:
        """Somebody is asked no more, for whatever reason: others need not be asked what it was not."""
        self._ended.add(name)

    def should_stop(self, name: str) -> str | None:
        """Why a provider is asked no further, or None."""
        if name == self.live:
            if self.live_available.reason:
                return "unavailable"
            return "done" if all(self._past(name, p) or self.should_stop(p) for p in self.providers) else None
        fold = self.providers[name]
        if fold.available.reason:
            return "unavailable"
        if self.reference_gone(name):
            return "reference unavailable"
        if self.has_reference or fold.unjudged:
            alone = self.live is not None and self._past(name, self.live) and not fold.asks_again()
            return fold.should_stop() or ("nobody to compare with" if alone else None)
        mine = [f for pair, f in self.pairs.items() if name in pair and not self._gone(pair, name)]
        if not mine:
            return "nobody to compare with"
        return "grouped" if all(f.state for f in mine) else None

    def reference_gone(self, name: str) -> str | None:
        """Which live deployment does not answer any more that a provider is compared with, and why; None mostly."""
        if self.live:
            return f"{self.live}: {self.live_available.reason}" if self.live_available.reason else None
        return self.providers[name].scorers_gone

    def _gone(self, pair: tuple[str, str], name: str) -> bool:
        other = pair[0] if pair[1] == name else pair[1]
        return self._past(name, other) or self.providers[other].available.reason is not None

    def _past(self, name: str, other: str) -> bool:
        """Whether `other` is asked no more, and `name` has answered, or failed, as many requests as it has."""
        return other in self._ended and len(self._answers[name]) >= len(self._answers[other])

    def groups(self) -> tuple[tuple[str, ...], ...] | None:
        """Providers shown to agree, joined along agreeing pairs; None where there is a reference."""
        if self.has_reference:
            return None
        there = [p for p, fold in self.providers.items() if fold.available.reason is None and not fold.unjudged]
        group = {p: {p} for p in there}
        for (a, b), fold in self.pairs.items():
            if fold.state == "alike" and a in group and b in group and group[a] is not group[b]:
                merged = group[a] | group[b]
                if any(self.pairs[pair].state == "different" for pair in self.pairs if {*pair} <= merged):
                    continue
                for member in merged:
                    group[member] = merged
        unique = {tuple(sorted(g)) for g in group.values()}
        return tuple(sorted(unique))

    def different(self) -> tuple[tuple[str, str], ...] | None:
        """Pairs shown to differ beyond the margin, but for the dates they may name; None where there is a reference."""
        if self.has_reference:
            return None
        if self.rules.dated:
            return ()
        return tuple(pair for pair, fold in self.pairs.items() if fold.state == "different")

    def pair_log_e(self, name: str) -> float:
        """The largest log e-value over a provider's pairs; 0 without pairs."""
        return max((f.evidence.log_e for pair, f in self.pairs.items() if name in pair), default=0.0)


def folded(fold: RunFold, attempts: Sequence[Attempt]) -> dict[str, int]:
    """Fold a whole journal as the run did, each provider up to where it stopped; returns how many each folded."""
    heads, repeats = settled(attempts, fold.scorers), settled_scores(attempts)
    used = dict.fromkeys(heads, 0)
    for seq in range(max((len(h) for h in heads.values()), default=0)):
        for name, head in heads.items():
            if seq < len(head) and used[name] == seq and fold.should_stop(name) is None and not fold.asks_again(name):
                fold.settle(head[seq].attempt, head[seq].scores)
                used[name] = seq + 1
                for provider in heads.keys() & fold.providers.keys():
                    _fold_repeats(fold, provider, repeats)
    return used


def _fold_repeats(fold: RunFold, name: str, repeats: Mapping[tuple[str, int], Mapping[str, Attempt]]) -> None:
    """Fold what a journal has of the requests of a provider that are to be asked again now."""
    everyone = fold.asked_again(name)
    while there := next(
        (r for s in fold.asks_again(name) if (r := repeats.get((name, s), {})).keys() >= {*everyone}), {}
    ):
        fold.settle_again(name, [there[by] for by in everyone])
