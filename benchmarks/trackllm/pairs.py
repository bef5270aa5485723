"""Two endpoints of one model, compared on the same dates only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.trackllm.dates import common_tokens, date_means
from benchmarks.trackllm.distances import kl_nats
from benchmarks.trackllm.recordings import Recording
from qcheck.evidence.margin import MARGIN_NATS, MARGIN_SHARE
from qcheck.stats.bets import TailBets

__all__ = ["Pair", "compare", "log_e_of", "sign_flip_p", "within"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Same-date answers of two endpoints, or of one beside itself.

    dates: how many both have. kl (dates,): median over the date's pairs of answers, nats. beyond: share of pairs with
    more than the margin, mean over dates. apart: on how many dates even the nearest two lists have more. p: see
    `sign_flip_p`. log_e: of the margin rule if every date were a probe of its own, by its first answers. The last two
    are None for one endpoint.
    """

    dates: int
    kl: Array
    beyond: float
    apart: int
    p: float | None = None
    log_e: float | None = None


def log_e_of(beyond: list[bool]) -> float:
    """log e-value against "at most `MARGIN_SHARE` of the probes differ by more than the margin"."""
    bets = TailBets([1.0])
    for hit in beyond:
        bets.update([hit], [MARGIN_SHARE])
    return bets.log_e


def sign_flip_p(differences: Array) -> float:
    """Exact p-value of "on each date the two endpoints could be exchanged", with the date as the unit.

    differences: (dates, tokens) of the endpoints' mean log-probabilities. The statistic is the mean over tokens of the
    absolute mean over dates; all patterns of signs are counted, up to a common one that changes nothing. Answers of
    one date stay together, however they depend on each other.
    """
    signs = np.array([(1, *rest) for rest in product((1, -1), repeat=len(differences) - 1)], float)
    statistics = np.abs(signs @ differences).mean(axis=1)
    return float((statistics >= statistics[0] * (1 - 1e-12)).mean())


def within(recording: Recording, dates: NDArray[np.datetime64]) -> Pair:
    """One endpoint beside itself: every pair of different answers of a date."""
    far = kl_nats(recording.lists, recording.lists)
    blocks = []
    for date in dates:
        lists = recording.index[recording.dates == date]
        blocks.append(far[np.ix_(lists, lists)][~np.eye(len(lists), dtype=bool)])
    return _summary(blocks)


def compare(x: Recording, y: Recording) -> Pair:
    """Two endpoints on the dates that both have; KL of y from x."""
    dates = np.intersect1d(x.dates, y.dates)
    axis = tuple(dict.fromkeys((*x.tokens, *y.tokens)))
    far = kl_nats(x.on(axis), y.on(axis))
    blocks = [far[np.ix_(x.index[x.dates == date], y.index[y.dates == date])] for date in dates]
    common = common_tokens([x, y])
    differences = date_means(x, common, dates) - date_means(y, common, dates)
    first = [bool(block[0, 0] > MARGIN_NATS) for block in blocks]
    return _summary(blocks, sign_flip_p(differences), log_e_of(first))


def _summary(blocks: list[Array], p: float | None = None, log_e: float | None = None) -> Pair:
    return Pair(
        len(blocks),
        np.array([np.median(block) for block in blocks]),
        math.fsum(float((block > MARGIN_NATS).mean()) for block in blocks) / len(blocks),
        sum(bool(block.min() > MARGIN_NATS) for block in blocks),
        p,
        log_e,
    )
