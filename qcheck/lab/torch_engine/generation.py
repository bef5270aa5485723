"""Answer prompts with a decoder, several at a time, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qcheck.lab.decoder import Decoder

__all__ = ["Answer", "Position", "Prompt", "generate"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids to go on from, and how.

    max_tokens: at most so many new tokens. temperature: 0 takes the most probable token, the lowest id among equals.
    top_k: draw from so many of the most probable tokens, 0 for all. top_p: from the smallest set of these that has this
    share of their probability. min_p: from those that have this share of the first one's. All three look at
    probabilities before temperature, as llama.cpp's do. seed: of the draws, random if None.
    top_logprobs: how many tokens to list at each position. echo: whether the prompt's own tokens are scored too.
    """

    ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    top_logprobs: int = 0
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """One token with its log-probability, in nats and before temperature, and the most probable ones in its place.

    logprob: None for the first token of a prompt, which follows nothing.
    """

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, token: int, logprobs: NDArray[np.float32], listed: NDArray[np.intp]) -> Self:
        """A token in its place. logprobs: (vocabulary,). listed: the most probable tokens in falling order."""
        return cls(token, float(logprobs[token]), tuple(zip(listed.tolist(), logprobs[listed].tolist(), strict=True)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What was generated; the token that ended it is its last position.

    prompt: the tokens of the prompt, where they were to be scored.
    """

    positions: tuple[Position, ...]
    finish_reason: Literal["stop", "length"]
    prompt: tuple[Position, ...] = ()


class _Draft:
    """An answer in the making."""

    def __init__(self, prompt: Prompt, eos: int) -> None:
        self._prompt = prompt
        self._eos = eos
        self._rng = np.random.default_rng(prompt.seed)
        self._positions: list[Position] = []
        self._scored: tuple[Position, ...] = ()
        self.finish_reason: Literal["stop", "length"] | None = None

    def score(self, logprobs: NDArray[np.float32]) -> None:
        """Score the prompt by the distributions after each of its tokens, (tokens, vocabulary)."""
        tops = np.argsort(-logprobs, axis=-1, kind="stable")[:, : self._prompt.top_logprobs]
        first = Position(self._prompt.ids[0], None, ())
        self._scored = (first, *map(Position.of, self._prompt.ids[1:], logprobs[:-1], tops[:-1]))

    def extend(self, logprobs: NDArray[np.float32]) -> int:
        """Choose the next token by its distribution, (vocabulary,); once finished, any will do."""
        if self.finish_reason is not None:
            return self._eos
        order = np.argsort(-logprobs, kind="stable")
        token = int(order[0]) if self._prompt.temperature == 0 else self._draw(logprobs, order)
        self._positions.append(Position.of(token, logprobs, order[: self._prompt.top_logprobs]))
        if token == self._eos:
            self.finish_reason = "stop"
        elif len(self._positions) == self._prompt.max_tokens:
            self.finish_reason = "length"
        return token

    def _draw(self, logprobs: NDArray[np.float32], order: NDArray[np.intp]) -> int:
        asked = self._prompt
        ranked = logprobs[order[: asked.top_k or None]].astype(np.float64)
        ranked -= ranked[0]
        mass = np.exp(ranked).cumsum()
        nucleus = int(np.searchsorted(mass, asked.top_p * mass[-1])) + 1
        kept = ranked[:nucleus][np.exp(ranked[:nucleus]) >= min(asked.min_p, 1.0)]
        mass = np.exp(kept / asked.temperature).cumsum()
        return int(order[np.searchsorted(mass, self._rng.random() * mass[-1], side="right")])

    def answer(self) -> Answer:
        """The finished answer."""
        assert self.finish_reason is not None
        return Answer(tuple(self._positions), self.finish_reason, self._scored)


@torch.inference_mode()
def generate(decoder: Decoder, prompts: Sequence[Prompt], *, eos: int, rows: int, pad_to: int) -> list[Answer]:
    """The answers to at most `rows` prompts, computed together.

    The same prompts in the same order get the same bits. Prompts influence each other through rounding alone: by the
    length that all are padded to and, in a mixture of experts, by how many tokens an expert gets.

    Parameters
    ----------
    eos
        The token that ends an answer.
    rows
        Size of the batch, filled up with rows of padding where the prompts are fewer.
    pad_to
        Prompts are padded on the left to a common length that is a multiple of this.
    """
    drafts, device = [_Draft(prompt, eos) for prompt in prompts], decoder.token_embd.weight.device
    ids, starts = _padded([prompt.ids for prompt in prompts] + [(eos,)] * (rows - len(prompts)), eos, pad_to)
    ids, cache = ids.to(device), decoder.cache(starts.to(device))
    if any(prompt.echo for prompt in prompts):
        after = _logprobs(decoder.steps(ids, cache))
        for draft, prompt, row in zip(drafts, prompts, after, strict=False):
            if prompt.echo:
                draft.score(row[-len(prompt.ids) :])
        logprobs = after[:, -1]
    else:
        logprobs = _logprobs(decoder.step(ids, cache))
    while True:
        tokens = [draft.extend(row) for draft, row in zip(drafts, logprobs, strict=False)]
        if all(draft.finish_reason for draft in drafts):
            return [draft.answer() for draft in drafts]
        ids = torch.tensor(tokens + [eos] * (rows - len(tokens)), device=device).unsqueeze(1)
        logprobs = _logprobs(decoder.step(ids, cache))


def _logprobs(logits: Tensor) -> NDArray[np.float32]:
    return logits.float().log_softmax(-1).cpu().numpy()


def _padded(prompts: Sequence[tuple[int, ...]], filler: int, pad_to: int) -> tuple[Tensor, Tensor]:
    """The ids, (batch, length), and how many tokens of padding each row begins with, (batch,)."""
    length = -(-max(map(len, prompts)) // pad_to) * pad_to
    starts = [length - len(prompt) for prompt in prompts]
    ids = [[filler] * start + list(prompt) for start, prompt in zip(starts, prompts, strict=True)]
    return torch.tensor(ids), torch.tensor(starts)
