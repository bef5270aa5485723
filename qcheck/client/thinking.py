"""How a thinking model is brought to answer at once, so that its first token is the answer's: by a switch, by an
answer that is begun for it beyond its thought, or by a whole prompt at `/completions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from qcheck.client.reasoning import OPENS_THOUGHT, Said
from qcheck.records import Message, Position, turns
from qcheck.registry.types import BEGUN, Endpoint, PromptFormat, ThinkingSwitch, Untold

__all__ = ["asked", "begun", "hides_words", "prompt_of", "shows_thought"]

_SWITCHED: Final[Mapping[ThinkingSwitch | Untold | None, Mapping[str, Any]]] = {
    "thinking.type": {"thinking": {"type": "disabled"}},
    # Kimi's and DeepSeek's templates read the first, Qwen's and GLM's the second; each ignores the other.
    "chat_template_kwargs": {"chat_template_kwargs": {"thinking": False, "enable_thinking": False}},
    "enable_thinking": {"enable_thinking": False},
    "reasoning": {"reasoning": {"enabled": False}},
    "reasoning_effort": {"reasoning_effort": "none"},
    # vLLM and SGLang render the turns without opening another one.
    "continue_final_message": {"continue_final_message": True, "add_generation_prompt": False},
}
_MARKED: Final[Mapping[ThinkingSwitch | Untold | None, Mapping[str, Any]]] = {
    "partial": {"partial": True},
    "prefix": {"prefix": True},
}


def asked(endpoint: Endpoint, messages: Sequence[Message]) -> dict[str, Any]:
    """The fields of a body that ask the messages, of a thinking model in the way that the endpoint understands.

    They are those of a plain completion (`prompt`) if that is the way, else of a chat (`messages`).
    """
    switch, form = endpoint.dialect.thinking_off, endpoint.prompt_format
    rows = turns(messages)
    if switch == "completions":
        assert form is not None, "an endpoint is resolved with the format that its way needs"
        return {"prompt": prompt_of(form, messages)}
    if beginning := begun(endpoint):
        rows.append({"role": "assistant", "content": beginning, **_MARKED.get(switch, {})})
    return {"messages": rows, **_SWITCHED.get(switch, {})}


def begun(endpoint: Endpoint) -> str:
    """What the model's answers are begun with, "" where that is not the way."""
    form = endpoint.prompt_format
    return form.no_thought if form and endpoint.dialect.thinking_off in BEGUN else ""


def prompt_of(form: PromptFormat, messages: Sequence[Message]) -> str:
    """The text that a model's chat template makes of the messages, up to the answer's first token."""
    said = (form.turn(m.role).replace("{content}", m.content) for m in messages)
    return "".join((form.begin, *said, form.answer, form.no_thought))


def shows_thought(said: Said, positions: Sequence[Position], reasoning_tokens: int | None) -> bool:
    """Whether an answer shows that the model was thinking, though it may hide its thoughts."""
    first = positions[0].token[1:] if positions else ""
    return said.thought or bool(reasoning_tokens) or OPENS_THOUGHT.match(first) is not None


def hides_words(said: Said, positions: Sequence[Position]) -> bool:
    """Whether tokens with words are listed, and no word is said: so it is where a thought is hidden, or a call read."""
    return not said.text.strip() and any(p.token.startswith("=") and p.token[1:].strip() for p in positions)
