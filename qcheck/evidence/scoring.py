"""Scores of one answer against recorded ones, wherever its path of tokens equals a recorded path.

Size. The rms deviation from the *nearest* reference deployment. Adding deployments can only lower it, so the scores
of a deployment left out of the references bound the scores that it has when it stands among them.

Direction. The projection of the answer's deviation from reference a on a variant's recorded deviation from another
reference b. A reference shared by both would put its own noise into both and accuse honest providers, so a ≠ b; and
the *smallest* projection over all such pairs counts, which again can only fall when references are added. Few
coordinates make projections wild: an answer that lists less than was recorded shows no direction.

An answer that lists more than was recorded is cut to the length of the list that it is compared with: what lies beyond
is below that list's floor, where deviations are unknown, and would dilute the mean by zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Node, ProbeReference, list_floor
from qcheck.records import Position
from qcheck.stats.deviation import deviation, pair_projections, partition_kl, rms

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4

__all__ = ["EQUAL", "Alignment", "Scores", "align", "score"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer beside the recorded deployments, on all coordinates (position, token) of shared paths.

    All four arrays have shape (deployments, n). candidate: the answer's log-probabilities, its lists cut to the lengths
    of each deployment's, NaN where unlisted; recorded: the deployments'. candidate_floor, recorded_floor: their
    floors, NaN where the deployment has not the path. positions (n,): which shared position. full: whether the answer
    has as many positions, and at the shared ones lists as many tokens, as some honest deployment did.
    """

    candidate: Array
    candidate_floor: Array
    recorded: Array
    recorded_floor: Array
    positions: NDArray[np.intp]
    full: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """size: nats. common: whether every shared position has a token that the answer and the nearest reference list.

    nearest: index of the nearest reference deployment. kl: nats per shared position against it.

    directions (variants,): projections, 1 for the variant itself. deviations (1 + variants, n): the answer's
    deviation from the nearest reference, then the variants' deviations from another one, NaN-free, on the
    coordinates that all list (for naming a cause); None where no second reference shares a path with the answer.
    """

    size: float
    common: bool
    nearest: int
    kl: float
    directions: Array
    deviations: Array | None


def align(answer: Answer, reference: ProbeReference, references: Sequence[int]) -> Alignment | None:
    """Lay an answer beside the recorded ones; None where it shows no log-probabilities at a recorded path.

    references: indices of the honest deployments that the answer is to be judged by.
    """
    blocks: list[tuple[Array, Array, Array, Array]] = []
    path: tuple[str, ...] = ()
    honest = np.asarray(references, int)
    full = len(answer.positions) >= min(len(reference.answers[i][0].positions) for i in references)
    for position in answer.positions:
        node = reference.nodes.get(path)
        if node is None:
            break
        listed = {key: logprob for key, logprob in position.top if logprob > -np.inf}
        if not listed:
            full = False
            break
        lengths = (~np.isnan(node.values)).sum(axis=1)
        full = full and len(listed) >= min(lengths[honest][lengths[honest] > 0], default=0)
        blocks.append(_beside(replace(position, top=tuple(listed.items())), node, lengths))
        path += (position.token,)
    if not blocks:
        return None
    candidates, candidate_floors, recorded, recorded_floors = (
        np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)
    )
    positions = np.repeat(np.arange(len(blocks)), [block[0].shape[1] for block in blocks])
    return Alignment(candidates, candidate_floors, recorded, recorded_floors, positions, full)


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
    return candidate, candidate_floor, recorded, np.broadcast_to(node.floors[:, None], shape)


def _cut(position: Position, length: int) -> Position:
    """The position with its `length` best tokens, and the one that was taken if it lists that."""
    best, others = position.top[:length], position.top[length:]
    return replace(position, top=(*best, *(pair for pair in others if pair[0] == position.token)))


def score(alignment: Alignment, references: Sequence[int], variants: Sequence[int]) -> Scores:
    """All scores of one aligned answer against the chosen deployments (indices into the recorded rows)."""
    a = alignment
    refs, varis = np.asarray(references, int), np.asarray(variants, int)
    ref, ref_floor, candidate = a.recorded[refs], a.recorded_floor[refs], a.candidate[refs]
    listed, ref_listed, present = ~np.isnan(candidate), ~np.isnan(ref), ~np.isnan(ref_floor)

    devs = deviation(candidate, a.candidate_floor[refs], ref, ref_floor)
    weights = (present & (listed | ref_listed)).astype(float)
    sizes = np.where(weights.sum(axis=1) > 0, rms(np.where(present, devs, 0.0), weights), np.inf)
    nearest = int(np.argmin(sizes))
    own = candidate[nearest]
    divergences = [
        partition_kl(ref[nearest][where], own[where])
        for p in np.unique(a.positions)
        if present[nearest][where := a.positions == p].any()
    ]
    kl = float(np.mean(divergences)) if divergences else 0.0
    size = float(sizes[nearest]) if np.isfinite(sizes[nearest]) else 0.0
    both = listed[nearest] & ref_listed[nearest]
    common_everywhere = all(both[a.positions == p].any() for p in np.unique(a.positions))
    if len(refs) < 2:
        return Scores(size, common_everywhere, int(refs[nearest]), kl, np.zeros(len(varis)), None)

    var = a.recorded[varis]
    smallest = pair_projections(candidate, ref, var, a.positions)[~np.eye(len(refs), dtype=bool)].min(axis=0)
    shown = smallest if a.full and size > EQUAL else np.minimum(smallest, 0.0)
    deviations = None
    others = np.where(np.arange(len(refs)) == nearest, np.inf, sizes)
    if np.isfinite(others).any():
        other = int(np.argmin(others))
        common = both & ref_listed[other] & ~np.isnan(var).any(axis=0)
        deviations = np.vstack([own - ref[nearest], var - ref[other]])[:, common]
    return Scores(size, common_everywhere, int(refs[nearest]), kl, shown, deviations)
