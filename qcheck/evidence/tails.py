"""Answers against a recorded envelope, whatever is observed of them: tail bets, and bounds of the routing fraction.

An observable says what scores an answer shows; everything that follows from them is here.

Silence. An answer that shows nothing shows no tail event, so it does not accuse; but it is no agreement either. What
shows nothing is for the observable to say: withheld log-probabilities do, but an empty answer to an item is a wrong
one, and may accuse. For the claim "consistent" a request counts as a deviating one if it failed, if its answer shows
nothing, or if it shows less than the calibration measured, or too little of it to see the resolution.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.recorded import RecordedEvidence
from qcheck.stats.bets import TailBets
from qcheck.stats.counted import bound_at
from qcheck.stats.fraction import fraction_lower, fraction_upper, requests_to_bound
from qcheck.suites import Suite
from qcheck.tailcounts import FULL, Score

__all__ = ["Shown", "TailEvidence"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What one answer shows.

    scores: by name. view: what it is seen in. full: whether it shows all of that view, so that it may be agreement.
    bets: whether it may be evidence: null bounds hold for answers that show all of a view that was known before.
    doubted: what is bet on in the place of `scores`, where these may come of something honest that calibration did not
    see; against "consistent" they count all the same.
    """

    scores: Mapping[Score, float]
    view: str = FULL
    full: bool = True
    bets: bool = True
    doubted: Mapping[Score, float] | None = None


class TailEvidence(RecordedEvidence):
    """Bets on tail events of the scores that answers show."""

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        self._bets = TailBets([level.weight for level in envelope.levels[FULL]])
        self._views: set[str] = set()  # that answers were evidence or agreement in
        self._seen_in = FULL  # the view of the last answer that showed anything
        self._bet_in = FULL  # that of the bets which were won
        self._hits: dict[str, list[int]] = {}  # of each event in that view, by stratum
        self._short = self._dim = self._watched = self._proven = 0

    @abstractmethod
    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        """What the answer to one probe shows; None for nothing."""

    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe."""
        shown = self._shown(probe_id, answer)
        levels = self._envelope.levels[shown.view if shown else FULL]
        stratum = self._probes[probe_id].stratum
        level = levels[self._envelope.watched]
        watched = shown is not None and shown.scores[level.score] > level.threshold
        bet_on = (shown.doubted or shown.scores) if shown and shown.bets else None
        hits = [bet_on is not None and bet_on[level.score] > level.threshold for level in levels]
        known, self._seen_in = self._seen_in, shown.view if shown else self._seen_in
        first = self.mute and shown is not None and shown.bets
        if shown and (shown.bets or shown.full):
            self._views.add(shown.view)
        # What is no bet, as an answer that moves to another view, loses at what was known before it.
        self._bet(hits, shown.view if shown and shown.bets else known, stratum, first=first)
        self.answered += 1
        self._watched += watched
        self._proven += hits[self._envelope.watched]
        if shown is None:
            self._silent += 1
        elif not shown.full:
            self._short += not watched
        elif shown.view not in self._envelope.claimable:
            self._dim += not watched
        if any(hit and level.outlying for hit, level in zip(hits, levels, strict=True)):
            self.deviating.append(probe_id)

    def _lose(self, probe_id: str) -> None:
        stratum = self._probes[probe_id].stratum
        self._bet([False] * len(self._envelope.levels[FULL]), self._seen_in, stratum, first=False)

    def _bet(self, hits: list[bool], view: str, stratum: str, *, first: bool) -> None:
        """Fold one request. Views are calibrated on the same answers: only what was won in the last one counts.

        first: whether this is the first answer to show anything. Whoever shows nothing yet loses like anybody else.
        """
        if any(hits) and view != self._bet_in:
            self._bets.give_back()
            self._bet_in, self._hits = view, {}
        levels = self._envelope.levels[view]
        before = self._hits.setdefault(stratum, [0] * len(levels)) if view == self._bet_in else [0] * len(levels)
        at = [bound_at(level.hit_bounds[stratum], n) for level, n in zip(levels, before, strict=True)]
        if first:
            at = self._envelope.first_at(view, stratum)
        self._bets.update(hits, at)
        before[:] = [n + hit for n, hit in zip(before, hits, strict=True)]

    @property
    def mute(self) -> bool:
        """Whether no answer so far has been evidence, nor can have been agreement."""
        return not self._views

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "inside the envelope"."""
        return self._bets.log_e

    def _against(self) -> tuple[int, int]:
        """Requests that count against "consistent", and all requests."""
        return self._not_agreeing + self._failed, self.requests

    @property
    def agrees(self) -> bool:
        """Whether most answers are agreement with the envelope."""
        return 2 * self._not_agreeing < self.answered

    @property
    def _not_agreeing(self) -> int:
        """Answers that are no agreement."""
        return self._watched + self._silent + self._short + self._dim

    def _visibility(self, variant: str) -> float:
        """Lower bound of the probability that a deviating answer shows the watched event, as answers were seen."""
        claimed = self._views & self._envelope.claimable or {FULL}
        return min(self._envelope.visibility[view].get(variant, 0.0) for view in claimed)

    def upper(self, variant: str) -> float:
        """Upper bound, at level alpha, of the share of requests with deviations as visible as `variant`."""
        e, visible = self._envelope, self._visibility(variant)
        bound = fraction_upper(*self._against(), e.alpha - e.delta)
        return min(1.0, bound / visible) if visible > 0 else 1.0

    @property
    def resolution(self) -> str | None:
        """The variant for which "consistent" is claimed."""
        return self._envelope.resolution

    def bound(self) -> float | None:
        """`upper(resolution)`, on which "consistent" rests; None where no variant is visible enough."""
        return self.upper(self.resolution) if self.resolution else None

    def needed(self, tolerance: float) -> int | None:
        """How many more requests, none of them deviating, bring `upper(resolution)` down to the tolerance."""
        e = self._envelope
        if e.resolution is None or (self._views and not self._views & e.claimable):
            return None
        target = tolerance * self._visibility(e.resolution)
        return requests_to_bound(*self._against(), target, e.alpha - e.delta)

    def fraction(self) -> tuple[float, float, float]:
        """Routing fraction: lower bound, estimate, upper bound (for the resolution), at alpha − delta per side."""
        e = self._envelope
        null = e.honest_share(self._views or {FULL}, self.answered)
        share = fraction_lower(self._proven, self.requests, e.alpha - e.delta)
        low = max(0.0, (share - null) / (1 - null)) if null < 1 else 0.0
        high = self.upper(e.resolution) if e.resolution else 1.0
        visible = self._visibility(e.resolution) if e.resolution else 1.0
        rate = self._watched / self.answered if self.answered else 0.0
        return low, min(max(rate / visible, low), max(high, low)), max(high, low)

    def blind_to(self, tolerance: float) -> tuple[str, ...]:
        """Recorded variants of which more than `tolerance` of the requests could come for all that was seen."""
        return tuple(v for v in self._variant_names if self.upper(v) > tolerance)
