"""Scores of one answer against recorded ones, wherever its path of tokens equals a recorded path.

Noise. What honest deployments make of a probe differs from probe to probe: near a router's tie or a rare token much,
elsewhere hardly. So deviations are measured in units of the probe's own noise: the largest deviation between two of
its reference deployments, plus a `unit` that keeps it from being taken for nothing where they happen to agree, plus the
*jump* of recorded variants: how far one of them, that usually stays near the envelope, lies beyond twice its usual
deviation. Where a router is almost undecided between two experts, whatever moves it a little may turn it, a
quantisation as well as another kernel, and an answer then lies dozens of times farther away than elsewhere. That ten
references took the same expert does not show it; that one of four variants took the other does.

Size. The rms deviation from the *nearest* reference deployment, over the noise. Adding deployments can only lower it,
so the scores of a deployment left out of the references bound the scores that it has when it stands among them.

Direction. How much better some recorded variant's deviation explains the answer than the envelope does: the largest
matched filter of all variants, over the noise squared, for half of the recorded deviation: another engine shows some of
it, not all, the less the smaller it is beside the engines' own noise. The answer's deviation is taken from reference a,
the variant's from another reference b: a reference shared by both would put its own noise into both and accuse honest
providers. The *smallest* over all such pairs counts, which again can only fall when references are added, as long as it
is positive. The largest over the variants is one score with one null bound, so that searching among many variants costs
what it costs the honest deployments.

A control token, or a part of a character, may go by another key at another server. Where an answer or the recording
has such a token that shows neither id nor bytes, those that only one of them lists are left out. Where an answer lists
the empty string, all tokens without a text may stand under it, so that its list may be as much shorter.

An answer that lists more than was recorded is cut to the length of the list that it is compared with: what lies beyond
is below that list's floor, where deviations are unknown, and would dilute the mean by zeros.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Baseline, Node, ProbeReference, list_floor
from qcheck.records import Position, token_bytes
from qcheck.stats.deviation import deviation, matched_filters, partition_kl, rms, spreads

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4
NOISE_FACTOR = 1.5  # by which honest deviations are multiplied, for kernels that nobody recorded
JUMP = 2.0  # times its usual deviation, from where on a variant is taken to have jumped; a convention
EXPECTED_SHARE = 0.5  # of a recorded deviation that another engine shows; chosen on lab-tiny

__all__ = [
    "EQUAL",
    "EXPECTED_SHARE",
    "JUMP",
    "NOISE_FACTOR",
    "Alignment",
    "Scores",
    "Yardstick",
    "align",
    "resemblance",
    "scale",
    "score",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer beside the recorded deployments, on all coordinates (position, token) of shared paths.

    All four arrays have shape (deployments, n). candidate: the answer's log-probabilities, its lists cut to the
    lengths of each deployment's, NaN where unlisted; recorded: the deployments'. candidate_floor, recorded_floor:
    their floors, NaN where the deployment has not the path. positions (n,): which shared position. complete:
    whether the answer has all positions that some honest deployment on its path had, or, where it has left their
    paths, as many as some honest deployment or all that its text says. merged: whether a list may be shorter since
    tokens without a text share one key. unended: whether it lacks the last of them alone, where that deployment's
    text ended as the answer's did. deep: whether at the shared ones it lists as many tokens as some honest
    deployment did, or as many as were asked for; shortest: how many its shortest list there has.
    """

    candidate: Array
    candidate_floor: Array
    recorded: Array
    recorded_floor: Array
    positions: NDArray[np.intp]
    complete: bool
    merged: bool
    unended: bool
    deep: bool
    shortest: int

    @property
    def full(self) -> bool:
        """Whether the answer shows as much as was recorded."""
        return self.complete and self.deep


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What deviations are measured by.

    unit: nats that are added to each probe's noise. usual: by index of a variant whose jumps count as noise, nats by
    which it usually deviates from the reference that is farthest from it. share: of a recorded deviation, what
    directions expect another engine to show.
    """

    unit: float
    usual: Mapping[int, float] = field(default_factory=dict)
    share: float = EXPECTED_SHARE

    @classmethod
    def of(cls, baseline: Baseline) -> Self:
        """That of a calibrated baseline. Raises ValueError for one that is not calibrated on log-probabilities."""
        table = baseline.table
        if table is None or table.noise_unit is None:
            raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
        names = zip(baseline.directed, baseline.names(baseline.directed), strict=True)
        usual = {i: table.usual_deviations[name] for i, name in names if name in table.usual_deviations}
        return cls(table.noise_unit, usual, table.expected_share)


@dataclass(frozen=True, slots=True)
class Scores:
    """distance: rms deviation from the nearest reference, nats. size: the same over the probe's noise.

    common: whether every shared position has a token that the answer and the nearest reference list. kl: nats per
    shared position against the nearest reference.

    directions (variants,): smallest matched filters over pairs of references, over the noise squared, 0 with fewer than
    two references. noise: the probe's, with unit and jump, nats.
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
    deep, merged, shortest = True, False, sys.maxsize
    for position in answer.positions:
        node = reference.nodes.get(path)
        if node is None:
            break
        listed = {key: logprob for key, logprob in position.top if logprob > -np.inf}
        lengths = (~np.isnan(node.values)).sum(axis=1)
        if tokens is not None:
            lengths = np.minimum(lengths, tokens)
        due = np.minimum(lengths, _merged_lengths(node)) if "?" in listed else lengths
        if (due[honest] > 0).any():
            deep = deep and len(listed) >= due[honest][due[honest] > 0].min()
            merged = merged or len(listed) < lengths[honest][due[honest] > 0].min()
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
    complete, unended = _shows_all(answer, [reference.answers[i][0] for i in references])
    return Alignment(
        candidates, candidate_floors, recorded, recorded_floors, positions, complete, merged, unended, deep, shortest
    )


def _shows_all(answer: Answer, honest: Sequence[Answer]) -> tuple[bool, bool]:
    """Whether an answer is `complete`, and if not whether it is `unended` (see `Alignment`).

    The end is a token without a text, and what is listed before it spells the answer's text.
    """
    taken = [p.token for p in answer.positions]
    text = None if answer.text is None else answer.text.encode("utf-8", "surrogatepass")
    ended = text == b"".join(map(token_bytes, taken))
    left = [a.positions[len(taken) :] for a in honest if [p.token for p in a.positions[: len(taken)]] == taken]
    if not left:
        return ended or len(taken) >= min(len(a.positions) for a in honest), False
    if not all(left):
        return True, False
    return False, ended and any(len(more) == 1 and not token_bytes(more[0].token) for more in left)


def _merged_lengths(node: Node) -> NDArray[np.intp]:
    """(deployments,) lengths of the recorded lists where all tokens without a text stand under one key."""
    listed, texts = ~np.isnan(node.values), np.array([key.startswith("=") for key in node.tokens])
    lengths: NDArray[np.intp] = (listed & texts).sum(axis=1) + (listed & ~texts).any(axis=1)
    return lengths


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


def scale(alignment: Alignment, references: Sequence[int], yardstick: Yardstick) -> float:
    """What deviations are measured in at the answer's path, nats: noise, unit and jump. It grows with references."""
    rows, r = [*references, *yardstick.usual], len(references)
    apart = spreads(alignment.recorded[rows], alignment.recorded_floor[rows])
    beyond = apart[:r, r:].max(axis=0) - JUMP * np.array(list(yardstick.usual.values()))
    return yardstick.unit + float(apart[:r, :r].max()) + float(beyond.max(initial=0.0))


def score(
    alignment: Alignment,
    references: Sequence[int],
    variants: Sequence[int],
    yardstick: Yardstick,
    factor: float = 1.0,
) -> Scores:
    """All scores of one aligned answer against the chosen deployments (indices into the recorded rows).

    factor: what the answer's deviations are multiplied by in `size` and `direction`.
    """
    a = alignment
    refs, varis = np.asarray(references, int), np.asarray(variants, int)
    ref, ref_floor, candidate = a.recorded[refs], a.recorded_floor[refs], a.candidate[refs]
    listed, ref_listed, present = ~np.isnan(candidate), ~np.isnan(ref), ~np.isnan(ref_floor)
    measure = scale(a, references, yardstick)

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
        filters = matched_filters(candidate, ref, a.recorded[varis], a.positions, factor, yardstick.share)
        directions = filters[~np.eye(len(refs), dtype=bool)].min(axis=0) / measure**2
        if not (a.full and distance > EQUAL):
            directions = np.minimum(directions, 0.0)
    return Scores(distance, factor * distance / measure, common_everywhere, kl, directions, measure)


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
