"""The published methods (`benchmarks.peers`) on the same answers: how many requests until they see a deviation.

They are tests of a fixed number of requests, so the number is raised until 90 % of the deviating streams score beyond
all but 1 % of each honest deployment's, which favours them twice: the threshold is measured on the very deployments
that they are tried on, and its 1 % is allowed for one look, not for every one.

Recordings hold greedy answers of four tokens with their lists. What the methods ask for beyond that is made of these:
samples are of one token, drawn from the recorded list of the deployment that answers; margins are by the recorded list
of one reference and end where a text differs. The authors' tokens are more: up to 50 a sample, some 30 an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.draws import Block, blocks
from benchmarks.detection.material import Material
from benchmarks.detection.rows import Row
from benchmarks.peers import (
    BorderInputs,
    LogprobTracking,
    ModelEqualityTesting,
    RankUniformity,
    TokenDifr,
    threshold,
)
from benchmarks.peers.answers import (
    FirstTokens,
    Samples,
    ScoredTokens,
    first_token_ranks,
    first_tokens,
    scored_tokens,
)
from benchmarks.peers.border_inputs import border_prompts
from qcheck.lab.streams import Source

__all__ = ["SIZES", "Method", "Needed", "methods", "published"]

Array = NDArray[np.float64]

SIZES = (2, 3, 5, 8, 12, 20, 30, 40, 60, 90, 140, 200, 300, 450, 700, 1000, 1500)  # requests that are tried
HONEST_STREAMS, STREAMS, POWER = 1000, 250, 0.9
SAMPLES, RESPONSES = 10, 30  # of a prompt in Model Equality Testing; of the reference in the rank test


class Method(Protocol):
    """A published method on streams of the answers of known deployments."""

    @property
    def name(self) -> str:
        """As in the tables."""
        ...

    @property
    def tokens(self) -> int:
        """Output tokens of one request."""
        ...

    def scores(self, block: Block, who: NDArray[np.intp], requests: int) -> Array:
        """(streams,) from the first requests of each stream. who: (streams, requests), indices of deployments."""
        ...


@dataclass(frozen=True, slots=True)
class Needed:
    """requests: the smallest of `SIZES` at which a method reaches the power; None where none does.

    tokens: of output to a request.
    """

    row: Row
    fraction: float
    method: str
    tokens: int
    requests: int | None


@dataclass(frozen=True, slots=True)
class _ByPrompt:
    """A mean over prompts with one answer each. table: (deployments, probes) scores of one prompt each.

    prompts: those that are asked, in this order; unless given those of the stream.
    """

    name: str
    table: Array
    prompts: NDArray[np.intp] | None = None
    tokens: int = 1

    def scores(self, block: Block, who: NDArray[np.intp], requests: int) -> Array:
        prompts = block.order if self.prompts is None else self.prompts[None]
        mean: Array = self.table[who[:, :requests], prompts[:, :requests]].mean(axis=1)
        return mean


@dataclass(frozen=True, slots=True)
class _Margins:
    """honest: margins of the other references' answers. margins: (deployments, probes, positions)."""

    peer: TokenDifr
    honest: ScoredTokens
    margins: NDArray[np.float32]

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def tokens(self) -> int:
        return self.margins.shape[-1]

    def scores(self, block: Block, who: NDArray[np.intp], requests: int) -> Array:
        rows = self.margins[who[:, :requests], block.order[:, :requests], None]
        return self.peer.scores(self.honest, ScoredTokens(rows), np.random.default_rng(0))


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A method on samples of one token, `samples` to each prompt where there are so many requests.

    cumulative: (deployments, probes, tokens) of each deployment's list. reference: (probes, samples), its sampled
    tokens. ranks: (probes, tokens) of all tokens by the reference.
    """

    peer: ModelEqualityTesting | RankUniformity
    samples: int
    cumulative: NDArray[np.float32]
    reference: NDArray[np.int32]
    ranks: NDArray[np.int32]
    rng: np.random.Generator
    tokens: int = 1

    @property
    def name(self) -> str:
        return self.peer.name

    def scores(self, block: Block, who: NDArray[np.intp], requests: int) -> Array:
        each = min(self.samples, requests)
        prompts = block.order[:, : requests // each]
        server = who[:, : prompts.shape[1] * each].reshape(*prompts.shape, each)
        tokens = _sample(self.cumulative, server, prompts[..., None], self.rng)
        return self.peer.scores(self._ranked(prompts, self.reference[prompts]), self._ranked(prompts, tokens), self.rng)

    def _ranked(self, prompts: NDArray[np.intp], tokens: NDArray[np.int32]) -> Samples:
        return Samples(tokens[..., None], self.ranks[prompts[..., None], tokens][..., None])


def _sample(
    cumulative: NDArray[np.float32], who: NDArray[np.intp], prompts: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Tokens drawn from the lists of the deployments `who` at `prompts`, which broadcast."""
    drawn = rng.random(np.broadcast_shapes(who.shape, prompts.shape))[..., None]
    tokens: NDArray[np.int32] = (drawn > cumulative[who, prompts, :-1]).sum(axis=-1, dtype=np.int32)
    return tokens


def methods(material: Material, deployments: Sequence[str], rng: np.random.Generator) -> list[Method]:
    """All published methods, for answers of `deployments` beside the baseline's references."""
    references, ids = material.references, tuple(p.id for p in material.probes)
    everyone = (*deployments, *references)
    # First answers alone: further ones are what the references' own noise is measured by.
    first = {name: {i: material.answers[name][i][:1] for i in ids} for name in everyone}
    source = Source(first, ids, 1, "")
    lists = first_tokens(source, everyone)
    return [
        *_on_lists(lists, len(deployments), rng),
        *_on_margins(source, deployments, references),
        *_on_samples(np.nan_to_num(np.exp(lists.logprobs[:, :, 0]), nan=0.0), len(deployments), rng),
    ]


def _on_lists(lists: FirstTokens, deployments: int, rng: np.random.Generator) -> list[Method]:
    """lists: (deployments and then references, probes, 1), of which the references' answers are one sample."""
    sent, logprobs = lists.sent[deployments:, :, 0].T, lists.logprobs[deployments:, :, 0].swapaxes(0, 1)
    nearest = border_prompts(FirstTokens(logprobs, sent), max(SIZES))
    reference = FirstTokens(logprobs[:, None], sent[:, None])  # every prompt is a stream of its own

    def table(peer: LogprobTracking | BorderInputs) -> Array:
        own = zip(lists.logprobs[:deployments, :, None], lists.sent[:deployments, :, None], strict=True)
        return np.stack([peer.scores(reference, FirstTokens(*one), rng) for one in own])

    tracking, border = LogprobTracking(), BorderInputs()
    return [_ByPrompt(tracking.name, table(tracking)), _ByPrompt(border.name, table(border), nearest)]


def _on_margins(source: Source, deployments: Sequence[str], references: Sequence[str]) -> list[Method]:
    trusted, *others = references
    honest = scored_tokens(source, trusted, others)
    margins = scored_tokens(source, trusted, deployments).margins[:, :, 0]
    return [_Margins(TokenDifr("margin"), honest, margins), _Margins(TokenDifr("mismatch"), honest, margins)]


def _on_samples(probabilities: NDArray[np.float32], deployments: int, rng: np.random.Generator) -> list[Method]:
    """probabilities: (deployments and then references, probes, tokens), 0 where unlisted.

    A sample of the reference is one of some reference deployment's.
    """
    everyone, probes, tokens = probabilities.shape
    cumulative = np.cumsum(probabilities / probabilities.sum(axis=-1, keepdims=True), axis=-1)
    drawn = rng.integers(deployments, everyone, size=(probes, RESPONSES))
    reference = _sample(cumulative, drawn, np.arange(probes)[:, None], rng)
    mean = probabilities[deployments:].mean(axis=0)
    ranks = first_token_ranks(mean, np.broadcast_to(np.arange(tokens), mean.shape))
    return [
        _Sampled(ModelEqualityTesting(1), SAMPLES, cumulative, reference[:, :SAMPLES], ranks, rng),
        _Sampled(RankUniformity(1), 1, cumulative, reference, ranks, rng),
    ]


def published(material: Material, rows: Sequence[Row], fractions: Sequence[float]) -> list[Needed]:
    """What each method needs to see a row's candidates, taken together, in a share of the requests."""
    candidates = dict.fromkeys(c for row in rows for c in row.of(material.answers))
    deployments = (*material.honest, *candidates)
    turns = np.zeros(len(material.probes), np.intp)  # they know of no strata

    def drawn(streams: int, fraction: float) -> list[Block]:
        rng = np.random.default_rng(round(1000 * fraction))
        return list(blocks(turns, len(material.honest), fraction, rng, streams, max(SIZES)))

    faithful, mixed = drawn(HONEST_STREAMS, 0.0), {f: drawn(STREAMS, f) for f in fractions}
    sizes = [size for size in SIZES if size <= len(turns)]
    found = []
    for method in methods(material, deployments, np.random.default_rng(0)):
        limits = {size: _threshold(faithful, _scores(method, faithful, 0, size)) for size in sizes}
        for row, fraction in product(rows, fractions):
            indices = [deployments.index(c) for c in row.of(material.answers)]
            enough = None
            for size in sizes:
                shares = [(_scores(method, mixed[fraction], i, size) > limits[size]).mean() for i in indices]
                if np.mean(shares) >= POWER:
                    enough = size
                    break
            found.append(Needed(row, fraction, method.name, method.tokens, enough))
    return found


def _threshold(faithful: Sequence[Block], scores: Array) -> float:
    """The smallest that no honest deployment's streams exceed more often than they may."""
    server = np.concatenate([block.server[:, 0] for block in faithful])
    return max(threshold(scores[server == one]) for one in np.unique(server))


def _scores(method: Method, streams: Sequence[Block], deviating: int, requests: int) -> Array:
    parts = [method.scores(b, np.where(b.routed, deviating, b.server), requests) for b in streams]
    return np.concatenate(parts)
