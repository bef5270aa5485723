"""Scores of one answer against recorded ones, wherever its path of tokens equals a recorded path.

Size. The rms deviation from the *nearest* reference deployment. Adding deployments can only lower it, so the scores
of a deployment left out of the references bound the scores that it has when it stands among them.

Direction. The projection of the answer's deviation from reference a on a variant's recorded deviation from another
reference b. A reference shared by both would put its own noise into both and accuse honest providers, so a ≠ b; and
the *smallest* projection over all such pairs counts, which again can only fall when references are added. Few
coordinates make projections wild: an answer that lists less than was recorded shows no direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, ProbeReference, list_floor
from qcheck.stats.deviation import deviation, pair_projections, partition_kl, rms

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4

__all__ = ["EQUAL", "Alignment", "Scores", "align", "score"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer beside the recorded deployments, on all coordinates (position, token) of shared paths.

    candidate (n,), recorded (deployments, n): log-probabilities, NaN where unlisted. Floors likewise (n,) and
    (deployments, n), NaN where the deployment has not the path. positions (n,): which shared position. full: whether
    the answer has as many positions, and at the shared ones lists as many tokens, as some deployment did.
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
    coordinates that all list (for naming a cause); None where there is no second reference.
    """

    size: float
    common: bool
    nearest: int
    kl: float
    directions: Array
    deviations: Array | None


def align(answer: Answer, reference: ProbeReference) -> Alignment | None:
    """Lay an answer beside the recorded ones; None where it shows no log-probabilities at a recorded path."""
    blocks: list[tuple[Array, Array, Array, Array]] = []
    path: tuple[str, ...] = ()
    full = len(answer.positions) >= min(len(repeats[0].positions) for repeats in reference.answers)
    for position in answer.positions:
        node = reference.nodes.get(path)
        listed = {k: v for k, v in position.top if v > -np.inf}
        if node is None:
            break
        if not listed:
            full = False
            break
        listing = (~np.isnan(node.values[~np.isnan(node.floors)])).sum(axis=1)
        full = full and len(listed) >= int(listing.min())
        extra = [k for k in listed if k not in node.tokens]
        width = len(node.tokens) + len(extra)
        candidate = np.full(width, np.nan)
        for key, column in node.tokens.items():
            candidate[column] = listed.get(key, np.nan)
        candidate[len(node.tokens) :] = [listed[k] for k in extra]
        recorded = np.full((len(node.floors), width), np.nan)
        recorded[:, : len(node.tokens)] = node.values
        floors = np.broadcast_to(node.floors[:, None], recorded.shape)
        blocks.append((candidate, np.full(width, list_floor(position)), recorded, floors))
        path += (position.token,)
    if not blocks:
        return None
    candidates, candidate_floors, recorded_blocks, recorded_floors = zip(*blocks, strict=True)
    return Alignment(
        np.concatenate(candidates),
        np.concatenate(candidate_floors),
        np.concatenate(recorded_blocks, axis=1),
        np.concatenate(recorded_floors, axis=1),
        np.repeat(np.arange(len(blocks)), [len(c) for c in candidates]),
        full,
    )


def score(alignment: Alignment, references: Sequence[int], variants: Sequence[int]) -> Scores:
    """All scores of one aligned answer against the chosen deployments (indices into the recorded rows)."""
    a = alignment
    refs, varis = np.asarray(references, int), np.asarray(variants, int)
    listed = ~np.isnan(a.candidate)
    ref, ref_floor = a.recorded[refs], a.recorded_floor[refs]
    ref_listed = ~np.isnan(ref)
    present = ~np.isnan(ref_floor)

    devs = deviation(a.candidate, a.candidate_floor, ref, ref_floor)
    weights = (present & (listed | ref_listed)).astype(float)
    sizes = np.where(weights.sum(axis=1) > 0, rms(np.where(present, devs, 0.0), weights), np.inf)
    nearest = int(np.argmin(sizes))
    divergences = [
        partition_kl(ref[nearest][where], a.candidate[where])
        for p in np.unique(a.positions)
        if present[nearest][where := a.positions == p].any()
    ]
    kl = float(np.mean(divergences)) if divergences else 0.0
    size = float(sizes[nearest]) if np.isfinite(sizes[nearest]) else 0.0
    both = listed & ref_listed[nearest]
    common_everywhere = all(both[a.positions == p].any() for p in np.unique(a.positions))
    if len(refs) < 2:
        return Scores(size, common_everywhere, int(refs[nearest]), kl, np.zeros(len(varis)), None)

    var_listed = ~np.isnan(a.recorded[varis])
    s = pair_projections(a.candidate, ref, a.recorded[varis], a.positions)
    apart = ~np.eye(len(refs), dtype=bool)
    other = int(np.argmin(np.where(np.arange(len(refs)) == nearest, np.inf, sizes)))
    common = listed & ref_listed[nearest] & ref_listed[other] & var_listed.all(axis=0)
    deviations = np.vstack([a.candidate - ref[nearest], a.recorded[varis] - ref[other]])[:, common]
    smallest = s[apart].min(axis=0)
    shown = smallest if a.full and size > EQUAL else np.minimum(smallest, 0.0)
    return Scores(size, common_everywhere, int(refs[nearest]), kl, shown, deviations)
