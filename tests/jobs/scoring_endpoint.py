"""An endpoint on a real socket with a small random model, which answers in chats and scores prompts with `echo`."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

VOCABULARY = [f"w{i:02}" for i in range(24)]
WIDTH = 3  # characters of a token
LISTED = 20


@dataclass
class ScoringEndpoint:
    """A deployment. deviation: how far its logits lie from the model's, in nats rms, the same way each time.

    template: what a chat's prompt begins with, and a plain completion's does not; forgotten: for the first token alone.
    scores: how many texts it scores before it has an error each time. echoes: whether it takes notice of `echo`.
    pause_s: seconds before it answers a chat.
    """

    deviation: float = 0.0
    template: str = ""
    forgotten: bool = False
    scores: int = 10**6
    echoes: bool = True
    pause_s: float = 0.0
    chats: list[dict[str, Any]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        return app

    def _after(self, text: str) -> np.ndarray:
        """(tokens,) log-probabilities of what comes after a text."""
        place = list(hashlib.sha256(text.encode()).digest())
        logits = np.random.default_rng(place).normal(0, 1.5, len(VOCABULARY))
        logits += self.deviation * np.random.default_rng([1, *place]).normal(0, 1, len(VOCABULARY))
        return logits - np.logaddexp.reduce(logits)

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.chats.append(body)
        await asyncio.sleep(self.pause_s)
        prompt, text, content = self.template + body["messages"][-1]["content"], "", []
        rng = np.random.default_rng(len(self.chats))
        for _ in range(body["max_tokens"]):
            logprobs = self._after(prompt + text)
            token = int(rng.choice(len(VOCABULARY), p=np.exp(logprobs)) if body["temperature"] else logprobs.argmax())
            text += VOCABULARY[token]
            prompt = prompt.removeprefix(self.template) if self.forgotten else prompt
            top = [{"token": VOCABULARY[t], "logprob": float(logprobs[t])} for t in np.argsort(-logprobs)[:LISTED]]
            content.append({"token": VOCABULARY[token], "logprob": float(logprobs[token]), "top_logprobs": top})
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "length"}
        lists = {"logprobs": {"content": content}} if body.get("logprobs") else {}
        return web.json_response({"choices": [choice | lists], "usage": _usage(prompt, len(content))})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.scored.append(body)
        if len(self.scored) > self.scores:
            return web.json_response({"error": {"message": "out of memory"}}, status=400)
        prompt, tokens = body["prompt"], list[str]()
        while prompt[-WIDTH:] in VOCABULARY:
            prompt, tokens = prompt[:-WIDTH], [prompt[-WIDTH:], *tokens]
        values, tops = [], []
        for place, token in enumerate([*tokens, VOCABULARY[0]]):
            logprobs = self._after(prompt + "".join(tokens[:place]))
            values.append(float(logprobs[VOCABULARY.index(token)]))
            tops.append({VOCABULARY[t]: float(logprobs[t]) for t in np.argsort(-logprobs)[:LISTED]})
        listed = {
            "tokens": [prompt, *tokens, VOCABULARY[0]],
            "token_logprobs": [None, *values],
            "top_logprobs": [None, *tops],
        }
        if not self.echoes:
            listed = {name: part[-1:] for name, part in listed.items()}
        choice = {"text": "".join(listed["tokens"]), "logprobs": listed, "finish_reason": "length"}
        return web.json_response({"choices": [choice], "usage": _usage(body["prompt"], 1)})


def _usage(prompt: str, generated: int) -> dict[str, int]:
    return {"prompt_tokens": len(prompt) // WIDTH, "completion_tokens": generated}
