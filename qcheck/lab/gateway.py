"""The lab's front door in a process of its own: `python -m qcheck.lab.gateway`.

Every provider of the lab is a path of one HTTP server: its engines with its traits around them. Answers carry nothing
that tells which engine answered; who really did goes to the truth log alone. What `cache`, `burst` and the draws have
to remember is kept as long as the gateway runs, which is meant to be for one comparison or benchmark.

Standard input, JSON lines: first a `GatewayStart`, answered with `{"url": …}`; then one `Upstream` a line, each
answered with `{"path": …}`. The end of standard input ends the server.

What is random about a request depends on the seed, the provider's spec, the body and how often the provider saw that
body before: not on the order of arrival, and not on what was asked before a restart. The traits `from` and `burst`,
whose nature is order, and `sticky=connection` count anew in each process.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO
from weakref import WeakKeyDictionary

import aiohttp
import numpy as np
from aiohttp import web

from qcheck.jsonio import canonical, content_hash, loads
from qcheck.lab.dialect import SAYS, engine_body, engine_error, published, refusal
from qcheck.lab.messages import GatewayStart, Upstream
from qcheck.lab.process import live_with_parent, reply
from qcheck.lab.spec import parse_spec
from qcheck.lab.traits import TRAITS, compose, make_trait
from qcheck.lab.traits.trait import Endpoint, Exchange, Reply, error_body
from qcheck.lab.wire import deliver

__all__ = ["Gateway", "main"]

HOST: Final = "127.0.0.1"
MAX_REQUEST_BYTES: Final = 1 << 20
ENGINE_TIMEOUT_S: Final = 120.0
SHUTDOWN_S: Final = 1.0

_NO_ENGINE: Final = "an engine of the lab does not answer"


def _now() -> datetime:
    return datetime.now(UTC)


class _Provider:
    """One provider: its traits around its engines, and what it has seen."""

    def __init__(self, upstream: Upstream, ask: Callable[[Exchange, Upstream], Awaitable[Reply]]) -> None:
        self.upstream = upstream
        self.spec = parse_spec(upstream.provider, upstream.model_id)
        traits = [make_trait(name, value) for name, value in self.spec.traits]
        self.answer = compose(traits, lambda exchange: ask(exchange, upstream))
        self._seen: Counter[str] = Counter()
        self._requests = 0

    def exchange(
        self, endpoint: Endpoint, body: Mapping[str, Any], key: str, connection: int, time: datetime
    ) -> Exchange:
        """The next request, as its traits get it."""
        request = content_hash(body)
        self._requests += 1
        self._seen[request] += 1
        return Exchange(
            endpoint=endpoint,
            asked=body,
            body=body,
            request=request,
            occurrence=self._seen[request],
            ordinal=self._requests,
            key=key,
            connection=connection,
            time=time,
            deployment=self.spec.deployment,
            base=self.spec.base,
            stream=self._stream,
        )

    def _stream(self, *words: str) -> np.random.Generator:
        seed = hashlib.sha256(canonical([self.upstream.seed, self.spec.spec, *words])).digest()
        return np.random.default_rng(int.from_bytes(seed))


class Gateway:
    """The HTTP handlers and their table of providers. `now` tells the time in UTC."""

    def __init__(self, truth_log: TextIO, now: Callable[[], datetime] = _now) -> None:
        self._truth_log = truth_log
        self._now = now
        self._providers: dict[str, _Provider] = {}
        self._connections: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        self._connected = 0
        self._session: aiohttp.ClientSession | None = None

    def add(self, upstream: Upstream) -> None:
        """Serve one more provider. Raises UsageError for a spec that is none."""
        self._providers[upstream.path] = _Provider(upstream, self._ask_engine)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        for endpoint in SAYS:
            app.router.add_post(f"/{{path}}/v1/{endpoint}", self._for_provider(self._completions(endpoint)))
        app.router.add_get("/{path}/v1/models", self._for_provider(self._models))
        app.router.add_get("/{path}/health", self._for_provider(self._health))
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
        self, handler: Callable[[web.Request, _Provider], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            provider = self._providers.get(request.match_info["path"])
            if provider is None:
                return web.json_response(error_body(404, "no such provider in this lab"), status=404)
            return await handler(request, provider)

        return handle

    async def _models(self, _: web.Request, provider: _Provider) -> web.Response:
        model = {"id": provider.upstream.model_id, "object": "model", "created": 0, "owned_by": "lab"}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, _: web.Request, provider: _Provider) -> web.Response:
        for url in provider.upstream.engines.values():
            status, _answer = await self._ask("GET", f"{url}/health")
            if status != 200:
                return web.json_response(error_body(502, _NO_ENGINE), status=502)
        return web.json_response({"status": "ok"})

    def _completions(self, endpoint: Endpoint) -> Callable[[web.Request, _Provider], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request, provider: _Provider) -> web.StreamResponse:
            time = self._now()
            asked, reply = await self._answered(endpoint, request, provider, time)
            self._log(time, provider.upstream.provider, asked, reply)
            return await deliver(request, reply)

        return handle

    async def _answered(
        self, endpoint: Endpoint, request: web.Request, provider: _Provider, time: datetime
    ) -> tuple[str | None, Reply]:
        """The hash of what was asked, None where it is too long to be read, and the reply to it."""
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return None, Reply(413, error_body(413, f"the body is larger than {MAX_REQUEST_BYTES} bytes"))
        try:
            body = loads(raw)
        except ValueError:
            return content_hash(raw), Reply(400, error_body(400, "the body is not JSON"))
        asked = content_hash(body)
        if refused := refusal(endpoint, body, provider.upstream.model_id):
            return asked, refused
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            return asked, await provider.answer(provider.exchange(endpoint, body, key, self._connection(request), time))
        except Exception:  # a defect of the lab: the client and the truth log are told all the same
            traceback.print_exc()
            return asked, Reply(500, error_body(500, "the lab had an error while processing the request"))

    def _connection(self, request: web.Request) -> int:
        """A number of the connection that `request` came over, counted from 1."""
        if request.transport is None:
            return 0
        if request.transport not in self._connections:
            self._connected += 1
            self._connections[request.transport] = self._connected
        return self._connections[request.transport]

    async def _ask_engine(self, exchange: Exchange, upstream: Upstream) -> Reply:
        url = f"{upstream.engines[exchange.deployment]}/v1/{exchange.endpoint}"
        status, answer = await self._ask("POST", url, engine_body(exchange))
        if status is None:
            return Reply(502, error_body(502, _NO_ENGINE))
        return published(answer, exchange, upstream.model_id) if status == 200 else engine_error(status)

    async def _ask(self, method: str, url: str, body: Any = None) -> tuple[int | None, Any]:
        """The status and body of an engine's answer; (None, None) where none comes."""
        assert self._session is not None
        try:
            async with self._session.request(method, url, json=body) as response:
                return response.status, loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None, None

    def _log(self, time: datetime, provider: str, request: str | None, reply: Reply) -> None:
        row = {
            "time": time.isoformat(),
            "provider": provider,
            "deployment": reply.deployment,
            "request": request,
            "status": reply.status,
            "wire": reply.wire,
            "failure": reply.failure,
            "traits": [name for name in TRAITS if name in reply.traits],
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
            reply({"path": upstream.path})
        await runner.cleanup()


def main() -> None:
    """Serve until standard input ends."""
    live_with_parent()
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
