"""Messages to a prompt by the lab's chat template; an answer to what was thought and what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["ChatTemplate", "split_reasoning"]

OPEN: Final = "<think>\n"
CLOSE: Final = "</think>"


def _tojson(value: Any) -> str:
    """As llama.cpp and Hugging Face do, without jinja2's escapes for HTML."""
    return json.dumps(value, ensure_ascii=False)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


class ChatTemplate:
    """The lab's chat template in the environment that Hugging Face gives one.

    values: what the template gets unless a request says otherwise.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = _tojson
        environment.globals["strftime_now"] = _strftime_now
        source = files("qcheck.lab").joinpath("chat_template.jinja").read_text(encoding="utf-8")
        self._template = environment.from_string(source)
        self._values = values

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
    ) -> str:
        """The prompt. Raises jinja2.TemplateError or TypeError where the messages are not what the template expects."""
        return self._template.render(
            {**self._values, **values, "messages": messages, "tools": tools, "add_generation_prompt": True}
        )


def split_reasoning(prompt: str, text: str) -> tuple[str | None, str]:
    """(reasoning, answer) of what was generated after `prompt`; the same as llama.cpp's server makes of it.

    There is reasoning only where the prompt ends with an open block for it. A block that is never closed is all
    reasoning, but for the beginning of the tag that would have closed it; an empty one is none.
    """
    if not prompt.endswith(OPEN):
        return None, text
    reasoning, closed, answer = text.partition(CLOSE)
    if not closed:
        begun = next((n for n in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:n])), 0)
        reasoning = text[: len(text) - begun]
    answer = answer.removeprefix("\n").removeprefix("\n")
    return (reasoning, answer) if reasoning.strip() else (None, answer or text)
