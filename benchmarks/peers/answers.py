"""The answers that peers are given, as arrays: of lab deployments from a bank, or of sampled text.

Leading axes, written "...", are streams. The next two are always prompts and answers to a prompt, so that a peer takes
one answer to each of a thousand prompts as well as ten answers to one. The reference's arrays broadcast against the
candidate's over the streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, list_floor
from qcheck.lab.streams import Source, Streams

__all__ = [
    "FirstTokens",
    "Index",
    "Samples",
    "ScoredTokens",
    "candidate_index",
    "first_token_ranks",
    "first_tokens",
    "reference_index",
    "scored_tokens",
]

Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
PADDING = -1  # in `Samples.tokens`, after the end of a sample


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """What answers say of their first token.

    logprobs: (..., prompts, answers, tokens) natural logarithms on the prompt's own token axis, NaN where unlisted.
    sent: (..., prompts, answers), the column of the token that was sent.
    """

    logprobs: NDArray[np.float32]
    sent: NDArray[np.intp]

    def __getitem__(self, index: Index) -> FirstTokens:
        return FirstTokens(self.logprobs[index], self.sent[index])


@dataclass(frozen=True, slots=True)
class ScoredTokens:
    """What a reference says of the tokens of greedy answers, each after the tokens before it in the same answer.

    margins: (..., prompts, answers, positions) nats by which the reference prefers its best token to the one sent, 0
    where they are the same, NaN where nothing was scored. Finite: a token that it does not list has its smallest listed
    log-probability.
    """

    margins: NDArray[np.float32]

    def __getitem__(self, index: Index) -> ScoredTokens:
        return ScoredTokens(self.margins[index])


@dataclass(frozen=True, slots=True)
class Samples:
    """Sampled text.

    tokens: (..., prompts, samples, length) numbers of tokens, `PADDING` after the end. ranks: the same shape, each
    token's place in the reference's next-token distribution after the tokens before it, 1 the most probable; what
    stands at padded positions is not looked at.
    """

    tokens: NDArray[np.int32]
    ranks: NDArray[np.int32]

    def first(self, length: int) -> Samples:
        """The first `length` tokens of each sample."""
        return Samples(self.tokens[..., :length], self.ranks[..., :length])


def first_token_ranks(logprobs: NDArray[np.floating], tokens: NDArray[np.integer]) -> NDArray[np.int32]:
    """Ranks of one-token samples by a list of log-probabilities: 1 + how many tokens are more probable.

    logprobs: (..., prompts, tokens), NaN where unlisted; a token without one ranks behind all that are listed. tokens:
    (..., prompts, samples), columns of that axis. Returns the shape of `tokens`.
    """
    listed = np.nan_to_num(logprobs, nan=-np.inf)
    own = np.take_along_axis(listed, tokens, axis=-1)
    ranks: NDArray[np.int32] = 1 + (listed[..., None, :] > own[..., None]).sum(axis=-1, dtype=np.int32)
    return ranks


def first_tokens(source: Source, deployments: Sequence[str]) -> FirstTokens:
    """Recorded first tokens of some deployments, the axes being (deployments, probes, repeats)."""
    shape = (len(deployments), len(source.probes), source.repeats)
    recorded = [[[a.positions[0] for a in source.answers[d][p]] for p in source.probes] for d in deployments]
    axes: list[dict[str, int]] = [{} for _ in source.probes]
    for by_probe in recorded:
        for axis, repeats in zip(axes, by_probe, strict=True):
            for key in (k for position in repeats for k in (position.token, *dict(position.top))):
                axis.setdefault(key, len(axis))
    logprobs = np.full((*shape, max(map(len, axes))), np.nan, np.float32)
    sent = np.zeros(shape, np.intp)
    for index in np.ndindex(shape):
        axis, position = axes[index[1]], recorded[index[0]][index[1]][index[2]]
        sent[index] = axis[position.token]
        for key, value in position.top:
            if value > -np.inf:
                logprobs[(*index, axis[key])] = value
    return FirstTokens(logprobs, sent)


def scored_tokens(source: Source, reference: str, deployments: Sequence[str]) -> ScoredTokens:
    """Margins of recorded greedy answers by the lists of the deployment `reference`, axes as in `first_tokens`.

    A recording scores tokens up to the first that differs from its own, that one included; a live reference would go
    on.
    """
    positions = max(len(a.positions) for d in deployments for p in source.probes for a in source.answers[d][p])
    margins = np.full((len(deployments), len(source.probes), source.repeats, positions), np.nan, np.float32)
    for d, name in enumerate(deployments):
        for p, probe in enumerate(source.probes):
            trusted = source.answers[reference][probe][0]
            for r, answer in enumerate(source.answers[name][probe]):
                scores = _margins(trusted, answer)
                margins[d, p, r, : len(scores)] = scores
    return ScoredTokens(margins)


def _margins(trusted: Answer, answer: Answer) -> list[float]:
    margins: list[float] = []
    for own, other in zip(trusted.positions, answer.positions, strict=False):
        listed = dict(own.top)  # which may name a token of half a character otherwise than the text does
        margins.append(listed.get(own.token, own.top[0][1]) - listed.get(other.token, list_floor(own)))
        if own.token != other.token:
            break
    return margins


def candidate_index(streams: Streams, deployments: Sequence[str]) -> Index:
    """Where a table of `deployments` holds the streams' answers: (streams, requests, 1), one answer to each prompt."""
    rows = np.array([deployments.index(name) for name in streams.deployments], np.intp)[streams.deployment]
    return rows[..., None], streams.probe.astype(np.intp)[..., None], streams.repeat.astype(np.intp)[..., None]


def reference_index(streams: Streams, deployments: Sequence[str], references: Sequence[str]) -> Index:
    """Where a table of `deployments` holds the first answers of `references` to what the streams ask.

    What it selects has the shape (streams, requests, references).
    """
    rows = np.array([deployments.index(name) for name in references], np.intp)
    return rows, streams.probe.astype(np.intp)[..., None], np.zeros(1, np.intp)
