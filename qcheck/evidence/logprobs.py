"""Top-k log-probabilities against a recorded envelope: size and direction, as tail bets.

Silence. A provider that gives no log-probabilities for a request shows no tail event there, so silence never accuses;
but it is no agreement either. For the claim "consistent" a request counts as a deviating one if it failed, if its
answer has no log-probabilities, or lists fewer tokens or positions than were recorded: what such an answer would have
shown of a deviation is not what the calibration measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats as scipy_stats

from qcheck.baselines import SIZE, Answer, Baseline, CalibrationTable, TailEvent
from qcheck.evidence.scoring import align, score
from qcheck.result import Divergence, Evidence, Finding
from qcheck.stats.attribution import Attribution
from qcheck.stats.bets import TailBets
from qcheck.stats.fraction import fraction_lower, fraction_upper, requests_to_bound

__all__ = ["Envelope", "LogprobEvidence", "TailLevel", "freeze"]

SIZE_WEIGHT = 0.5
CALIBRATION_SHARE = 0.2
MIN_VISIBILITY = 0.5


@dataclass(frozen=True, slots=True)
class TailLevel:
    """One tail event with everything the test needs: score, threshold, null bound and weight.

    outlying: whether an answer that shows it is counted as deviating in words and in the rule of two answers: it lies
    beyond the largest score of any honest deployment on the selection fold, noise factor applied.
    """

    score: str
    threshold: float
    null_bound: float
    weight: float
    outlying: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """The calibration table turned into numbers of this run; it stands in the manifest before the first request.

    alpha: the run's error per provider before families. delta: the part of it that the calibration bounds may fail
    with. watched: the size event whose share of requests bounds the routing fraction. visibility: by variant, lower
    bound of the probability that one of its answers shows the watched event. resolution: the variant for which
    "consistent" is claimed; None where no recorded variant is visible enough.
    """

    alpha: float
    delta: float
    levels: tuple[TailLevel, ...]
    watched: int
    visibility: dict[str, float]
    resolution: str | None


def freeze(table: CalibrationTable, alpha: float) -> Envelope:
    """The envelope for a run at `alpha`. Half of the weight lies on size, half on the variants' directions."""
    delta = CALIBRATION_SHARE * alpha
    each = delta / table.bounded
    sizes = [e for e in table.events if e.score == SIZE]
    directions = [e for e in table.events if e.score != SIZE]
    share = SIZE_WEIGHT if directions else 1.0

    def weight(event: TailEvent) -> float:
        return share / len(sizes) if event.score == SIZE else (1 - share) / len(directions)

    usual = {e.score: i for i, e in reversed(list(enumerate(table.events)))}  # each score's first, lowest event
    levels = tuple(
        TailLevel(e.score, e.threshold, table.null_bound(e, each), weight(e), i != usual[e.score])
        for i, e in enumerate(table.events)
    )
    seen = {
        i: {v: table.visibility(e, v, each) for v in table.variant_kl}
        for i, e in enumerate(table.events)
        if e.score == SIZE
    }
    weakest_first = sorted(table.variant_kl, key=lambda v: (v != "fp8", table.variant_kl[v]))
    for variant in weakest_first:
        # Youden's index: the event that tells the variant best from the worst honest deployment.
        best = max(seen, key=lambda i: seen[i][variant] - levels[i].null_bound)
        if seen[best][variant] >= MIN_VISIBILITY:
            return Envelope(alpha, delta, levels, best, seen[best], variant)
    least = min(seen, key=lambda i: levels[i].null_bound)
    return Envelope(alpha, delta, levels, least, seen[least], None)


class LogprobEvidence:
    """Folds one provider's answers in plan order."""

    name = "logprobs"

    def __init__(self, baseline: Baseline, envelope: Envelope) -> None:
        if baseline.table is None:
            raise ValueError("a baseline without a calibration table has no envelope")
        self._baseline, self._envelope, self._table = baseline, envelope, baseline.table
        self._variant_names = baseline.names(baseline.variants)
        self._bets = TailBets([c.null_bound for c in envelope.levels], [c.weight for c in envelope.levels])
        self._attribution = Attribution(self._variant_names, self._table.noise_rms)
        self._kl: list[float] = []
        self.deviating: list[str] = []
        self.answered = self._failed = self._silent = self._short = self._watched = 0

    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe."""
        self.answered += 1
        reference = self._baseline.probe(probe_id)
        alignment = align(answer, reference) if reference else None
        if alignment is None:
            self._silent += 1
            self._bets.update([False] * len(self._envelope.levels))
            return
        s = score(alignment, self._baseline.references, self._baseline.variants)
        by_score = {SIZE: s.size, **dict(zip(self._variant_names, s.directions, strict=True))}
        hits = [by_score[c.score] > c.threshold for c in self._envelope.levels]
        self._bets.update(hits)
        self._watched += hits[self._envelope.watched]
        self._short += not alignment.full and not hits[self._envelope.watched]
        if any(hit and level.outlying for hit, level in zip(hits, self._envelope.levels, strict=True)):
            self.deviating.append(probe_id)
        self._kl.append(s.kl)
        if s.deviations is not None:
            self._attribution.update(s.deviations)

    def fail(self) -> None:
        """Count a request that finally failed: e = 1, and no agreement."""
        self._failed += 1

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "inside the envelope"."""
        return self._bets.log_e

    def _against(self) -> tuple[int, int]:
        """Requests that count against "consistent", and all requests."""
        return self._watched + self._silent + self._short + self._failed, self.answered + self._failed

    def upper(self, variant: str) -> float:
        """Upper bound, at level alpha, of the share of requests with deviations as visible as `variant`."""
        e = self._envelope
        visible = e.visibility.get(variant, 0.0)
        bound = fraction_upper(*self._against(), e.alpha - e.delta)
        return min(1.0, bound / visible) if visible > 0 else 1.0

    @property
    def resolution(self) -> str | None:
        """The variant for which "consistent" is claimed."""
        return self._envelope.resolution

    def needed(self, tolerance: float) -> int | None:
        """How many more requests, none of them deviating, bring `upper(resolution)` down to the tolerance."""
        e = self._envelope
        if e.resolution is None:
            return None
        target = tolerance * e.visibility[e.resolution]
        return requests_to_bound(*self._against(), target, e.alpha - e.delta)

    def fraction(self) -> tuple[float, float, float]:
        """Routing fraction: lower bound, estimate, upper bound (for the resolution), at alpha − delta per side."""
        e = self._envelope
        null = e.levels[e.watched].null_bound
        low = max(0.0, (fraction_lower(self._watched, self.answered, e.alpha - e.delta) - null) / (1 - null))
        high = self.upper(e.resolution) if e.resolution else 1.0
        visible = e.visibility.get(e.resolution, 1.0) if e.resolution else 1.0
        rate = self._watched / self.answered if self.answered else 0.0
        return low, min(max(rate / visible, low), max(high, low)), max(high, low)

    def divergence(self) -> Divergence | None:
        """Mean KL per position with a descriptive 95 % interval (Student's t over requests)."""
        if not self._kl:
            return None
        values = np.asarray(self._kl)
        mean = float(values.mean())
        half = float("inf")
        if len(values) > 1:
            half = float(scipy_stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        high = mean + half if np.isfinite(half) else float(values.max())
        return Divergence(mean, max(0.0, mean - half), high, self._table.envelope_kl)

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates."""
        return self._attribution.posterior()

    def blind_to(self, tolerance: float) -> tuple[str, ...]:
        """Recorded variants of which more than `tolerance` of the requests could come for all that was seen."""
        return tuple(v for v in self._variant_names if self.upper(v) > tolerance)

    def snapshot(self, weight: float) -> Evidence:
        """The observable's part of the result."""
        return Evidence(self.name, self.answered, self.log_e, weight, self._findings())

    def _findings(self) -> tuple[Finding, ...]:
        found = []
        if self._silent:
            text = (
                f"{self._silent} of {self.answered} answers came without log-probabilities; they count neither for nor "
                "against the provider in the e-value, and against a consistent verdict"
            )
            found.append(Finding("logprobs_missing", "info", text, None, ()))
        if self._short:
            text = (
                f"{self._short} of {self.answered} answers list fewer tokens or positions than were recorded; what "
                "they hide is unknown, so they count against a consistent verdict"
            )
            found.append(Finding("logprobs_short", "info", text, None, ()))
        return tuple(found)
