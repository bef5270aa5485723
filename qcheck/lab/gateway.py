"""The lab's front door in a process of its own: `python -m qcheck.lab.gateway`.

Every provider of the lab is a path of one HTTP server. A provider's requests go to its engine, or by a seeded draw in
order of arrival to another; answers carry nothing that tells which. Who really answered goes to the truth log alone.

Standard input, JSON lines: first a `GatewayStart`, answered with `{"url": …}`; then one `Upstream` a line, each
answered with `{"provider": name}`. The end of standard input ends the server.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import aiohttp
import numpy as np
from aiohttp import web

from qcheck.jsonio import canonical, content_hash, loads
from qcheck.lab.catalog import MODEL_ID
from qcheck.lab.messages import GatewayStart, Upstream
from qcheck.lab.process import live_with_parent, reply

__all__ = ["Gateway", "main"]

HOST: Final = "127.0.0.1"
MAX_REQUEST_BYTES: Final = 1 << 20
ENGINE_TIMEOUT_S: Final = 120.0
SHUTDOWN_S: Final = 1.0
TELLTALES: Final = ("timings", "system_fingerprint")


@dataclass(frozen=True, slots=True)
class _Provider:
    """An upstream with its stream of draws."""

    upstream: Upstream
    rng: np.random.Generator

    def draw(self) -> tuple[str, str]:
        """The (deployment, URL) for the next request."""
        return self.upstream.engines[int(self.rng.random() < self.upstream.fraction)]


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": text}}, status=status)


class Gateway:
    """The HTTP handlers and their table of providers."""

    def __init__(self, truth_log: TextIO) -> None:
        self._truth_log = truth_log
        self._providers: dict[str, _Provider] = {}
        self._session: aiohttp.ClientSession | None = None

    def add(self, upstream: Upstream) -> None:
        """Serve one more provider."""
        rng = np.random.default_rng([upstream.seed, *upstream.provider.encode()])
        self._providers[upstream.provider] = _Provider(upstream, rng)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/{provider}/v1/chat/completions", self._for_provider(self._chat))
        app.router.add_get("/{provider}/v1/models", self._for_provider(self._models))
        app.router.add_get("/{provider}/health", self._for_provider(self._health))
        app.cleanup_ctx.append(self._client)
        return app

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        # A connection a request: llama.cpp's server drops idle ones without notice.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=ENGINE_TIMEOUT_S),
        ) as self._session:
            yield

    def _for_provider(
        self, handler: Callable[[web.Request, _Provider], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            provider = self._providers.get(request.match_info["provider"])
            return await handler(request, provider) if provider else _error(404, "no such provider in this lab")

        return handle

    async def _models(self, _: web.Request, __: _Provider) -> web.Response:
        model = {"id": MODEL_ID, "object": "model", "created": 0, "owned_by": "lab"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, _: web.Request, provider: _Provider) -> web.Response:
        for _name, url in provider.upstream.engines:
            status, _answer = await self._ask("GET", f"{url}/health")
            if status != 200:
                return _error(502, "an engine of the lab does not answer")
        return web.json_response({"status": "ok"})

    async def _chat(self, request: web.Request, provider: _Provider) -> web.Response:
        deployment, url = provider.draw()  # before the first await: in order of arrival
        try:
            body = loads(await request.read())
            messages, model = list(body["messages"]), body["model"]
        except (ValueError, TypeError, KeyError):
            return _error(400, "the body is not a JSON object with model and messages")
        if model != MODEL_ID:
            return _error(404, f"the model {model!r} does not exist; this lab serves {MODEL_ID}")
        if body.get("stream"):
            return _error(400, "this lab does not stream")
        if provider.upstream.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": provider.upstream.system_prompt})
        status, answer = await self._ask("POST", f"{url}/v1/chat/completions", body | {"messages": messages})
        self._log(provider.upstream.provider, deployment, content_hash(body), status)
        if status == 200:
            answer = {k: v for k, v in answer.items() if k not in TELLTALES} | {"model": MODEL_ID}
        return web.json_response(answer, status=status)

    async def _ask(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        assert self._session is not None
        try:
            async with self._session.request(method, url, json=body) as response:
                return response.status, loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 502, {"error": {"code": 502, "message": "an engine of the lab does not answer"}}

    def _log(self, provider: str, deployment: str, request: str, status: int) -> None:
        row = {
            "time": datetime.now(UTC).isoformat(),
            "provider": provider,
            "deployment": deployment,
            "request": request,
            "status": status,
        }
        self._truth_log.write(canonical(row).decode() + "\n")
        self._truth_log.flush()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve() -> None:
    control = await _standard_input()
    start = GatewayStart(**loads(await control.readline()))
    with Path(start.truth_log).open("a", encoding="utf-8") as truth_log:
        gateway = Gateway(truth_log)
        runner = web.AppRunner(gateway.application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        host, port = runner.addresses[0][:2]
        reply({"url": f"http://{host}:{port}"})
        while line := await control.readline():
            upstream = Upstream(**loads(line))
            gateway.add(upstream)
            reply({"provider": upstream.provider})
        await runner.cleanup()


def main() -> None:
    """Serve until standard input ends."""
    live_with_parent()
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
