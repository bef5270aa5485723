"""An endpoint on a real socket with a small random model, which does what the OpenAI form and its dialects allow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import web

from qcheck.registry.types import Endpoint

VOCABULARY = [f" word{i}" for i in range(40)]


@dataclass
class OpenEndpoint:
    """What it offers.

    most: log-probabilities at a position, `form` how they are asked for. after_temperature: whether it lists what
    it samples from. least: output tokens, below which it refuses. pinned: the only temperature. refused: fields of
    a body that it refuses. limit: what it wants the limit of tokens to be called. guesses: whether the usage of its
    streams is counted with another tokenizer. refuses_calls: whether it answers a model's invalid call as Groq
    does. logit_step: of the lattice that its logits lie on, in nats, 0 for none. falsy: the temperature that it takes
    0 for, as a gateway does that leaves out what is falsy. refusal: the HTTP status of its refusals.
    """

    most: int = 20
    form: str = "boolean"
    after_temperature: bool = False
    least: int = 1
    pinned: float | None = None
    refused: tuple[str, ...] = ()
    limit: str = "max_tokens"
    usage: bool = True
    streams: bool = True
    guesses: bool = False
    echo: bool = True
    caches: bool = False
    refuses_calls: bool = False
    logit_step: float = 0.0
    falsy: float = 0.0
    refusal: int = 400
    asked: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/completions", self._answer)
        return app

    def _refusal(self, body: dict[str, Any]) -> str | None:
        for name in self.refused:
            if name in body:
                return f"{name} is not supported with this model"
        if self.limit not in body:
            return f"Unsupported parameter: 'max_tokens'. Use '{self.limit}' instead."
        if body[self.limit] < self.least:
            return f"Invalid '{self.limit}': expected a value >= {self.least}, but got {body[self.limit]} instead."
        if self.pinned not in (None, body["temperature"]):
            return f"invalid temperature: only {self.pinned} is allowed for this model"
        asked = body.get("logprobs")
        if "messages" in body and asked and (self.form == "integer") == isinstance(asked, bool):
            return "logprobs is of the wrong type"
        k = body.get("top_logprobs", 0) or (asked or 0)
        return f"top_logprobs must be between 0 and {self.most}" if k > self.most else None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if error := self._refusal(body):
            return web.json_response({"error": {"message": error}}, status=self.refusal)
        if self.refuses_calls and "tools" in body:
            failed = {"message": "Failed to call a function.", "code": "tool_use_failed", "failed_generation": "<f"}
            return web.json_response({"error": failed}, status=400)
        again = self.asked.count(body) > 1
        seed = (7, body["seed"]) if "seed" in body else (len(self.asked),)
        rng = np.random.default_rng(seed)
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        drawn = [self._generate(prompt, body, rng) for _ in range(body.get("n", 1))]
        in_tokens = len(prompt.split()) + 30 * len(body.get("tools", ()))
        usage = {
            "prompt_tokens": in_tokens,
            "completion_tokens": sum(len(tokens) for tokens in drawn),
            "prompt_tokens_details": {"cached_tokens": in_tokens // 2 if self.caches and again else 0},
        }
        answer = {"model": "small", "system_fingerprint": "fp_1"} | ({"usage": usage} if self.usage else {})
        choices = [self._choice(tokens, prompt, body, i) for i, tokens in enumerate(drawn)]
        if not body["stream"] or not self.streams:
            return web.json_response(answer | {"choices": choices})
        usage["prompt_tokens"] -= self.guesses
        choices = [choice | {"delta": choice.pop("message")} for choice in choices]
        return web.Response(text=f"data: {json.dumps(answer | {'choices': choices})}\n\ndata: [DONE]\n\n")

    def _generate(self, prompt: str, body: dict[str, Any], rng: np.random.Generator) -> list[tuple[int, Any]]:
        """(token, log-probabilities that are listed) of each position."""
        tokens: list[tuple[int, Any]] = []
        for _ in range(body[self.limit]):
            before = (prompt + "".join(VOCABULARY[t] for t, _ in tokens)).encode()
            logits = np.random.default_rng(list(hashlib.sha256(before).digest())).normal(0, 2, len(VOCABULARY))
            if self.logit_step:
                logits = self.logit_step * np.round(logits / self.logit_step)
            temperature = body["temperature"] or self.falsy
            raw, used = (values - np.log(np.exp(values).sum()) for values in (logits, logits / (temperature or 1)))
            token = int(rng.choice(len(logits), p=np.exp(used))) if temperature else int(logits.argmax())
            tokens.append((token, used if self.after_temperature else raw))
        return tokens

    def _choice(self, tokens: list[tuple[int, Any]], prompt: str, body: dict[str, Any], index: int) -> dict[str, Any]:
        text = "".join(VOCABULARY[t] for t, _ in tokens)
        choice: dict[str, Any] = {"index": index, "finish_reason": "length"}
        if "prompt" in body:
            words = [f"{word} " for word in prompt.split()] if body.get("echo") and self.echo else []
            texts = [*words, *(VOCABULARY[t] for t, _ in tokens)]
            values = [*[None, *[-1.0] * len(words)][: len(words)], *(float(listed[t]) for t, listed in tokens)]
            return choice | {"text": text, "logprobs": {"tokens": texts, "token_logprobs": values}}
        choice["message"] = {"role": "assistant", "content": text}
        if body.get("logprobs"):
            k = body.get("top_logprobs", body["logprobs"])
            choice["logprobs"] = {"content": [_position(token, listed, k) for token, listed in tokens]}
        return choice


@dataclass
class Failing(OpenEndpoint):
    """Answers the first `failures` requests for log-probabilities with `code` and `words`."""

    code: int = 500
    failures: int = 1000
    words: str = "Request failed during generation"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if "logprobs" not in body or not self.failures:
            return await super()._answer(request)
        self.failures -= 1
        self.asked.append(body)
        return web.json_response({"error": {"message": self.words}}, status=self.code)


def _position(token: int, listed: Any, k: int) -> dict[str, Any]:
    top = [{"token": VOCABULARY[t], "logprob": float(listed[t])} for t in np.argsort(-listed)[:k]]
    return {"token": VOCABULARY[token], "logprob": float(listed[token]), "top_logprobs": top}


@asynccontextmanager
async def listening(app: web.Application, **fields: Any) -> AsyncIterator[Endpoint]:
    """The endpoint of an application on a free port of this machine."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield Endpoint(**({"name": "p", "display": url, "base_url": url, "model_id": "m", "key_env": None} | fields))
    finally:
        await runner.cleanup()
