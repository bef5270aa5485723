"""Answer prompts with a decoder, several at a time, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    top_logprobs: how many tokens to list at each position.
    """

    ids: tuple[int, ...]
    max_tokens: int
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """One generated token with its log-probability, in nats and before temperature, and the most probable ones."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was generated; the token that ended it is its last position."""

    positions: tuple[Position, ...]
    finish_reason: Literal["stop", "length"]


class _Draft:
    """An answer in the making."""

    def __init__(self, prompt: Prompt, eos: int) -> None:
        self._prompt = prompt
        self._eos = eos
        self._rng = np.random.default_rng(prompt.seed)
        self._positions: list[Position] = []
        self.finish_reason: Literal["stop", "length"] | None = None

    def extend(self, logprobs: NDArray[np.float32]) -> int:
        """Choose the next token by its distribution, (vocabulary,); once finished, any will do."""
        if self.finish_reason is not None:
            return self._eos
        order = np.argsort(-logprobs, kind="stable")
        token = int(order[0]) if self._prompt.temperature == 0 else self._draw(logprobs, order)
        top = order[: self._prompt.top_logprobs]
        listed = tuple(zip(top.tolist(), logprobs[top].tolist(), strict=True))
        self._positions.append(Position(token, float(logprobs[token]), listed))
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
        return Answer(tuple(self._positions), self.finish_reason)


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
    drafts = [_Draft(prompt, eos) for prompt in prompts]
    ids, starts = _padded([prompt.ids for prompt in prompts] + [(eos,)] * (rows - len(prompts)), eos, pad_to)
    cache = decoder.cache(starts)
    while any(draft.finish_reason is None for draft in drafts):
        logprobs = decoder.step(ids, cache).float().log_softmax(-1).numpy()
        tokens = [draft.extend(row) for draft, row in zip(drafts, logprobs, strict=False)]
        ids = torch.tensor(tokens + [eos] * (rows - len(tokens))).unsqueeze(1)
    return [draft.answer() for draft in drafts]


def _padded(prompts: Sequence[tuple[int, ...]], filler: int, pad_to: int) -> tuple[Tensor, Tensor]:
    """The ids, (batch, length), and how many tokens of padding each row begins with, (batch,)."""
    length = -(-max(map(len, prompts)) // pad_to) * pad_to
    starts = [length - len(prompt) for prompt in prompts]
    ids = [[filler] * start + list(prompt) for start, prompt in zip(starts, prompts, strict=True)]
    return torch.tensor(ids), torch.tensor(starts)
