"""The envelope of a run: tail events with their null bounds and weights, frozen before the first request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

import numpy as np

from qcheck.stats.counted import hit_bounds
from qcheck.stats.fraction import requests_to_bound
from qcheck.tailcounts import FLIP, FULL, LOSS, SIZE, CalibrationTable, Score, TailEvent

__all__ = ["CALIBRATION_SHARE", "Envelope", "TailLevel", "freeze"]

CALIBRATION_SHARE = 0.2
FULL_SHARE = 0.5  # of the calibration's error for answers that show all; what shows less shares the rest
# Of a view's error: for confidence bounds of null probabilities; for bets below them, while hits are few
# (`qcheck.stats.counted`); for visibilities.
NULL_SHARE, PRICE_SHARE, VISIBLE_SHARE = 0.5, 0.3, 0.2
THRESHOLD_WEIGHTS = (1.0, 2.0, 2.0, 3.0)  # of a score's events, rising; chosen on lab-tiny and half of its variants
# What an event must at least show of a variant for "consistent" to be claimed for it, by the event's score. Most
# texts of a deviation, and answers of a worse model, are what they should be all the same; below a quarter, hundreds of
# them would bound nothing.
MIN_VISIBILITY = {SIZE: 0.5, FLIP: 0.25, LOSS: 0.25}
# Bounds are kept at nine digits, so that another release of scipy replays the same ones; rounded to the safe side.
UP, DOWN = Context(prec=9, rounding=ROUND_CEILING), Context(prec=9, rounding=ROUND_FLOOR)
UP_FEW = Context(prec=5, rounding=ROUND_CEILING)  # of hit bounds, which are found by iteration


@dataclass(frozen=True, slots=True)
class TailLevel:
    """One tail event with everything the test needs.

    score, threshold: it is score > threshold. null_bounds: by stratum, upper confidence bound of its null probability.
    hit_bounds: by stratum, at which probability the first and each further answer that shows it is bet on
    (`qcheck.stats.counted`). weight: of bets on it.

    outlying: whether an answer that shows it is counted as deviating in words and in the rule of two answers: it is
    wrong where every reference deployment is right, or lies beyond the 99.8 % quantile of every honest deployment's
    scores on the selection fold, noise factor applied.
    """

    score: Score
    threshold: float
    null_bounds: dict[str, float]
    hit_bounds: dict[str, tuple[float, ...]]
    weight: float
    outlying: bool

    @property
    def null_bound(self) -> float:
        """The largest of the strata's."""
        return max(self.null_bounds.values())


@dataclass(frozen=True, slots=True)
class Envelope:
    """The calibration table turned into numbers of this run; it stands in the manifest before the first request.

    alpha: the suite's share of the run's error per provider, before families. delta: the part of it that calibration
    takes: confidence bounds may fail with some of it, the rest is for bets at `hit_bounds`, whose mean may lie above 1.
    levels: by view of an answer, alike in scores and weights. watched: which event of a view bounds the routing
    fraction by its share of requests. visibility: by view and variant, lower bound of the probability that an answer of
    the variant shows the watched event. resolution: the variant for which "consistent" is claimed; None where no
    recorded variant is visible enough.
    """

    alpha: float
    delta: float
    levels: dict[str, tuple[TailLevel, ...]]
    watched: int
    visibility: dict[str, dict[str, float]]
    resolution: str | None

    @property
    def claimable(self) -> frozenset[str]:
        """The views in which the resolution is visible enough to claim "consistent" on."""
        if self.resolution is None:
            return frozenset()
        least = MIN_VISIBILITY[self.levels[FULL][self.watched].score]
        return frozenset(view for view, seen in self.visibility.items() if seen[self.resolution] >= least)

    def first_at(self, view: str, stratum: str) -> list[float]:
        """At what each event of a provider's first answer that shows anything, seen in `view`, is bet on.

        It may choose the view that it is judged in, so that the bets on what it may show in all of them are one bet:
        half of it in the full view, in which a provider begins, the rest split over the others. Nothing is bet on an
        event which it could escape in one of them at no loss.
        """
        others = len(self.levels) - 1
        times = {name: 1.0 if not others else 2.0 if name == FULL else 2.0 * others for name in self.levels}
        at = {name: [times[name] * x.hit_bounds[stratum][0] for x in levels] for name, levels in self.levels.items()}
        return [1.0 if max(all_views) >= 1 else own for own, *all_views in zip(at[view], *at.values(), strict=True)]

    def honest_share(self, views: Iterable[str], answered: int) -> float:
        """The largest expected share of `answered` honest answers, seen in `views`, that show the watched event.

        The first of them may have chosen in which of all views it was seen.
        """
        bounds = {view: levels[self.watched].null_bound for view, levels in self.levels.items()}
        first = sum(bounds.values()) / answered if answered and len(bounds) > 1 else 0.0
        return min(1.0, max(bounds[view] for view in views) + first)

    def requests_expected(self, tolerance: float) -> int | None:
        """How many requests, none of them deviating, make a provider consistent; None where nothing would."""
        if self.resolution is None:
            return None
        return requests_to_bound(0, 0, tolerance * self.visibility[FULL][self.resolution], self.alpha - self.delta)


def freeze(table: CalibrationTable, alpha: float) -> Envelope:
    """The envelope of one suite at `alpha`. The scores that are looked at have the same weight.

    Of a score's weight rare events have most; those of one threshold are one.
    """
    delta = CALIBRATION_SHARE * alpha
    lesser = [view for view in table.views if view != FULL]
    errors = {view: (1 - FULL_SHARE) * delta / len(lesser) for view in lesser}
    errors[FULL] = (FULL_SHARE if lesser else 1.0) * delta
    each = {view: NULL_SHARE * error / table.null_probabilities for view, error in errors.items()}
    weights = _weights(table)
    # Strata are counted independently, views on the same answers: 1 and all prices of a stratum, multiplied over the
    # strata, come to 1 + PRICE_SHARE δ/α.
    stratum = (1 + PRICE_SHARE * delta / alpha) ** (1 / len(table.clusters)) - 1
    prices = {view: stratum * error / delta for view, error in errors.items()}
    levels = {view: _levels(table, view, each[view], prices[view], weights) for view in table.views}

    def seen(view: str, index: int) -> dict[str, float]:
        event, each = table.seen(view)[index], VISIBLE_SHARE * errors[view] / max(1, table.visibilities)
        return {v: _rounded(event.visibility(v, each), DOWN) for v in table.variants}

    def envelope(watched: int, resolution: str | None) -> Envelope:
        return Envelope(alpha, delta, levels, watched, {v: seen(v, watched) for v in table.views}, resolution)

    full = {i: seen(FULL, i) for i in table.watchable}

    def strength(variant: str) -> float:
        """KL, where it is known."""
        return table.variant_kl.get(variant, max(by_variant[variant] for by_variant in full.values()))

    for variant in sorted(table.variants, key=lambda v: (v != "fp8", strength(v))):
        # Youden's index: the event that tells the variant best from the worst honest deployment.
        best = max(full, key=lambda i: full[i][variant] - levels[FULL][i].null_bound)
        if full[best][variant] >= MIN_VISIBILITY[levels[FULL][best].score]:
            return envelope(best, variant)
    return envelope(min(full, key=lambda i: levels[FULL][i].null_bound), None)


def _bounds(table: CalibrationTable, view: str, each: float) -> list[dict[str, float]]:
    """Of each of a view's events the null bounds by stratum, which fail with probability at most `each`."""

    def bound(event: TailEvent, stratum: str) -> float:
        return _rounded(min(1.0, _widening(table, event) * event.null_bound(stratum, each)), UP)

    return [{s: bound(event, s) for s in event.counts} for event in table.seen(view)]


def _weights(table: CalibrationTable) -> list[float]:
    """Of the events of every view, by their scores, thresholds rising. What was counted must not decide them: an
    average of bets on counts is worth no more than one of them only if it is fixed before."""
    events = table.seen(FULL)
    weights, scores = [0.0] * len(events), [event.score for event in events]
    for score in (kinds := set(scores)):
        own = [i for i, kind in enumerate(scores) if kind == score]
        prior = np.array(THRESHOLD_WEIGHTS if len(own) == len(THRESHOLD_WEIGHTS) else [1.0] * len(own))
        for index, weight in zip(own, prior / prior.sum() / len(kinds), strict=True):
            first = next(i for i in own if events[i].threshold == events[index].threshold)
            weights[first] += float(weight)
    return weights


def _levels(
    table: CalibrationTable, view: str, each: float, price: float, weights: Sequence[float]
) -> tuple[TailLevel, ...]:
    """One view's events with null bounds that fail with probability at most `each`, and bets at that price."""
    events = table.seen(view)
    lowest = {e.score: i for i, e in reversed(list(enumerate(events)))}  # each score's first event
    levels = []
    for i, (event, bounds, weight) in enumerate(zip(events, _bounds(table, view, each), weights, strict=True)):
        outlying = event.score == LOSS or i != lowest[event.score]
        levels.append(
            TailLevel(event.score, event.threshold, bounds, _hit_bounds(table, event, price, bounds), weight, outlying)
        )
    return tuple(levels)


def _hit_bounds(
    table: CalibrationTable, event: TailEvent, price: float, null_bounds: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    """By stratum what hits are bets at: no more than the null bound, where that holds."""
    known = {s: hit_bounds(count.largest, count.clusters, price) for s, count in event.counts.items()}
    widening = _widening(table, event)
    return {s: tuple(min(_rounded(widening * q, UP_FEW), null_bounds[s]) for q in each) for s, each in known.items()}


def _widening(table: CalibrationTable, event: TailEvent) -> float:
    return table.noise_factor if event.score == LOSS else 1.0


def _rounded(bound: float, context: Context) -> float:
    return float(context.create_decimal_from_float(bound))
