"""Scores of every reference deployment beside any choice of the others, from what it shares with each and each two.

What `qcheck.evidence.scoring` says of an answer beside some deployments is, at each position, the smallest of its
distances from single ones, the smallest of its matched filters over pairs, and as noise the largest deviation within a
pair and the farthest that a variant lies from one. So one pass over the answers serves every choice of which
deployments to leave out; `qcheck.evidence.leave_one_out` says the same of each choice, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qcheck.baselines import Baseline, ProbeReference
from qcheck.evidence.alignment import align
from qcheck.evidence.leave_one_out import Answers, Scores
from qcheck.evidence.scoring import (
    EQUAL,
    EXPECTED_SHARE,
    JUMP,
    NOISE_FACTOR,
    Yardstick,
    and_all,
    direction_sums,
    distances_from,
    leading,
    most_steady,
)
from qcheck.evidence.views import View
from qcheck.stats.deviation import matched_filters, pair_sums, root_mean
from qcheck.suites import Probe
from qcheck.tailcounts import DIRECTION, SIZE, STEADY

__all__ = ["Pairwise"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Of the answers of each of r reference deployments to p probes, seen in one view, at k positions at most.

    distances: (p, r, r, k + 1) from each, nats, at each position and, as the last, over all of them; infinite from one
    that has not the path. noise: (p, r, r, r, k + 1) between two others at that answer's path, nats; apart: (p, r, r,
    variants, k + 1) between another and a variant. filters: (p, r, k, r, r, variants) matched filters over two others,
    noise factor applied, nats². full: (p, r), whether the answer shows as much as was recorded.
    """

    names: tuple[str, ...]
    probe_ids: tuple[str, ...]
    distances: Array
    noise: Array
    apart: Array
    filters: Array
    full: NDArray[np.bool_]

    @classmethod
    def of(cls, baseline: Baseline, answers: Answers, probes: Sequence[Probe], view: View) -> Pairwise:
        """From the answers of all deployments, by index, to all of the probes; directions are those of `directed`."""
        order, references = list(answers), baseline.references
        honest, directed = ([order.index(i) for i in some] for some in (references, baseline.directed))
        r, v, shape = len(honest), len(directed), (len(probes), len(honest))
        k = max(len(answers[i][p.id].positions) for i in references for p in probes)
        distances, full = np.full((*shape, r, k + 1), np.inf), np.zeros(shape, bool)
        noise, apart = np.zeros((*shape, r, r, k + 1)), np.zeros((*shape, r, v, k + 1))
        filters = np.zeros((*shape, k, r, r, v))
        rows = [*honest, *directed]
        for number, probe in enumerate(probes):
            recorded = ProbeReference(tuple((kept[probe.id],) for kept in answers.values()))
            for own, index in enumerate(references):
                a = align(view.of(answers[index][probe.id]), recorded, honest, view.tokens)
                if a is None:
                    continue
                at, shown = (number, own), int(a.positions[-1]) + 1
                there = [*range(shown), k]
                distances[at][:, there], full[at] = distances_from(a, honest), a.full
                sums = pair_sums(a.recorded[rows], a.recorded_floor[rows], a.positions)
                between = root_mean(*map(and_all, sums))
                noise[at][..., there], apart[at][..., there] = between[:r, :r], between[:r, r:]
                filters[at][:shown] = matched_filters(
                    a.candidate[honest],
                    a.recorded[honest],
                    a.recorded[directed],
                    a.positions,
                    NOISE_FACTOR,
                    EXPECTED_SHARE,
                )
        ids = tuple(p.id for p in probes)
        return cls(baseline.names(references), ids, distances, noise, apart, filters, full)

    def beside(self, absent: Sequence[str], yardstick: Yardstick) -> Scores:
        """Scores of those that are not `absent`, each beside the others of them.

        yardstick: with variants by their place among the directed ones.
        """
        there = [i for i, name in enumerate(self.names) if name not in absent]
        near, nats = list(yardstick.usual), np.array(list(yardstick.usual.values()))
        scores, rows = {}, np.arange(len(self.probe_ids))
        for own in there:
            others = [i for i in there if i != own]
            pairs = np.ix_(others, others)
            nearest = self.distances[:, own, others].min(axis=1)
            distance = np.where(np.isfinite(nearest[:, -1]), nearest[:, -1], 0.0)
            jumps = self.apart[:, own][:, *np.ix_(others, near)] - JUMP * nats[:, None]
            noise = self.noise[:, own][:, *pairs].max(axis=(1, 2)) + jumps.max(axis=(1, 2), initial=0.0)
            measures = yardstick.unit + noise
            each = NOISE_FACTOR * nearest[:, :-1] / measures[:, :-1]
            by_itself = np.minimum.accumulate(np.insert(each, 0, np.inf, axis=1), axis=1)
            took = (np.isfinite(self.distances[:, own, some, :-1]).sum(axis=1) > 1 for some in (there, others))
            trodden = [leading(some) for some in took]
            steady = np.max([np.minimum(by_itself[rows, n], most_steady(n)) for n in trodden], axis=0)
            best = np.zeros(len(noise))
            if len(others) > 1:
                two = ~np.eye(len(others), dtype=bool)
                filters = self.filters[:, own][:, :, *pairs][:, :, two].min(axis=2)
                best = direction_sums(filters, measures[:, :-1], yardstick).max(axis=1)
            best = np.where(self.full[:, own] & (distance > EQUAL), best, np.minimum(best, 0.0))
            columns = {SIZE: NOISE_FACTOR * distance / measures[:, -1], STEADY: steady, DIRECTION: best}
            scores[self.names[own]] = pd.DataFrame(columns, self.probe_ids)
        return scores
