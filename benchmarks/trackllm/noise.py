"""What an endpoint's own answers look like: noise between neighbours, modes, lattice, and a rare mode's share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.trackllm.distances import kl_nats, rms_nats, total_variation
from benchmarks.trackllm.recordings import Recording
from qcheck.stats.fraction import fraction_lower, fraction_upper

__all__ = ["MODE_TV", "Neighbours", "RareMode", "modes", "neighbours", "on_lattice", "rare_mode"]

MODE_TV = 0.05  # lists further apart than this, in total variation, are of different modes

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How consecutive answers of the same UTC date differ: share that are equal; KL and rms (pairs,) in nats."""

    equal: float
    kl: Array
    rms: Array


@dataclass(frozen=True, slots=True)
class RareMode:
    """Answers outside an endpoint's main mode.

    off (answers,): which they are. low, high: confidence sequence of their share, by the answers recorded. worst_low,
    worst_high: the same if all queries without a known list were in the main mode, or outside of it.
    """

    off: NDArray[np.bool_]
    low: float
    high: float
    worst_low: float
    worst_high: float


def neighbours(recording: Recording) -> Neighbours:
    """Compare each answer with the one before it, where both are of one date, so that no template's date differs."""
    same_date = recording.dates[1:] == recording.dates[:-1]
    before, after = recording.index[:-1][same_date], recording.index[1:][same_date]
    kl, rms = (distance(recording.lists, recording.lists)[before, after] for distance in (kl_nats, rms_nats))
    return Neighbours(float((before == after).mean()), kl, rms)


def modes(recording: Recording) -> NDArray[np.intp]:
    """(distinct,) the mode of each list; modes are numbered from the one with the commonest list, 0.

    Lists are taken in falling order of their counts; one within `MODE_TV` of a mode's first list joins it (the nearest
    such), else it is the first of a mode of its own.
    """
    far = total_variation(recording.lists, recording.lists)
    first: list[int] = []
    result = np.zeros(len(recording.lists), np.intp)
    for which in np.argsort(-recording.counts, kind="stable"):
        nearest = int(np.argmin(far[which, first])) if first else 0
        if first and far[which, first[nearest]] <= MODE_TV:
            result[which] = nearest
        else:
            result[which] = len(first)
            first.append(int(which))
    return result


def on_lattice(lists: Array, step: float) -> float:
    """Share of all log-probabilities whose distance below the list's first is a multiple of `step`.

    A distance counts as one where it is off by no more than two units in the last place of a float32, which is what
    rounding the two numbers and the normalisation before can do. Distances without a lattice would do so with
    probability 4 ulp / step: below 0.0001 for 1/16.
    """
    top = np.nanmax(lists, axis=1, keepdims=True)
    distance = (top - lists)[~np.isnan(lists) & (lists < top)]
    ulp = float(np.spacing(np.float32(-np.nanmin(lists))))
    return float((np.abs(distance - step * np.round(distance / step)) <= 2 * ulp).mean())


def rare_mode(recording: Recording, alpha: float) -> RareMode:
    """Which answers are outside the main mode, and bounds of their share that hold at all times with error `alpha`.

    Both bounds are `qcheck.stats.fraction`'s at alpha / 2. They hold for any dependence between answers, for the
    running average of each answer's probability given what came before.
    """
    off = (modes(recording) != 0)[recording.index]
    hits, answers = int(off.sum()), len(off)
    unknown = recording.dropped + recording.failed
    return RareMode(
        off,
        fraction_lower(hits, answers, alpha / 2),
        fraction_upper(hits, answers, alpha / 2),
        fraction_lower(hits, answers + unknown, alpha / 2),
        fraction_upper(hits + unknown, answers + unknown, alpha / 2),
    )
