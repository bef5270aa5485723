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
from qcheck.stats.deviation import by_position, deviation, matched_filters, pair_sums, partition_kl, root_mean
from qcheck.tailcounts import DIRECTION, SIZE, STEADY, Score

# An answer this near to a reference, rms in nats, counts as equal to it: ten times what rounding in files can do.
EQUAL = 1e-4
NOISE_FACTOR = 1.5  # by which honest deviations are multiplied, for kernels that nobody recorded
JUMP = 2.0  # times its usual deviation, from where on a variant is taken to have jumped; a convention
EXPECTED_SHARE = 0.2  # of a recorded deviation that another engine shows; chosen on lab-tiny
WHOLE = 1e-3  # by which probabilities may miss 1 that were normalised over what is listed
CUT_OFF = 3e-3  # of the probability that the references give to tokens which are not listed, from where it matters
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
    "Alignment",
    "Scores",
    "Yardstick",
    "align",
    "and_all",
    "decoded_greedily",
    "direction_sums",
    "distances_from",
    "leading",
    "most_of",
    "only_listed",
    "resemblance",
    "scales",
    "score",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """One answer beside the recorded deployments, on all coordinates (position, token) of shared paths.

    All four arrays have shape (deployments, n). candidate: the answer's log-probabilities, its lists cut to the
    lengths of each deployment's, NaN where unlisted; recorded: the deployments'. candidate_floor, recorded_floor:
    their floors, NaN where the deployment has not the path. positions (n,): which shared position. trodden: how many
    of them, from the first one on, at least two honest deployments took. complete:
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
    trodden: int
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


def align(
    answer: Answer, reference: ProbeReference, references: Sequence[int], tokens: int | None = None
) -> Alignment | None:
    """Lay an answer beside the recorded ones; None where it shows no log-probabilities at a recorded path.

    None too where only one of several honest deployments listed anything to begin with: left out itself, it would have
    nothing to be compared with.

    references: indices of all honest deployments, whoever the answer is then scored against: what is `complete` and
    `deep` must not depend on whom is left out. tokens: how many the lists of the answer are cut to, all that were
    recorded unless given.
    """
    blocks: list[tuple[Array, Array, Array, Array]] = []
    path: tuple[str, ...] = ()
    honest = np.asarray(references, int)
    deep, merged, shortest, trodden = True, False, sys.maxsize, 0
    for position in answer.positions:
        node = reference.nodes.get(path)
        if node is None:
            break
        listed = {key: logprob for key, logprob in position.top if logprob > -np.inf}
        lengths = (~np.isnan(node.values)).sum(axis=1)
        if tokens is not None:
            lengths = np.minimum(lengths, tokens)
        took = int((lengths[honest] > 0).sum())
        if not path and took < min(2, len(honest)):
            break
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
        trodden += trodden == len(blocks) - 1 and took > 1
        path += (position.token,)
    if not blocks:
        return None
    candidates, candidate_floors, recorded, recorded_floors = (
        np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)
    )
    positions = np.repeat(np.arange(len(blocks)), [block[0].shape[1] for block in blocks])
    complete, unended = _shows_all(answer, [reference.answers[i][0] for i in references])
    lists = candidates, candidate_floors, recorded, recorded_floors
    return Alignment(*lists, positions, trodden, complete, merged, unended, deep, shortest)


def decoded_greedily(answer: Answer, tolerance: float) -> bool:
    """Whether each token that an answer took is one of the most probable that it lists there, to within `tolerance`.

    One that is not shows nothing of what would have come after the token that greedy decoding takes.
    """
    for position in answer.positions:
        listed = dict(position.top)
        if listed and listed.get(position.token, -np.inf) < max(listed.values()) - tolerance:
            return False
    return True


def only_listed(alignment: Alignment, references: Sequence[int]) -> bool:
    """Whether an answer's probabilities sum to 1 over the tokens that it lists, where the references' do not.

    Such values are normalised after a cut to the best tokens, and deviate by what was cut off.
    """
    a, honest, lowest = alignment, list(references), 1.0
    for place in np.unique(a.positions):
        columns = a.positions == place
        own, recorded = a.candidate[honest][:, columns], a.recorded[honest][:, columns]
        both = ~(np.isnan(own) | np.isnan(recorded))
        whole, known = np.nansum(np.exp(own), axis=1), np.where(both, np.exp(recorded), 0.0).sum(axis=1)
        seen = both.any(axis=1)
        if not seen.any():
            continue
        if np.abs(whole[seen] - 1).max() > WHOLE:
            return False
        lowest = min(lowest, float(known[seen].max()))
    return lowest < 1 - CUT_OFF


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


def scales(alignment: Alignment, references: Sequence[int], yardstick: Yardstick) -> Array:
    """What deviations are measured in, nats: noise, unit and jump, of each position and, as the last one, of all.

    They grow with references.
    """
    rows, r = [*references, *yardstick.usual], len(references)
    total, count = pair_sums(alignment.recorded[rows], alignment.recorded_floor[rows], alignment.positions)
    apart = root_mean(and_all(total), and_all(count))
    beyond = apart[:r, r:].max(axis=0) - JUMP * np.array(list(yardstick.usual.values()))[:, None]
    noise: Array = yardstick.unit + apart[:r, :r].max(axis=(0, 1)) + beyond.max(axis=0, initial=0.0)
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
    a = alignment
    refs, varis = np.asarray(references, int), np.asarray(variants, int)
    ref, candidate = a.recorded[refs], a.candidate[refs]
    *each, whole = measures = scales(a, references, yardstick)
    distances = distances_from(a, references)
    nearest = int(np.argmin(distances[:, -1]))
    distance = float(distances[nearest, -1]) if np.isfinite(distances[nearest, -1]) else 0.0
    # Somebody like a deployment that is left out may be met by an envelope that knows it or by one that does not.
    without = leading(np.isfinite(distances[:, :-1]).sum(axis=0) > 1)
    by_itself = np.minimum.accumulate(np.append(np.inf, factor * distances[:, :-1].min(axis=0) / measures[:-1]))
    steady = max(float(np.minimum(by_itself[n], most_steady(n))) for n in (a.trodden, without))

    own = candidate[nearest]
    there = np.flatnonzero(np.isfinite(distances[nearest, :-1]))
    kls = [partition_kl(ref[nearest][where], own[where]) for where in (a.positions == p for p in there)]
    both = by_position((~np.isnan(own) & ~np.isnan(ref[nearest])).astype(float), a.positions) > 0
    directions = np.zeros(len(varis))
    if len(refs) > 1 and len(varis):
        filters = matched_filters(candidate, ref, a.recorded[varis], a.positions, factor, EXPECTED_SHARE)
        pairs = ~np.eye(len(refs), dtype=bool)
        directions = direction_sums(filters[:, pairs].min(axis=1), np.array(each), yardstick)
        if not (a.full and distance > EQUAL):
            directions = np.minimum(directions, 0.0)
    kl = float(np.mean(kls)) if kls else 0.0
    return Scores(distance, factor * distance / whole, steady, bool(both.all()), kl, directions, whole)


def distances_from(alignment: Alignment, references: Sequence[int]) -> Array:
    """(references, positions + 1) rms deviation from each, nats, at each position and over all; infinite from one that
    has not the path."""
    a, refs = alignment, np.asarray(references, int)
    floors, candidate, recorded = a.recorded_floor[refs], a.candidate[refs], a.recorded[refs]
    compared = ~np.isnan(floors) & ~(np.isnan(candidate) & np.isnan(recorded))
    deviations = np.where(compared, deviation(candidate, a.candidate_floor[refs], recorded, floors), 0.0)
    total, count = (and_all(by_position(x, a.positions)) for x in (deviations**2, compared.astype(float)))
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
