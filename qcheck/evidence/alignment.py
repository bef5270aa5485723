"""One answer laid beside recorded ones, wherever its path of tokens equals a recorded path.

A control token, or a part of a character, may go by another key at another server. Where an answer or the recording
has such a token that shows neither id nor bytes, those that only one of them lists are left out. Where an answer lists
the empty string, all tokens without a text may stand under it, so that its list may be as much shorter.

An answer that lists more than was recorded is cut to the length of the list that it is compared with: what lies beyond
is below that list's floor, where deviations are unknown, and would dilute the mean by zeros.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Node, ProbeReference, list_floor
from qcheck.bytelevel import bytes_of
from qcheck.records import Position, token_bytes
from qcheck.stats.deviation import by_position, centred

WHOLE = 1e-3  # by which probabilities may miss 1 that were normalised over what is listed
CUT_OFF = 3e-3  # of the probability that the references give to tokens which are not listed, from where it matters
SCALED, SCALED_ALIKE = 1.4, 0.98  # a factor, and the share of the variance that it explains; conventions
FEWEST_SCALED = 4  # values that are compared
MISNAMED = 0.1  # of the answers so far, beyond which none is compared: some that name tokens otherwise do not show it
SURE = 0.05  # nats above the floor of an answer's list, from where on a token would be listed if it bore that name
NUMBERED: Final = re.compile(r"=token_id:\d+")  # vLLM's `return_tokens_as_token_ids`

__all__ = [
    "MISNAMED",
    "Alignment",
    "align",
    "decoded_greedily",
    "leaves_out",
    "names_otherwise",
    "only_listed",
    "rescaled",
    "shifted",
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
        lengths = node.lengths if tokens is None else np.minimum(node.lengths, tokens)
        took = lengths[honest][lengths[honest] > 0]
        if not path and len(took) < min(2, len(honest)):
            break
        if len(took):
            due = np.minimum(lengths, _merged_lengths(node))[honest] if "?" in listed else took
            deep = deep and len(listed) >= due[due > 0].min()
            merged = merged or len(listed) < took.min()
            shortest = min(shortest, len(listed))
        if not listed:
            break
        block = _beside(listed, position.token, node, lengths)
        if not block[0].size:
            break
        blocks.append(block)
        trodden += trodden == len(blocks) - 1 and len(took) > 1
        path += (position.token,)
    if not blocks:
        return None
    candidates, candidate_floors, recorded, recorded_floors = zip(*blocks, strict=True)
    positions = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in candidates])
    lists = (
        np.concatenate(candidates, axis=1),
        np.stack(candidate_floors, axis=1)[:, positions],
        np.concatenate(recorded, axis=1),
        np.stack(recorded_floors, axis=1)[:, positions],
    )
    complete, unended = _shows_all(answer, [reference.answers[i][0] for i in references])
    return Alignment(*lists, positions, trodden, complete, merged, unended, deep, shortest)


def shifted(alignment: Alignment, nats: float) -> Alignment:
    """The same with `nats` added to all that the answer lists."""
    return replace(alignment, candidate=alignment.candidate + nats, candidate_floor=alignment.candidate_floor + nats)


def rescaled(alignment: Alignment, references: Sequence[int]) -> bool:
    """Whether all that an answer lists differs by one factor, far from 1, from the nearest reference's differences.

    So do log-probabilities after a temperature, as where a gateway makes a small one of 0 before a server that lists
    after it, and logarithms to another base. No other weights do.
    """
    refs = list(references)
    own, recorded = alignment.candidate[refs], alignment.recorded[refs]
    both = ~(np.isnan(own) | np.isnan(recorded))
    x, y = (centred(values, both, alignment.positions) for values in (recorded, own))
    xx, xy, yy = (x * x).sum(axis=1), (x * y).sum(axis=1), (y * y).sum(axis=1)
    told = (both.sum(axis=1) > FEWEST_SCALED) & (xx > 0) & (yy > 0)
    if not told.any():
        return False
    factor, alike = xy[told] / xx[told], xy[told] ** 2 / (xx[told] * yy[told])
    nearest = int(alike.argmax())
    return bool(alike[nearest] > SCALED_ALIKE and not 1 / SCALED <= factor[nearest] <= SCALED)


def decoded_greedily(answer: Answer, tolerance: float) -> bool:
    """Whether each token that an answer took is one of the most probable that it lists there, to within `tolerance`.

    One that is not shows nothing of what would have come after the token that greedy decoding takes.
    """
    for position in answer.positions:
        listed = dict(position.top)
        if listed and listed.get(position.token, -np.inf) < max(listed.values()) - tolerance:
            return False
    return True


def names_otherwise(answer: Answer, reference: ProbeReference, references: Sequence[int]) -> bool:
    """Whether an answer has other names for tokens than the recorded lists on its path.

    Servers of the same weights do: by a tokenizer's own signs (`Ġthe`), without the space that a token begins with, or
    by numbers. A token that all honest deployments list, and that the answer does not list though it should stand well
    above the end of its list, is then there by a name that none of them lists; or no token at all bears a known name.
    """
    honest = list(references)
    path: tuple[str, ...] = ()
    listed_any = shared = False
    for position in answer.positions:
        node = reference.nodes.get(path)
        listed = {key for key, logprob in position.top if logprob > -np.inf}
        if node is None or not listed:
            break
        if any(NUMBERED.fullmatch(key) for key in listed):
            return True
        listed_any, shared = True, shared or not listed.isdisjoint(node.tokens)
        least = node.values[honest].min(axis=0)  # NaN where one of them does not list the token
        due = [key for key, column in node.tokens.items() if least[column] > list_floor(position) + SURE]
        if missing := [key for key in due if key not in listed]:
            known = {key for key, column in node.tokens.items() if not np.isnan(node.values[honest, column]).all()}
            strange = set[bytes]().union(*map(_bare, listed - known))
            if any(_bare(key) & strange for key in missing):
                return True
        path += (position.token,)
    return listed_any and not shared


def _bare(key: str) -> set[bytes]:
    """The bytes that a token may stand for by its name, and these without the space that they begin with."""
    text = key[1:] if key.startswith("=") else ""
    names = {token_bytes(key), text.replace("▁", " ").encode("utf-8", "surrogatepass"), bytes_of(text)}
    return (names | {name.removeprefix(b" ") for name in names}) - {b""}


def only_listed(alignment: Alignment, references: Sequence[int]) -> bool:
    """Whether an answer's probabilities sum to 1 over the tokens that it lists, where the references' do not.

    Such values are normalised after a cut to the best tokens, and deviate by what was cut off.
    """
    own, recorded = alignment.candidate[list(references)], alignment.recorded[list(references)]
    both = ~(np.isnan(own) | np.isnan(recorded))
    mass, known, common = (
        by_position(x, alignment.positions)
        for x in (np.nan_to_num(np.exp(own)), np.where(both, np.exp(recorded), 0.0), both.astype(float))
    )
    seen = common > 0
    if not seen.any() or np.abs(mass[seen] - 1).max() > WHOLE:
        return False
    return bool(known.max(axis=0)[seen.any(axis=0)].min() < 1 - CUT_OFF)


def leaves_out(answer: Answer) -> bool:
    """Whether what an answer lists at some position sums to less than 1, as it never does after a cut."""
    sums = (sum(math.exp(value) for _, value in position.top) for position in answer.positions if position.top)
    return any(0 < total < 1 - CUT_OFF for total in sums)


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


def _beside(
    listed: Mapping[str, float], taken: str, node: Node, lengths: NDArray[np.intp]
) -> tuple[Array, Array, Array, Array]:
    """One position's candidate, candidate_floor, recorded and recorded_floor of an `Alignment`, floors (deployments,).

    listed: the answer's list there, the most probable first. lengths: (deployments,) of the recorded lists.
    """
    columns, recorded = node.tokens, node.values
    cuts = np.minimum(lengths, len(listed))
    if cuts.any() and not listed.keys() <= columns.keys():
        further = [key for key in _cut(listed, taken, int(cuts.max())) if key not in columns]
        columns = {**columns, **{key: len(columns) + i for i, key in enumerate(further)}}
        recorded = np.pad(recorded, ((0, 0), (0, len(further))), constant_values=np.nan)
    candidate, candidate_floor = np.full(recorded.shape, np.nan), np.full(len(cuts), np.nan)
    for length in set(cuts.tolist()) - {0}:
        rows, cut = cuts == length, _cut(listed, taken, length)
        own = np.full(len(columns), np.nan)
        own[[columns[key] for key in cut]] = list(cut.values())
        candidate[rows] = own
        candidate_floor[rows] = list_floor(Position(taken, None, tuple(cut.items())))
    if renamed := _perhaps_renamed(node, listed):
        known = [column for key, column in columns.items() if key not in renamed]
        candidate, recorded = candidate[:, known], recorded[:, known]
    return candidate, candidate_floor, recorded, node.floors


def _perhaps_renamed(node: Node, listed: Mapping[str, float]) -> set[str]:
    """Tokens that only one side lists, and that the other may list by another key (`qcheck.records`, "Token keys")."""
    if not (node.unnamed or any(key.startswith("?") for key in listed)):
        return set()
    return {key for key in listed.keys() ^ node.tokens.keys() if not key.startswith("=")}


def _cut(listed: Mapping[str, float], taken: str, length: int) -> Mapping[str, float]:
    """The `length` best tokens, and the one that was taken if it is listed."""
    if length >= len(listed):
        return listed
    best = dict(islice(listed.items(), length))
    return {**best, taken: listed[taken]} if taken in listed else best
