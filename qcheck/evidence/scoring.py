"""Scores of one answer against recorded ones, wherever its path of tokens equals a recorded path.

Noise. What honest deployments make of a probe differs from probe to probe: near a router's tie or a rare token much,
elsewhere hardly. So deviations are measured in units of the probe's own noise: the largest deviation between two of
its reference deployments, plus a `unit` that keeps it from being taken for nothing where they happen to agree (on a
grid more, by what rounding adds), plus the *jump* of recorded variants: how far one of them, that usually stays near
the envelope, lies beyond twice its usual deviation. Where a router is almost undecided between two experts, whatever
moves it a little may turn it, a quantisation as well as another kernel, and an answer then lies dozens of times farther
away than elsewhere. That ten references took the same expert does not show it; that one of four variants took the other
does.

Size. The rms deviation from the *nearest* reference deployment, over the noise.

Steadiness. The same at each position by itself, beside the noise of that position: the *smallest* counts. Where a
router turns at one token, one position of an honest answer lies far off, and the next ones hardly: other weights move
all of them. Looked at are the positions that at least two reference deployments took; where that is a single one,
as where the answer leaves their paths at once, it shows `ALONE` at most. Of a deployment that is left out the larger
score counts, with and without itself among those who took them: the first bounds what it scores once it is in the
baseline, the second is what one like it scores that is not.

Direction. How much better some recorded variant's deviation explains the answer than the envelope does: at each
position the matched filter of the variant, for a fifth of the recorded deviation: another engine shows some of it, not
all, the less the smaller it is beside the engines' own noise. The answer's deviation is taken from reference a, the
variant's from another reference b: a reference shared by both would put its own noise into both and accuse honest
providers; the *smallest* over all such pairs counts. What speaks for the variant is divided by the square of the
position's noise, what speaks against it by that of `AGAINST` units; no position adds or takes more than `most_of` the
answer's tokens, so that one of them alone, however far off, proves little. The largest sum over the variants is one
score with one null bound, so that searching among many variants costs what it costs the honest deployments.

All of them can only fall when references are added, for one `Alignment`: so the scores of a deployment left out of the
references bound the scores that it has when it stands among them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Baseline
from qcheck.evidence.alignment import Alignment
from qcheck.stats.deviation import by_position, deviation, matched_filters, pair_sums, partition_kl, root_mean
from qcheck.tailcounts import DIRECTION, SIZE, STEADY, Score

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4
NOISE_FACTOR = 1.5  # by which honest deviations are multiplied, for kernels that nobody recorded
JUMP = 2.0  # times its usual deviation, from where on a variant is taken to have jumped; a convention
EXPECTED_SHARE = 0.2  # of a recorded deviation that another engine shows; chosen on lab-tiny
ALONE = 1.0  # that a single position may show of steadiness; a convention
MOST = 1.0  # that one of four positions, or more, may add to a direction, or take from it; chosen on lab-tiny
TOGETHER = 4.0  # that fewer may together; as many as four do
AGAINST = 4.0  # units, by the square of which what speaks against a direction is divided; chosen on lab-tiny

__all__ = [
    "ALONE",
    "EQUAL",
    "EXPECTED_SHARE",
    "JUMP",
    "NOISE_FACTOR",
    "Scores",
    "Yardstick",
    "and_all",
    "direction_sums",
    "distances_from",
    "leading",
    "most_of",
    "resemblance",
    "scales",
    "score",
    "score_each",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What deviations are measured by.

    unit: nats that are added to each probe's noise. usual: by index of a variant whose jumps count as noise, nats by
    which it usually deviates from the reference that is farthest from it. most: that one position may add to a
    direction, or take from it.
    """

    unit: float
    usual: Mapping[int, float] = field(default_factory=dict)
    most: float = MOST

    @classmethod
    def of(cls, baseline: Baseline) -> Self:
        """That of a calibrated baseline. Raises ValueError for one that is not calibrated on log-probabilities."""
        table = baseline.table
        if table is None or table.noise_unit is None or table.most is None:
            raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
        names = zip(baseline.directed, baseline.names(baseline.directed), strict=True)
        usual = {i: table.usual_deviations[name] for i, name in names if name in table.usual_deviations}
        return cls(table.noise_unit, usual, table.most)

    def on_grid(self, step: float) -> Self:
        """The same for values that were rounded to multiples of `step` nats: that adds its own noise."""
        return replace(self, unit=self.unit + step / np.sqrt(12))


@dataclass(frozen=True, slots=True)
class Scores:
    """distance: rms deviation from the nearest reference, nats. size: the same over the probe's noise. steady: the
    smallest that it is at a position by itself.

    common: whether every shared position has a token that the answer and the nearest reference list. kl: nats per
    shared position against the nearest reference.

    directions (variants,): sums over positions of matched filters, 0 with fewer than two references. noise: the
    probe's, with unit and jump, nats.
    """

    distance: float
    size: float
    steady: float
    common: bool
    kl: float
    directions: Array
    noise: float

    @property
    def direction(self) -> float:
        """The largest of the directions; 0 where no variant is recorded."""
        return float(self.directions.max()) if len(self.directions) else 0.0

    @property
    def named(self) -> dict[Score, float]:
        """What tail events are about."""
        return {SIZE: self.size, STEADY: self.steady, DIRECTION: self.direction}


def scales(alignment: Alignment, references: Sequence[int], yardstick: Yardstick) -> Array:
    """What deviations are measured in, nats: noise, unit and jump, of each position and, as the last one, of all.

    They grow with references.
    """
    rows = [*references, *yardstick.usual]
    return _scales(_between(alignment, rows), np.ones(len(references), bool), yardstick)


def _between(alignment: Alignment, rows: Sequence[int]) -> Array:
    """(rows, rows, positions + 1) rms deviations between each two of them, nats, at each position and over all."""
    sums = pair_sums(alignment.recorded[rows], alignment.recorded_floor[rows], alignment.positions)
    return root_mean(*map(and_all, sums))


def _scales(between: Array, chosen: NDArray[np.bool_], yardstick: Yardstick) -> Array:
    """(..., positions + 1): `scales` from what lies between deployments, of which the last are those whose jumps count
    as noise. chosen (..., references): which of the others count."""
    near, known = np.array(list(yardstick.usual.values())), chosen.shape[-1]
    pairs = chosen[..., :, None] & chosen[..., None, :]
    apart = np.where(pairs[..., None], between[:known, :known], -np.inf).max(axis=(-3, -2))
    moved = np.where(chosen[..., None, None], between[:known, known:], -np.inf).max(axis=-3)
    noise: Array = yardstick.unit + apart + (moved - JUMP * near[:, None]).max(axis=-2, initial=0.0)
    return noise


def and_all(sums: Array) -> Array:
    """(..., positions + 1): sums of each position, and of all."""
    return np.concatenate([sums, sums.sum(axis=-1, keepdims=True)], axis=-1)


def score(
    alignment: Alignment,
    references: Sequence[int],
    variants: Sequence[int],
    yardstick: Yardstick,
    factor: float = 1.0,
) -> Scores:
    """All scores of one aligned answer against the chosen deployments (indices into the recorded rows).

    factor: what the answer's deviations are multiplied by in what is measured in noise.
    """
    (scores,) = _scores_beside_same([alignment], [references], variants, yardstick, [factor])
    return scores


def score_each(
    alignments: Sequence[Alignment],
    references: Sequence[Sequence[int]],
    variants: Sequence[int],
    yardstick: Yardstick,
    factors: Sequence[float],
) -> list[Scores]:
    """The `score` of each of some answers, each with references of its own.

    Those that lie beside the same recorded lists cost little more than one of them.
    """
    alike = defaultdict[bytes, list[int]](list)
    for number, a in enumerate(alignments):
        alike[b"".join(x.tobytes() for x in (a.recorded, a.recorded_floor, a.positions))].append(number)
    found: dict[int, Scores] = {}
    for numbers in alike.values():
        mine = ([alignments[n] for n in numbers], [references[n] for n in numbers])
        scored = _scores_beside_same(*mine, variants, yardstick, [factors[n] for n in numbers])
        found |= zip(numbers, scored, strict=True)
    return [found[number] for number in range(len(alignments))]


def _scores_beside_same(
    alignments: Sequence[Alignment],
    references: Sequence[Sequence[int]],
    variants: Sequence[int],
    yardstick: Yardstick,
    factors: Sequence[float],
) -> list[Scores]:
    a = alignments[0]
    everyone = sorted(set(chain.from_iterable(references)))
    chosen = np.array([[one in mine for one in everyone] for mine in references])  # (answers, references)
    ref, var, multiplied = a.recorded[everyone], a.recorded[list(variants)], np.array(factors)
    candidates = np.stack([one.candidate[everyone] for one in alignments])
    floors = np.stack([one.candidate_floor[everyone] for one in alignments])
    measures = _scales(_between(a, [*everyone, *yardstick.usual]), chosen, yardstick)
    distances = _distances(candidates, floors, ref, a.recorded_floor[everyone], a.positions)
    distances = np.where(chosen[..., None], distances, np.inf)
    finite, answers = np.isfinite(distances), np.arange(len(alignments))
    nearest = np.where(finite[..., -1].any(axis=1), distances[..., -1].argmin(axis=1), chosen.argmax(axis=1))
    distance = np.where(finite[answers, nearest, -1], distances[answers, nearest, -1], 0.0)

    # Somebody like a deployment that is left out may be met by an envelope that knows it or by one that does not.
    trodden = (np.array([one.trodden for one in alignments]), leading(finite[..., :-1].sum(axis=1) > 1))
    scaled = multiplied[:, None] * distances[..., :-1].min(axis=1) / measures[:, :-1]
    by_itself = np.minimum.accumulate(np.concatenate([np.full((len(scaled), 1), np.inf), scaled], axis=1), axis=1)
    steady = np.maximum(*(np.minimum(by_itself[answers, n], most_steady(n)) for n in trodden))

    own, near, seen = candidates[answers, nearest], ref[nearest], finite[answers, nearest, :-1]
    kl = np.where(seen, partition_kl(near, own, a.positions), 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    both = by_position((~np.isnan(own) & ~np.isnan(near)).astype(float), a.positions) > 0

    directions = np.zeros((len(alignments), len(var)))
    pairs = chosen[:, :, None] & chosen[:, None] & ~np.eye(len(everyone), dtype=bool)
    if pairs.any() and len(var):
        filters = matched_filters(candidates, ref, var, a.positions, multiplied, EXPECTED_SHARE)
        least = np.where(pairs[:, None, ..., None], filters, np.inf).min(axis=(2, 3))
        least = np.where(pairs.any(axis=(1, 2))[:, None, None], least, 0.0)
        directions = direction_sums(least, measures[:, :-1], yardstick)
    shown = np.array([one.full for one in alignments]) & (distance > EQUAL)
    directions = np.where(shown[:, None], directions, np.minimum(directions, 0.0))
    size, noise = multiplied * distance / measures[:, -1], measures[:, -1]
    return [
        Scores(
            float(distance[n]),
            float(size[n]),
            float(steady[n]),
            bool(both[n].all()),
            float(kl[n]),
            along,
            float(noise[n]),
        )
        for n, along in enumerate(directions)
    ]


def distances_from(alignment: Alignment, references: Sequence[int]) -> Array:
    """(references, positions + 1) rms deviation from each, nats, at each position and over all; infinite from one that
    has not the path."""
    a, refs = alignment, np.asarray(references, int)
    lists = a.candidate[refs], a.candidate_floor[refs], a.recorded[refs], a.recorded_floor[refs]
    return _distances(*lists, a.positions)


def _distances(
    candidate: Array, candidate_floor: Array, recorded: Array, recorded_floor: Array, positions: NDArray[np.intp]
) -> Array:
    compared = ~np.isnan(recorded_floor) & ~(np.isnan(candidate) & np.isnan(recorded))
    deviations = np.where(compared, deviation(candidate, candidate_floor, recorded, recorded_floor), 0.0)
    total, count = and_all(by_position(np.stack([deviations**2, compared]), positions))
    return np.where(count > 0, root_mean(total, count), np.inf)


def leading(true: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(...,) how many of (..., n) are true before the first that is not."""
    count: NDArray[np.intp] = np.logical_and.accumulate(true, axis=-1).sum(axis=-1)
    return count


def most_steady(trodden: int | NDArray[np.intp]) -> Array:
    """The most that `steady` is where so many positions are looked at."""
    return np.array([0.0, ALONE, np.inf])[np.minimum(trodden, 2)]


def direction_sums(filters: Array, measures: Array, yardstick: Yardstick) -> Array:
    """(..., variants): directions of answers, from the smallest filters over pairs of references at each position.

    filters (..., positions, variants), nats²; measures (..., positions): what deviations there are measured in, nats.
    """
    squared = np.where(filters > 0, measures[..., None] ** 2, (AGAINST * yardstick.unit) ** 2)
    result: Array = np.clip(filters / squared, -yardstick.most, yardstick.most).sum(axis=-2)
    return result


def most_of(tokens: int) -> float:
    """What one position may add to a direction, or take from it, where answers have at most so many tokens."""
    return max(MOST, TOGETHER / tokens)


def resemblance(
    alignment: Alignment, references: Sequence[int], variants: Sequence[int]
) -> tuple[Array, Array, NDArray[np.intp]]:
    """What naming a cause rests on: deviations from the references' mean, where the answer and two of them list.

    The mean's own noise stands in the answer's deviation and in the variants'; that of one reference would be too much.

    Returns (n,) the answer's and (variants, n) the variants', nats, NaN where a variant does not list the token, and
    (n,) the positions that they belong to.
    """
    a, refs = alignment, np.asarray(references, int)
    own, ref = np.fmax.reduce(a.candidate[refs]), a.recorded[refs]
    known = ~np.isnan(own) & ((~np.isnan(ref)).sum(axis=0) > 1)
    centre = np.nanmean(ref[:, known], axis=0)
    return own[known] - centre, a.recorded[np.asarray(variants, int)][:, known] - centre, a.positions[known]
