"""Messages to a prompt by the lab's chat template; an answer to what was thought and what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["ChatTemplate", "split_reasoning"]

TAG: Final = "<think>"
OPEN: Final = f"{TAG}\n"
CLOSE: Final = "</think>"
EMPTY: Final = f"{OPEN}\n{CLOSE}\n\n"
WHITE_SPACE: Final = " \t\n\v\f\r"


def _tojson(value: Any) -> str:
    """As llama.cpp does: without jinja2's escapes for HTML, and with 6 digits of what is no whole number."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_tojson(key)}: {_tojson(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_tojson, value)) + "]"
        case float():
            return f"{value:g}"
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
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
        *,
        continue_final: bool = False,
    ) -> str:
        """The prompt. continue_final: it ends with the words of the last message, as vLLM and transformers have it.

        Raises jinja2.TemplateError or TypeError where the messages are not what the template expects, ValueError where
        they hold what is no text, or arguments of a tool call that are no JSON.
        """
        plain = [_plain(message) for message in messages]
        prompt = self._template.render(
            {**self._values, **values, "messages": plain, "tools": tools, "add_generation_prompt": not continue_final}
        )
        if not continue_final:
            return prompt
        begun = plain[-1]["content"]
        return prompt[: prompt.rindex(begun) + len(begun)]


def _plain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message as llama.cpp's server shows it to a template: parts of text joined, arguments of calls as objects."""
    changed = dict(message)
    if isinstance(message.get("content"), list):
        changed["content"] = "\n".join(_text(part) for part in message["content"])
    if calls := message.get("tool_calls"):
        changed["tool_calls"] = [{**call, "function": _with_object(call["function"])} for call in calls]
    return changed


def _text(part: Mapping[str, Any]) -> str:
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise ValueError("a part of a message is no text")
    return str(part["text"])


def _with_object(function: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = function["arguments"]
    return {**function, "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments}


def split_reasoning(prompt: str, text: str) -> tuple[str | None, str]:
    """(reasoning, answer) of what was generated after `prompt`; the same as llama.cpp's server makes of it.

    There is reasoning only where the prompt ends with an open block for it, or where it ends with no block at all and
    the text begins with one. A block that is never closed is all reasoning, but for the beginning of the tag that would
    have closed it; an empty one is none. After a prompt without any block an answer loses the white space that it
    begins with, unless it is nothing else, or the beginning of the tag.
    """
    thoughts = text
    if prompt.endswith(EMPTY):
        return None, text
    if not prompt.endswith(OPEN):
        said = text.lstrip(WHITE_SPACE)
        if not said.startswith(TAG):
            return None, text if TAG.startswith(said) else said
        thoughts = said.removeprefix(TAG).removeprefix("\n")
    reasoning, closed, answer = thoughts.partition(CLOSE)
    if not closed:
        begun = next((n for n in range(len(CLOSE) - 1, 0, -1) if thoughts.endswith(CLOSE[:n])), 0)
        reasoning = thoughts[: len(thoughts) - begun]
    answer = answer.removeprefix("\n").removeprefix("\n")
    return (reasoning, answer) if reasoning.strip() else (None, answer or text)
