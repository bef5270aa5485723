"""Scores of one answer against recorded ones, wherever its path of tokens equals a recorded path.

Noise. What honest deployments make of a probe differs from probe to probe: near a router's tie or a rare token much,
elsewhere hardly. So deviations are measured in units of the probe's own noise: the largest deviation between two of
its reference deployments, plus a `unit` that keeps it from being taken for nothing where they happen to agree.

Size. The rms deviation from the *nearest* reference deployment, over the noise. Adding deployments can only lower it,
so the scores of a deployment left out of the references bound the scores that it has when it stands among them.

Direction. How much better some recorded variant's deviation explains the answer than the envelope does: the largest
matched filter of all variants, over the noise squared. The answer's deviation is taken from reference a, the
variant's from another reference b: a reference shared by both would put its own noise into both and accuse honest
providers. The *smallest* over all such pairs counts, which again can only fall when references are added, as long as
it is positive. The largest over the variants is one score with one null bound, so that searching among many variants
costs what it costs the honest deployments.

A control token, or a part of a character, may go by another key at another server. Where an answer or the recording
has such a token that shows neither id nor bytes, those that only one of them lists are left out.

An answer that lists more than was recorded is cut to the length of the list that it is compared with: what lies beyond
is below that list's floor, where deviations are unknown, and would dilute the mean by zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Node, ProbeReference, list_floor
from qcheck.records import Position
from qcheck.stats.deviation import deviation, matched_filters, partition_kl, rms, spread

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4

__all__ = ["EQUAL", "Alignment", "Scores", "align", "noise", "resemblance", "score"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer beside the recorded deployments, on all coordinates (position, token) of shared paths.

    All four arrays have shape (deployments, n). candidate: the answer's log-probabilities, its lists cut to the lengths
    of each deployment's, NaN where unlisted; recorded: the deployments'. candidate_floor, recorded_floor: their
    floors, NaN where the deployment has not the path. positions (n,): which shared position. complete: whether the
    answer has as many positions as some honest deployment's. deep: whether at the shared ones it lists as many tokens
    as some honest deployment did, or as many as were asked for; shortest: how many its shortest list there has.
    """

    candidate: Array
    candidate_floor: Array
    recorded: Array
    recorded_floor: Array
    positions: NDArray[np.intp]
    complete: bool
    deep: bool
    shortest: int

    @property
    def full(self) -> bool:
        """Whether the answer shows as much as was recorded."""
        return self.complete and self.deep


@dataclass(frozen=True, slots=True)
class Scores:
    """distance: rms deviation from the nearest reference, nats. size: the same over the probe's noise.

    common: whether every shared position has a token that the answer and the nearest reference list. kl: nats per
    shared position against the nearest reference.

    directions (variants,): smallest matched filters over pairs of references, over the noise squared, 0 with fewer than
    two references. noise: the probe's, with the unit, nats.
    """

    distance: float
    size: float
    common: bool
    kl: float
    directions: Array
    noise: float

    @property
    def direction(self) -> float:
        """The largest of the directions; 0 where no variant is recorded."""
        return float(self.directions.max()) if len(self.directions) else 0.0


def align(
    answer: Answer, reference: ProbeReference, references: Sequence[int], tokens: int | None = None
) -> Alignment | None:
    """Lay an answer beside the recorded ones; None where it shows no log-probabilities at a recorded path.

    references: indices of all honest deployments, whoever the answer is then scored against: what is `complete` and
    `deep` must not depend on whom is left out. tokens: how many the lists of the answer are cut to, all that were
    recorded unless given.
    """
    blocks: list[tuple[Array, Array, Array, Array]] = []
    path: tuple[str, ...] = ()
    honest = np.asarray(references, int)
    complete = len(answer.positions) >= min(len(reference.answers[i][0].positions) for i in references)
    deep, shortest = True, sys.maxsize
    for position in answer.positions:
        node = reference.nodes.get(path)
        if node is None:
            break
        listed = {key: logprob for key, logprob in position.top if logprob > -np.inf}
        lengths = (~np.isnan(node.values)).sum(axis=1)
        if tokens is not None:
            lengths = np.minimum(lengths, tokens)
        recorded_lengths = lengths[honest][lengths[honest] > 0]
        if len(recorded_lengths):
            deep = deep and len(listed) >= recorded_lengths.min()
            shortest = min(shortest, len(listed))
        if not listed:
            break
        block = _beside(replace(position, top=tuple(listed.items())), node, lengths)
        if not block[0].size:
            break
        blocks.append(block)
        path += (position.token,)
    if not blocks:
        return None
    candidates, candidate_floors, recorded, recorded_floors = (
        np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)
    )
    positions = np.repeat(np.arange(len(blocks)), [block[0].shape[1] for block in blocks])
    return Alignment(candidates, candidate_floors, recorded, recorded_floors, positions, complete, deep, shortest)


def _beside(position: Position, node: Node, lengths: NDArray[np.intp]) -> tuple[Array, Array, Array, Array]:
    """One position's candidate, candidate_floor, recorded and recorded_floor of an `Alignment`.

    lengths: (deployments,) of the recorded lists.
    """
    cuts = {length: _cut(position, length) for length in set(lengths.tolist()) - {0}}
    keys = dict.fromkeys((*node.tokens, *(key for cut in cuts.values() for key, _ in cut.top)))
    columns = {key: column for column, key in enumerate(keys)}
    shape = (len(lengths), len(columns))
    candidate, candidate_floor, recorded = (np.full(shape, np.nan) for _ in range(3))
    for length, cut in cuts.items():
        rows = lengths == length
        for key, logprob in cut.top:
            candidate[rows, columns[key]] = logprob
        candidate_floor[rows] = list_floor(cut)
    recorded[:, : len(node.tokens)] = node.values
    recorded_floor = np.broadcast_to(node.floors[:, None], shape)
    if renamed := _perhaps_renamed(node.tokens, position.top):
        known = [column for key, column in columns.items() if key not in renamed]
        return candidate[:, known], candidate_floor[:, known], recorded[:, known], recorded_floor[:, known]
    return candidate, candidate_floor, recorded, recorded_floor


def _perhaps_renamed(recorded: Collection[str], top: Sequence[tuple[str, float]]) -> set[str]:
    """Tokens that only one side lists, and that the other may list by another key (`qcheck.records`, "Token keys")."""
    if not any(key.startswith("?") for key in (*recorded, *(key for key, _ in top))):
        return set()
    return {key for key in {key for key, _ in top} ^ set(recorded) if not key.startswith("=")}


def _cut(position: Position, length: int) -> Position:
    """The position with its `length` best tokens, and the one that was taken if it lists that."""
    best, others = position.top[:length], position.top[length:]
    return replace(position, top=(*best, *(pair for pair in others if pair[0] == position.token)))


def noise(alignment: Alignment, references: Sequence[int]) -> float:
    """The largest rms deviation between two reference deployments at the answer's path, nats; 0 with fewer than two."""
    refs = np.asarray(references, int)
    return spread(alignment.recorded[refs], alignment.recorded_floor[refs])


def score(
    alignment: Alignment, references: Sequence[int], variants: Sequence[int], unit: float, factor: float = 1.0
) -> Scores:
    """All scores of one aligned answer against the chosen deployments (indices into the recorded rows).

    unit: nats that are added to the probe's noise. factor: what the answer's deviations are multiplied by in `size`
    and `direction`.
    """
    a = alignment
    refs, varis = np.asarray(references, int), np.asarray(variants, int)
    ref, ref_floor, candidate = a.recorded[refs], a.recorded_floor[refs], a.candidate[refs]
    listed, ref_listed, present = ~np.isnan(candidate), ~np.isnan(ref), ~np.isnan(ref_floor)
    scale = unit + noise(a, references)

    devs = deviation(candidate, a.candidate_floor[refs], ref, ref_floor)
    weights = (present & (listed | ref_listed)).astype(float)
    distances = np.where(weights.sum(axis=1) > 0, rms(np.where(present, devs, 0.0), weights), np.inf)
    nearest = int(np.argmin(distances))
    own = candidate[nearest]
    positions = [where for p in np.unique(a.positions) if present[nearest][where := a.positions == p].any()]
    kl = float(np.mean([partition_kl(ref[nearest][where], own[where]) for where in positions])) if positions else 0.0
    distance = float(distances[nearest]) if np.isfinite(distances[nearest]) else 0.0
    both = listed[nearest] & ref_listed[nearest]
    common_everywhere = all(both[a.positions == p].any() for p in np.unique(a.positions))
    directions = np.zeros(len(varis))
    if len(refs) > 1 and len(varis):
        filters = matched_filters(candidate, ref, a.recorded[varis], a.positions, factor)
        directions = filters[~np.eye(len(refs), dtype=bool)].min(axis=0) / scale**2
        if not (a.full and distance > EQUAL):
            directions = np.minimum(directions, 0.0)
    return Scores(distance, factor * distance / scale, common_everywhere, kl, directions, scale)


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
