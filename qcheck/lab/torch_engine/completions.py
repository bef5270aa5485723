"""The HTTP dialect: what a completion may ask, and the body that answers it, both as llama.cpp's server has them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qcheck.lab.torch_engine.chat import split_reasoning
from qcheck.lab.torch_engine.generation import Answer, Position, Prompt

__all__ = ["ChatRequest", "CompletionRequest", "chat_choice", "completion_body", "text_choice"]

DEFAULT_TOP_LOGPROBS: Final = 20
_CUT_OFF: Final = re.compile(rb"([\xc0-\xdf]|[\xe0-\xef].?|[\xf0-\xf7].{0,2})\Z", re.DOTALL)


class _Request(BaseModel):
    """What both kinds of completion take; other fields are ignored, and null is as good as absent."""

    model_config = ConfigDict(strict=True, frozen=True)

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    n: Literal[1] = 1
    stream: Literal[False] = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body

    def to_prompt(self, ids: Sequence[int], room: int, top_logprobs: int) -> Prompt:
        """The request as a prompt of `ids`, which leave `room` tokens for the answer."""
        return Prompt(
            ids=tuple(ids),
            max_tokens=min(self.max_completion_tokens or self.max_tokens or room, room),
            temperature=max(self.temperature, 0.0),
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            seed=self.seed if self.seed is None or self.seed >= 0 else None,
            top_logprobs=top_logprobs,
        )


class CompletionRequest(_Request):
    """The body of `/v1/completions`; here and in llama.cpp `logprobs` lists as many tokens as it says.

    echo: the answer begins with the prompt, log-probabilities and all, as vLLM has it; llama.cpp ignores it.
    """

    prompt: str | list[int] = Field(min_length=1)
    logprobs: int | None = Field(None, ge=0)
    echo: bool = False

    @field_validator("logprobs", mode="before")
    @classmethod
    def _one_for_true(cls, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


class Message(BaseModel):
    """One turn of a chat; further fields go to the template as they are."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        if self.role != "assistant" and "content" not in self.model_fields_set:
            raise ValueError("All non-assistant messages must contain 'content'")
        return self


class ChatRequest(_Request):
    """The body of `/v1/chat/completions`."""

    messages: list[Message]
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0)
    tools: list[dict[str, Any]] = []
    chat_template_kwargs: dict[str, Any] = {}
    continue_final_message: bool = False

    @model_validator(mode="after")
    def _top_needs_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs requires logprobs to be set to true")
        return self

    @property
    def listed(self) -> int:
        """How many tokens to list at each position."""
        if not self.logprobs:
            return 0
        return DEFAULT_TOP_LOGPROBS if self.top_logprobs is None else self.top_logprobs


@cache
def _token_text(piece: bytes) -> str:
    """A token by itself, without a character that the next token would have to complete, as llama.cpp writes it."""
    return _CUT_OFF.sub(b"", piece).decode(errors="replace")


def _entry(token: int, logprob: float | None, pieces: Sequence[bytes]) -> dict[str, Any]:
    piece = pieces[token]
    return {"id": token, "token": _token_text(piece), "bytes": list(piece), "logprob": logprob}


def _logprobs(positions: Sequence[Position], pieces: Sequence[bytes]) -> dict[str, Any]:
    content = [
        _entry(p.token, p.logprob, pieces) | {"top_logprobs": [_entry(*ranked, pieces) for ranked in p.top]}
        for p in positions
    ]
    return {"content": content}


def _beside_the_best(position: Position) -> Position:
    """With the token itself listed after the most probable ones, where it is none of them, as vLLM has it."""
    if position.logprob is None or position.token in dict(position.top):
        return position
    return replace(position, top=(*position.top, (position.token, position.logprob)))


def _text(positions: Sequence[Position], pieces: Sequence[bytes]) -> str:
    return b"".join(pieces[p.token] for p in positions).decode(errors="replace")


def chat_choice(request: ChatRequest, prompt: str, answer: Answer, pieces: Sequence[bytes]) -> dict[str, Any]:
    """The one element of `choices` in a chat. pieces: the bytes of every token."""
    reasoning, content = split_reasoning(prompt, _text(answer.positions, pieces))
    message = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    choice: dict[str, Any] = {"finish_reason": answer.finish_reason, "index": 0, "message": message}
    if request.listed:
        choice["logprobs"] = _logprobs(answer.positions, pieces)
    return choice


def text_choice(request: CompletionRequest, answer: Answer, pieces: Sequence[bytes]) -> dict[str, Any]:
    """The one element of `choices` in a plain completion. pieces: the bytes of every token."""
    shown = [_beside_the_best(p) for p in answer.prompt + answer.positions]
    return {
        "text": _text(shown, pieces),
        "index": 0,
        "logprobs": _logprobs(shown, pieces) if request.logprobs else None,
        "finish_reason": answer.finish_reason,
    }


def completion_body(
    kind: Literal["chat.completion", "text_completion"],
    model: str,
    choice: Mapping[str, Any],
    prompt_tokens: int,
    answer: Answer,
) -> dict[str, Any]:
    """The whole answer."""
    completion_tokens = len(answer.positions)
    return {
        "choices": [choice],
        "created": int(time.time()),
        "model": model,
        "object": kind,
        "usage": {
            "completion_tokens": completion_tokens,
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
        "id": f"chatcmpl-{secrets.token_urlsafe(24)}",
    }
