"""What a body shows beyond an answer: how many choices, whether it was streamed, log-probabilities of the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qcheck.client.fields import MalformedError, as_list, as_object, loads
from qcheck.client.stream import is_stream

__all__ = ["choices_in", "is_stream", "scored_prompt_tokens"]

_MAX_CHOICES = 128
_MAX_TOKENS = 100_000
_SPACES = str.maketrans("▁Ġ", "  ")  # how tokenizers write a space (SentencePiece, GPT-2)


def choices_in(body: bytes) -> int | None:
    """How many choices an answer in one piece has; None for a stream."""
    choices = None if is_stream(body) else _answer(body).get("choices")
    return len(choices) if isinstance(choices, list) else None


def scored_prompt_tokens(body: bytes, prompt: str) -> int:
    """How many tokens of `prompt` an answer gives log-probabilities for, as `echo` asks; 0 where there is none.

    They stand before the answer's in the choice (Fireworks, vLLM), or in `prompt` beside the choices (Together).
    """
    if is_stream(body):
        return 0
    try:
        return max((_scored(list(place), prompt) for place in _places(_answer(body))), default=0)
    except MalformedError:
        return 0


def _answer(body: bytes) -> dict[str, Any]:
    return as_object(loads(body), "the body")


def _places(answer: dict[str, Any]) -> Iterator[Iterator[tuple[Any, Any]]]:
    """Everywhere that log-probabilities may stand: (token, log-probability) of each token there."""
    prompts = answer.get("prompt")
    parts = prompts if isinstance(prompts, list) else []
    for part in (*as_list(answer.get("choices"), _MAX_CHOICES, "choices"), *parts):
        logprobs = as_object(as_object(part, "a part").get("logprobs"), "logprobs")
        content = as_list(logprobs.get("content"), _MAX_TOKENS, "content")
        if content:
            entries = (as_object(entry, "a token") for entry in content)
            yield ((entry.get("token"), entry.get("logprob")) for entry in entries)
        else:
            tokens = as_list(logprobs.get("tokens"), _MAX_TOKENS, "tokens")
            yield zip(tokens, as_list(logprobs.get("token_logprobs"), _MAX_TOKENS, "token_logprobs"), strict=False)


def _scored(tokens: list[tuple[Any, Any]], prompt: str) -> int:
    """How many of the tokens up to the end of `prompt` have a number; 0 where the prompt is not among them."""
    text, scored = "", 0
    for token, logprob in tokens:
        text += token.translate(_SPACES) if isinstance(token, str) else ""
        scored += isinstance(logprob, int | float)
        if prompt in text:
            return scored
    return 0
