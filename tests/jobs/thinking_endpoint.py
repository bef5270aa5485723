"""An endpoint on a real socket whose model thinks unless it is told not to, in the one way that it understands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web
from open_endpoint import OpenEndpoint

from qcheck.registry.types import PromptFormat, ThinkingSwitch

FORMAT = PromptFormat(
    user="<u>{content}</u>", assistant="<a>{content}</a>", system="<s>{content}</s>", answer="<a>", no_thought="<t></t>"
)
THOUGHT = "The user wants to know something. Let me see what that may be and how it is best said to them."
Shown = Literal["field", "tags", "untagged", "empty", "uncapped", "counted", "short"]
FIELDS: dict[ThinkingSwitch, str] = {
    "thinking.type": "thinking",
    "chat_template_kwargs": "chat_template_kwargs",
    "enable_thinking": "enable_thinking",
    "reasoning": "reasoning",
    "reasoning_effort": "reasoning_effort",
    "continue_final_message": "continue_final_message",
}


@dataclass
class ThinkingEndpoint(OpenEndpoint):
    """way: what keeps its model from thinking; None where nothing does.

    strict: whether fields that it does not know are refused, else they are ignored. shown: how a thought appears: in a
    field of its own, between tags, without them, not at all and within the limit of tokens ("empty", "short" where its
    answer comes as well), or not at all and beyond that limit ("uncapped", "counted" where usage tells).
    by_default: whether it thinks if it is told nothing. warm: the one temperature that it accepts while it thinks.
    ends: its word for an answer that the model has ended.
    """

    way: ThinkingSwitch | None = None
    strict: bool = False
    shown: Shown = "field"
    by_default: bool = True
    warm: float | None = None
    ends: str = "stop"

    def _refusal(self, body: dict[str, Any]) -> str | None:
        unknown = [name for way, name in FIELDS.items() if name in body and way != self.way]
        if self.strict and unknown:
            return f"Unrecognized request argument supplied: {unknown[0]}"
        if self.strict and "prompt" in body and self.way != "completions":
            return "no such path"
        if self.warm is not None and self._thinks(body) and body["temperature"] != self.warm:
            return f"invalid temperature: only {self.warm} is allowed for this model"
        return super()._refusal(body)

    def _continued(self, body: dict[str, Any]) -> str | None:
        """What of the answer is begun, where that is understood."""
        last = body.get("messages", [{}])[-1]
        marked = self.way in last or (self.way == "continue_final_message" and self.way in body)
        return str(last["content"]) if marked else None

    def _thinks(self, body: dict[str, Any]) -> bool:
        if not self.by_default:
            return False
        if self.way == "completions":
            return "prompt" not in body
        return self._continued(body) is None and FIELDS.get(self.way or "none") not in body

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body.get("prompt") or " ".join(m["content"] for m in body["messages"])
        product, line = (
            re.search(r"Compute (\d+) \* (\d+)\.", prompt),
            re.search(r"Repeat exactly: ([0-9 ]*\d)", prompt),
        )
        thinks = self._thinks(body)
        if self._refusal(body) or not (product or line or thinks):
            return await super()._answer(request)
        self.asked.append(body)
        right = str(int(product[1]) * int(product[2])) if product else line[1] if line else "It is so."
        said = right if thinks or not product else "195 000 000 000"
        if begun := self._continued(body):
            said = said.removeprefix(begun.removeprefix(FORMAT.no_thought))
        return web.json_response(self._thought(said) if thinks else answer(said, self.ends))

    def _thought(self, said: str) -> dict[str, Any]:
        if self.shown == "field":
            return answer("", "length", 32, reasoning_content=THOUGHT)
        if self.shown == "tags":
            return answer(f"<think>\n{THOUGHT}", "length", 32)
        if self.shown == "untagged":
            return answer(THOUGHT, "length", 32)
        if self.shown == "empty":
            return answer("", "length", 32)
        if self.shown == "short":
            return answer(said, self.ends, 31)
        counted = answer(said, self.ends, len(said))
        if self.shown == "counted":
            counted["usage"]["completion_tokens_details"] = {"reasoning_tokens": 400}
        return counted


def answer(text: str, finish: str = "stop", tokens: int | None = None, **message: str) -> dict[str, Any]:
    """A body with an answer; both forms in one, as few servers have them."""
    choice = {"message": {"role": "assistant", "content": text, **message}, "text": text, "finish_reason": finish}
    counted = len(text) if tokens is None else tokens
    return {"choices": [choice], "usage": {"prompt_tokens": 20, "completion_tokens": counted}, "model": "small"}
