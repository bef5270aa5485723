"""The envelope of a run: tail events with their null bounds and weights, frozen before the first request."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

from qcheck.tailcounts import LOSS, SIZE, CalibrationTable, TailEvent

__all__ = ["CALIBRATION_SHARE", "Envelope", "TailLevel", "freeze"]

CALIBRATION_SHARE = 0.2
SIZE_WEIGHT = 0.5
# What an event must at least show of a variant for "consistent" to be claimed for it, by the event's score. Most
# answers of a worse model are right all the same; below a quarter, hundreds of them would bound nothing.
MIN_VISIBILITY = {SIZE: 0.5, LOSS: 0.25}
# Bounds are kept at nine digits, so that another release of scipy replays the same ones; rounded to the safe side.
UP, DOWN = Context(prec=9, rounding=ROUND_CEILING), Context(prec=9, rounding=ROUND_FLOOR)


@dataclass(frozen=True, slots=True)
class TailLevel:
    """One tail event with everything the test needs: score, threshold, null bound by stratum, and weight.

    outlying: whether an answer that shows it is counted as deviating in words and in the rule of two answers: it is
    wrong where every reference deployment is right, or lies beyond the largest score of any honest deployment on the
    selection fold, noise factor applied.
    """

    score: str
    threshold: float
    null_bounds: dict[str, float]
    weight: float
    outlying: bool

    @property
    def null_bound(self) -> float:
        """The largest of the strata's."""
        return max(self.null_bounds.values())


@dataclass(frozen=True, slots=True)
class Envelope:
    """The calibration table turned into numbers of this run; it stands in the manifest before the first request.

    alpha: the run's error per provider before families. delta: the part of it that the calibration bounds may fail
    with. watched: the event whose share of requests bounds the routing fraction. visibility: by variant, lower
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
    """The envelope for a run at `alpha`. Half of the weight lies on size, half on directions; or all on losses."""
    delta = CALIBRATION_SHARE * alpha
    each = delta / table.bounded
    levels = _levels(table, each)
    seen = {
        i: {v: _rounded(table.events[i].visibility(v, each), DOWN) for v in table.variants} for i in table.watchable
    }

    def strength(variant: str) -> float:
        """KL, where it is known."""
        return table.variant_kl.get(variant, max(by_variant[variant] for by_variant in seen.values()))

    for variant in sorted(table.variants, key=lambda v: (v != "fp8", strength(v))):
        # Youden's index: the event that tells the variant best from the worst honest deployment.
        best = max(seen, key=lambda i: seen[i][variant] - levels[i].null_bound)
        if seen[best][variant] >= MIN_VISIBILITY[levels[best].score]:
            return Envelope(alpha, delta, levels, best, seen[best], variant)
    least = min(seen, key=lambda i: levels[i].null_bound)
    return Envelope(alpha, delta, levels, least, seen[least], None)


def _levels(table: CalibrationTable, each: float) -> tuple[TailLevel, ...]:
    """The table's events with null bounds that fail with probability at most `each`."""
    watchable = table.watchable
    directed = len(table.events) - len(watchable)
    share = SIZE_WEIGHT if directed else 1.0
    lowest = {e.score: i for i, e in reversed(list(enumerate(table.events)))}  # each score's first event

    def level(index: int, event: TailEvent) -> TailLevel:
        widening = table.noise_factor if event.score == LOSS else 1.0
        return TailLevel(
            event.score,
            event.threshold,
            {s: _rounded(min(1.0, widening * event.null_bound(s, each)), UP) for s in event.counts},
            share / len(watchable) if index in watchable else (1 - share) / directed,
            outlying=event.score == LOSS or index != lowest[event.score],
        )

    return tuple(level(index, event) for index, event in enumerate(table.events))


def _rounded(bound: float, context: Context) -> float:
    return float(context.create_decimal_from_float(bound))
