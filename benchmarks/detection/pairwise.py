"""Scores of every reference deployment beside any choice of the others, from what it shares with each and each two.

What `qcheck.evidence.scoring` says of an answer beside some deployments is the smallest of its distances from single
ones, the smallest of its matched filters over pairs, and as noise the largest deviation within a pair and the farthest
that a variant lies from one. So one pass over the answers serves every choice of which deployments to leave out;
`qcheck.evidence.leave_one_out` says the same of each choice, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qcheck.baselines import Baseline, ProbeReference
from qcheck.evidence.leave_one_out import Answers, Scores
from qcheck.evidence.scoring import EQUAL, EXPECTED_SHARE, JUMP, NOISE_FACTOR, Alignment, Yardstick, align
from qcheck.evidence.views import View
from qcheck.stats.deviation import deviation, matched_filters, rms, spreads
from qcheck.suites import Probe
from qcheck.tailcounts import DIRECTION, SIZE

__all__ = ["Pairwise"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairwise:
    """Of the answers of each of r reference deployments to p probes, seen in one view.

    distances: (p, r, r) from each, nats. noise: (p, r, r, r) between two others at that answer's path, nats; apart:
    (p, r, r, variants) between another and a variant. filters: (p, r, r, r, variants) matched filters over two others,
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
        r, shape = len(honest), (len(probes), len(honest))
        distances, noise, full = np.zeros((*shape, r)), np.zeros((*shape, r, r)), np.zeros(shape, bool)
        apart, filters = np.zeros((*shape, r, len(directed))), np.zeros((*shape, r, r, len(directed)))
        for number, probe in enumerate(probes):
            recorded = ProbeReference(tuple((kept[probe.id],) for kept in answers.values()))
            for own, index in enumerate(references):
                a = align(view.of(answers[index][probe.id]), recorded, honest, view.tokens)
                if a is None:
                    continue
                at = number, own
                distances[at], full[at] = _distances(a, honest), a.full
                rows = [*honest, *directed]
                between = spreads(a.recorded[rows], a.recorded_floor[rows])
                noise[at], apart[at] = between[:r, :r], between[:r, r:]
                filters[at] = matched_filters(
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

        yardstick: of the usual share, with variants by their place among the directed ones.
        """
        if yardstick.share != EXPECTED_SHARE:
            raise ValueError(f"filters look for {EXPECTED_SHARE} of a recorded deviation, not for {yardstick.share}")
        there = [i for i, name in enumerate(self.names) if name not in absent]
        near, nats = list(yardstick.usual), np.array(list(yardstick.usual.values()))
        scores = {}
        for own in there:
            others = [i for i in there if i != own]
            pairs = np.ix_(others, others)
            nearest = self.distances[:, own, others].min(axis=1)
            distance = np.where(np.isfinite(nearest), nearest, 0.0)
            jumps = self.apart[:, own][:, *np.ix_(others, near)] - JUMP * nats
            scale = (
                yardstick.unit + self.noise[:, own][:, *pairs].max(axis=(1, 2)) + jumps.max(axis=(1, 2), initial=0.0)
            )
            best = np.zeros(len(scale))
            if len(others) > 1:
                two = ~np.eye(len(others), dtype=bool)
                best = (self.filters[:, own][:, *pairs][:, two].min(axis=1) / scale[:, None] ** 2).max(axis=1)
            best = np.where(self.full[:, own] & (distance > EQUAL), best, np.minimum(best, 0.0))
            columns = {SIZE: NOISE_FACTOR * distance / scale, DIRECTION: best}
            scores[self.names[own]] = pd.DataFrame(columns, self.probe_ids)
        return scores


def _distances(a: Alignment, honest: Sequence[int]) -> Array:
    """(r,) rms deviation from each, nats; infinite from one that has not the path."""
    candidate, recorded = a.candidate[honest], a.recorded[honest]
    floors = a.recorded_floor[honest]
    weights = ~np.isnan(floors) & ~(np.isnan(candidate) & np.isnan(recorded))
    deviations = np.where(weights, deviation(candidate, a.candidate_floor[honest], recorded, floors), 0.0)
    return np.where(weights.any(axis=1), rms(deviations, weights.astype(float)), np.inf)
