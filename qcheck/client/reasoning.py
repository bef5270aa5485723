"""What was thought and what was said, wherever a provider puts either."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from qcheck.client.fields import as_list, as_object, as_text

__all__ = ["OPENS_THOUGHT", "Said", "said"]

_MAX_PARTS = 10_000
_TAG = r"(think|thinking|thought|reasoning)"
OPENS_THOUGHT = re.compile(rf"\s*<{_TAG}>")
# A template may have opened the block in the prompt, so that the answer only closes it.
_INLINE = re.compile(rf"\s*<{_TAG}>(?P<thought>.*?)(?:</\1>\s*(?P<text>.*)|\Z)", re.DOTALL)
_CLOSED = re.compile(rf"(?P<thought>.*?)</{_TAG}>\s*(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Said:
    """text: the answer's words. reasoning: the thought's, None where there are none. thought: whether the model was
    thinking at all, be it without a word."""

    text: str
    reasoning: str | None
    thought: bool


def said(message: dict[str, Any], begun: str = "") -> Said:
    """Both out of a message. Raises MalformedError.

    begun: what the answer was begun with, which some servers (llama.cpp) repeat.

    Reasoning stands in `reasoning_content` (Moonshot, Z.ai, DeepSeek, llama.cpp), in `reasoning` (Groq, Cerebras,
    Ollama, vLLM), in `reasoning_details` (OpenRouter, MiniMax), in parts of the content (Mistral), or between tags in
    the content.
    """
    text, parts = _content(message.get("content"))
    text = text.removeprefix(begun)
    fields = (message.get("reasoning_content"), message.get("reasoning"), _details(message.get("reasoning_details")))
    apart = next((words for field in fields if (words := as_text(field, "reasoning"))), parts)
    if apart.strip():
        return Said(text, apart, True)
    inline = _INLINE.fullmatch(text) or _CLOSED.fullmatch(text)
    if inline is None:
        return Said(text, None, False)
    thought = inline["thought"].strip()
    return Said(inline["text"] or "", thought or None, True)


def _parts(value: Any, what: str) -> list[dict[str, Any]]:
    return [as_object(part, f"a part of {what}") for part in as_list(value, _MAX_PARTS, what)]


def _words(value: Any, what: str) -> str:
    """A text, or the texts of a list of parts."""
    if not isinstance(value, list):
        return as_text(value, what)
    return "".join(as_text(part.get("text"), what) for part in _parts(value, what))


def _content(value: Any) -> tuple[str, str]:
    """The text of a content, and the thoughts in its parts if it has any."""
    parts = _parts(value, "content") if isinstance(value, list) else []
    return _words(value, "content"), "".join(_words(part.get("thinking"), "reasoning") for part in parts)


def _details(value: Any) -> str:
    """The words in `reasoning_details`; what is encrypted there has none."""
    details = _parts(value, "reasoning_details")
    return "".join(as_text(detail.get("text") or detail.get("summary"), "reasoning") for detail in details)
