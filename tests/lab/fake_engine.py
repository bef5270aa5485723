"""A stand-in for llama.cpp's server, and a gateway in front of such engines, all on real sockets.

Traits act on HTTP alone, so that most of them need of an engine only the shape of its answers, not a model: this one
has sixteen tokens and the same distribution at every position, another one for each deployment.
"""

import io
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from aiohttp import web

from qcheck.lab.gateway import Gateway
from qcheck.lab.messages import Upstream
from qcheck.lab.spec import parse_spec

MODEL = "lab-tiny"
VOCABULARY = 16
PROMPT_TOKENS = 9
REFUSED_SEED = 400
WHOLE_ANSWER = 32  # tokens, where nothing cuts it
NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
SLOPES = {"honest": 0.5, "q4_k_m": 0.6, "q2_k": 0.7, "honest-b": 0.8}


def distribution(deployment: str) -> list[float]:
    """The log-probabilities of a deployment's tokens, most probable first."""
    logits = [-SLOPES[deployment] * i for i in range(VOCABULARY)]
    normaliser = math.log(sum(map(math.exp, logits)))
    return [logit - normaliser for logit in logits]


@dataclass
class FakeEngine:
    """Answers in llama.cpp's shape, and notes the bodies that it was sent."""

    deployment: str
    asked: list[dict[str, Any]] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        k = body.get("top_logprobs", 20) or None if body.get("logprobs") else None
        return self._answer(body, k, lambda text: {"message": {"role": "assistant", "content": text}})

    async def _complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        return self._answer(body, body.get("logprobs") or None, lambda text: {"text": text})

    def _answer(self, body: dict[str, Any], k: int | None, said: Any) -> web.Response:
        self.asked.append(body)
        if body.get("seed") == REFUSED_SEED:
            error = {"code": 400, "message": "bad seed", "type": "exceed_context_size_error", "n_ctx": 320}
            return web.json_response({"error": error}, status=400)
        count = min(body.get("max_tokens", WHOLE_ANSWER), WHOLE_ANSWER)
        choice = {"finish_reason": "stop" if count == WHOLE_ANSWER else "length", "index": 0, **said("a" * count)}
        if k is not None:
            choice["logprobs"] = {"content": [self._position(k) for _ in range(count)]}
        tokens = {"completion_tokens": count, "prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS + count}
        answer = {
            "choices": [choice],
            "created": 1,
            "model": f"/models/{self.deployment}.gguf",
            "system_fingerprint": "b0-unknown",
            "object": "chat.completion",
            "usage": tokens | {"prompt_tokens_details": {"cached_tokens": 0}},
            "id": f"chatcmpl-{len(self.asked)}",
            "timings": {"prompt_ms": 1.0},
        }
        return web.json_response(answer)

    def _position(self, k: int) -> dict[str, Any]:
        entries = [
            {"id": i, "token": chr(97 + i), "bytes": [97 + i], "logprob": value}
            for i, value in enumerate(distribution(self.deployment))
        ]
        return {**entries[0], "top_logprobs": entries[:k]}


@dataclass
class Served:
    """A provider behind the gateway."""

    spec: str
    url: str
    model: str
    client: httpx.AsyncClient
    engines: dict[str, FakeEngine]
    log: io.StringIO

    async def post(self, body: Mapping[str, Any], path: str = "chat/completions", **options: Any) -> httpx.Response:
        """Send a body; httpx' errors are raised."""
        return await self.client.post(f"{self.url}/v1/{path}", json={"model": self.model, **body}, **options)

    async def chat(self, prompt: str = "x", **fields: Any) -> dict[str, Any]:
        """The answer to a prompt, 20 log-probabilities at one position unless other fields are given."""
        body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1, "temperature": 0}
        response = await self.post(body | {"logprobs": True, "top_logprobs": 20} | fields)
        assert response.status_code == 200, response.text
        return json.loads(response.content)

    def truth(self) -> list[dict[str, Any]]:
        """The rows of the truth log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def deployments(self) -> list[str | None]:
        """Which deployments answered, in order."""
        return [row["deployment"] for row in self.truth()]

    @property
    def reached(self) -> dict[str, Any]:
        """The last body that the provider's own deployment was sent, without what is neutral."""
        asked = self.engines[self.spec.partition("?")[0]].asked[-1]
        return {name: value for name, value in asked.items() if (name, value) not in NEUTRAL.items()}


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """The URL of an application on a free port of this machine."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(
    spec: str,
    *,
    seed: int = 7,
    now: datetime | None = None,
    engines: Mapping[str, str] | None = None,
    model: str = MODEL,
) -> AsyncIterator[Served]:
    """A provider behind the gateway, before fake engines or those at the URLs given; `now` stops its clock."""
    parsed = parse_spec(spec, model)
    fakes = {} if engines else {name: FakeEngine(name) for name in parsed.deployments}
    log = io.StringIO()
    async with AsyncExitStack() as stack:
        urls = engines or {
            name: await stack.enter_async_context(listening(fake.application())) for name, fake in fakes.items()
        }
        gateway = Gateway(log, now=lambda: now or datetime.now(UTC))
        gateway.add(Upstream("p0", parsed.spec, model, urls, seed))
        url = await stack.enter_async_context(listening(gateway.application()))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, verify=False, timeout=30))
        yield Served(spec, f"{url}/p0", model, client, fakes, log)


def position(answer: dict[str, Any]) -> dict[str, Any]:
    """The first position of an answer."""
    return answer["choices"][0]["logprobs"]["content"][0]


def listed(answer: dict[str, Any]) -> list[float]:
    """The log-probabilities that are listed at the first position of an answer."""
    return [entry["logprob"] for entry in position(answer)["top_logprobs"]]
