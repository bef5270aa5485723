"""One provider over HTTP: exchanges that are bounded in time and size, retried with manners, and keep the key."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self, TypeVar

import httpx
import numpy as np

from qcheck import __version__
from qcheck.cancellation import nothing_sent
from qcheck.client.dialect import (
    DialectError,
    build_body,
    error_message,
    holds_refused_call,
    parse_model_ids,
    parse_response,
    path_of,
)
from qcheck.client.limits import Limiter
from qcheck.client.redact import KeyFilter
from qcheck.client.retry import TOO_MANY, Fate, backoff_s, fate_of_status, jittered, retry_after_s
from qcheck.errors import ConfigurationError
from qcheck.records import Attempt, Request, Response
from qcheck.registry.address import check_base_url, is_loopback
from qcheck.registry.types import Endpoint

__all__ = ["Client"]

T = TypeVar("T")

_MAX_ERROR = 300  # characters
_CONNECT_TRIES = 2  # an address that never took a connection is dead; two tries, for a server that is just starting
_CONNECT_WAIT_S = 0.5
# Chance that a connection ends after an exchange: where upstreams are drawn once for each connection, few drawings
# would otherwise decide what is seen. A handshake to every tenth request is what that costs.
_RENEWED = 0.1
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd"})


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and what came of it: `body` of a success, or `error` and what follows from it.

    too_many: whether it asks for fewer requests, by its status or by an error in an HTTP 200.
    """

    started: str
    elapsed_s: float
    status: int | None = None
    body: bytes = b""
    error: str | None = None
    fate: Fate = Fate.RETRY
    retry_after_s: float | None = None
    too_many: bool = False
    unreachable: bool = False


class _TooLargeError(Exception):
    """A body beyond what is accepted."""


def _tls_context(base_url: str) -> ssl.SSLContext:
    """One for all connections: reading the trusted authorities takes time, and none are needed for plain http."""
    return httpx.create_ssl_context() if base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_compressed(headers: httpx.Headers) -> bool:
    """Whether any coding of a body changes it; some servers name a charset there."""
    codings = headers.get("content-encoding", "").lower().split(",")
    return any(coding.strip() in _COMPRESSED for coding in codings)


def _elsewhere(response: httpx.Response) -> str:
    """Where a redirect leads, which is not followed: without what may hold a secret. httpx has parsed the address."""
    place = httpx.URL(response.headers["location"]).copy_with(query=None, fragment=None, userinfo=b"")
    return f"it redirects to {place}, and the key goes nowhere but to the address that was given"


async def _told(
    tries: AsyncIterator[tuple[_Exchange, Response | None, bool]], provider: str, seq: int, name: str
) -> AsyncIterator[Attempt]:
    """The exchanges of one request as attempts at it."""
    index = 0
    async for exchange, response, last in tries:
        yield Attempt(
            provider=provider,
            seq=seq,
            probe_id=name,
            index=index,
            started=exchange.started,
            elapsed_s=exchange.elapsed_s,
            outcome="answered" if response is not None else "failed" if last else "retried",
            http_status=exchange.status,
            error=exchange.error,
            fatal=exchange.fate is Fate.FATAL,
            sent=not exchange.unreachable,
            response=response,
        )
        index += 1


def _id_in(attempt: Attempt) -> str | None:
    return attempt.response.reported_model if attempt.response else None


class Client:
    """Asks one endpoint; an async context manager. Safe to share between tasks.

    Parameters: `key` goes into the Authorization header and nowhere else. `timeout_s` bounds a whole exchange, from
    connecting to the last byte. `max_attempts` exchanges a request. `max_body_bytes` of a response are read.
    `concurrency` exchanges at a time, or fewer as `limiter` wants, which the clients of one account share; those that
    wait do not use up their time. `sleep` takes seconds; `rng` jitters the waiting and ends connections. `look` is
    given each body that was read as an answer, for who needs more of it than a `Response` keeps. `nameless`: why the
    endpoint's model cannot be named, where that is known: then nothing is asked of it, nor for a model again.
    `answered`: whether the endpoint has answered another client.

    Raises ConfigurationError for an address that may not be sent to, and for a proxy that cannot be used. What the
    provider does wrong is never raised.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        max_attempts: int = 4,
        max_body_bytes: int = 8_000_000,
        concurrency: int = 8,
        limiter: Limiter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: np.random.Generator | None = None,
        look: Callable[[bytes], None] = lambda _: None,
        nameless: str | None = None,
        answered: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._base_url = check_base_url(endpoint.base_url, endpoint.name, allow_http=endpoint.allow_http)
        self._filter = KeyFilter(key)
        self._timeout_s = timeout_s
        self._max_attempts = max_attempts
        self._max_body_bytes = max_body_bytes
        self._sleep = sleep
        self._look = look
        self._rng = np.random.default_rng() if rng is None else rng
        self._limiter = Limiter() if limiter is None else limiter
        self._limiter.widen(concurrency)
        self._model_lock = asyncio.Lock()
        self._model: tuple[str | None, str] | None = None
        if endpoint.model_id or nameless:
            self._model = endpoint.model_id, nameless or ""
        self._connected = False
        self._answered = answered
        self._headers = {
            "User-Agent": f"qcheck/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        try:
            self._tls = _tls_context(self._base_url)
            self._idle = [self._new_connection()]
        except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
            # The error's own text is not repeated: a proxy's URL may hold a password.
            raise ConfigurationError(
                f"{endpoint.name} cannot be reached as the environment wants it ({type(error).__name__}): check the "
                "variables ALL_PROXY, HTTPS_PROXY, HTTP_PROXY and SSL_CERT_FILE; a proxy is given as http://host:port."
            ) from None

    def _new_connection(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers,
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            follow_redirects=False,
            # Cookies make routing sticky, and requests that are not independent.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            trust_env=not is_loopback(self._base_url),
            verify=self._tls,
        )

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """A connection for one exchange; one that was interrupted is not used again, nor is another one now and then.

        Each has an httpx client of its own: the pool of a common one looks at all of its connections several times a
        request, which with 64 of them takes longer than all the rest.
        """
        connection = self._idle.pop() if self._idle else self._new_connection()
        try:
            yield connection
        except BaseException:
            await connection.aclose()
            raise
        if self._rng.random() < _RENEWED:
            with contextlib.suppress(Exception):  # what was answered is at hand
                await connection.aclose()
        else:
            self._idle.append(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(connection.aclose() for connection in self._idle))

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncGenerator[Attempt, None]:
        """Every attempt at `request`, as soon as it ends; the last one is settled (answered or failed).

        Where it is cancelled, `may_have_been_sent` tells whether any of it was under way.
        """
        with nothing_sent():
            model_id, reason = await self.model_id()
        if model_id is None:
            started = datetime.now(UTC).isoformat(timespec="milliseconds")
            yield Attempt(
                provider, seq, request.probe_id, 0, started, 0.0, "failed", error=reason, fatal=True, sent=False
            )
            return
        body = build_body(self._endpoint, model_id, request)
        tries = self._tries("POST", path_of(body), body, partial(self._read_answer, request))
        async for attempt in _told(tries, provider, seq, request.probe_id):
            yield attempt

    async def model_id(self) -> tuple[str | None, str]:
        """The model's id here and "", or None and the reason why there is none.

        Asks `/models` where the endpoint does not know it, once.
        """
        async with self._model_lock:
            if self._model is None:
                async for attempt in self.ask_models("", 0, ""):
                    self._model = (_id_in(attempt), attempt.error or "")
            return self._model or (None, "")

    async def ask_models(self, provider: str, seq: int, name: str) -> AsyncGenerator[Attempt, None]:
        """Every attempt at `/models`, as `ask` gives those at a request called `name`.

        Exactly one model must be listed; the answer carries its id as the `reported_model`, and no tokens.
        """
        async for attempt in _told(self._tries("GET", "/models", None, self._read_model), provider, seq, name):
            yield attempt if attempt.error is None else replace(attempt, error=f"asking /models: {attempt.error}")

    def _read_model(self, body: bytes) -> Response:
        ids = parse_model_ids(body)
        if len(ids) != 1 or self._filter.found_in(ids[0]):
            listed = f" ({', '.join(ids[:8])})" if ids else ""
            words = f"{len(ids)} models are listed{listed}: say which with model_id in qcheck.toml"
            raise DialectError("error", words, httpx.codes.UNPROCESSABLE_ENTITY)
        return Response("", (), 0, 0, None, None, reported_model=ids[0], fingerprint=None)

    def _read_answer(self, request: Request, body: bytes) -> Response:
        response = parse_response(body, self._endpoint, request)
        tokens = (key for p in response.positions for key in (p.token, *(k for k, _ in p.top)))
        labels = (response.finish_reason, response.reported_model, response.fingerprint, response.upstream)
        calls = (text for call in response.tool_calls for text in (call.name, call.arguments))
        texts = (response.text, response.reasoning or "", *filter(None, labels), *tokens, *calls)
        if self._filter.found_in("\n".join(texts)):
            raise DialectError("malformed", "the answer repeats the key, and is not kept")
        self._answered = True
        self._look(body)
        return response

    async def _tries(
        self, method: str, path: str, json: dict[str, Any] | None, read: Callable[[bytes], T]
    ) -> AsyncIterator[tuple[_Exchange, T | None, bool]]:
        """Exchanges until one can be read or another is of no use: (exchange, what was read, is it the last)."""
        refusals = 0
        for index in range(self._max_attempts):
            value, exchange = await self._exchange(method, path, json, read)
            refusals += exchange.unreachable
            if refusals >= _CONNECT_TRIES and not self._connected:
                exchange = replace(exchange, fate=Fate.FATAL)
            last = value is not None or exchange.fate is not Fate.RETRY or index == self._max_attempts - 1
            yield exchange, value, last
            if last:
                return
            dead = exchange.unreachable and not self._connected
            wait_s = _CONNECT_WAIT_S if dead else backoff_s(index, exchange.retry_after_s, self._rng)
            with nothing_sent():
                await self._sleep(wait_s)

    def _read(self, exchange: _Exchange, read: Callable[[bytes], T]) -> tuple[T | None, _Exchange]:
        """What a whole body says, or None and the exchange as one that failed."""
        if exchange.error is not None:
            return None, exchange
        try:
            return read(exchange.body), exchange
        except DialectError as error:
            message = str(error)
            asked_s = retry_after_s(error.headers, datetime.now(UTC))
            return None, replace(
                exchange,
                error=self._filter.clean(message, _MAX_ERROR),
                fate=Fate.RETRY if error.status is None else self._fate(error.status, message),
                retry_after_s=exchange.retry_after_s if asked_s is None else asked_s,
                too_many=error.status in TOO_MANY,
            )

    async def _exchange(
        self, method: str, path: str, json: dict[str, Any] | None, read: Callable[[bytes], T]
    ) -> tuple[T | None, _Exchange]:
        """One exchange over the wire, and what was read; whatever happens, it is told as data."""
        async with contextlib.AsyncExitStack() as stack:
            with nothing_sent():
                ticket = await stack.enter_async_context(self._limiter.slot())
                if pause_s := self._limiter.pause_s:
                    await self._sleep(jittered(pause_s, self._rng))
            value, done = self._read(await self._timed(method, path, json), read)
            if done.too_many:
                self._limiter.slow_down(ticket, done.retry_after_s or 0.0)
            elif done.error is None:
                self._limiter.answered()
            return value, done

    async def _timed(self, method: str, path: str, json: dict[str, Any] | None) -> _Exchange:
        done = _Exchange(datetime.now(UTC).isoformat(timespec="milliseconds"), 0.0)
        clock = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                done = await self._send(done, method, path, json)
        except (TimeoutError, httpx.TimeoutException):
            done = replace(done, error=f"no complete answer within {self._timeout_s:g} s")
        except httpx.ConnectError as error:
            words = self._filter.clean(f"cannot connect: {error}", _MAX_ERROR)
            done = replace(done, error=words, unreachable=True)
        except httpx.TransportError as error:
            words = self._filter.clean(f"the connection broke: {error}", _MAX_ERROR)
            done = replace(done, error=words)
        except (OSError, httpx.StreamError) as error:  # TLS alerts and broken records, which httpx passes on
            done = replace(done, error=f"the connection broke: {type(error).__name__}")
        except _TooLargeError:
            done = replace(done, error=f"the body is larger than {self._max_body_bytes} bytes", fate=Fate.REFUSED)
        return replace(done, elapsed_s=round(time.monotonic() - clock, 3))

    async def _send(self, exchange: _Exchange, method: str, path: str, json: dict[str, Any] | None) -> _Exchange:
        async with self._connection() as http, http.stream(method, self._base_url + path, json=json) as response:
            self._connected = True
            status = response.status_code
            body = await self._body(response)
        exchange = replace(exchange, status=status, retry_after_s=retry_after_s(response.headers, datetime.now(UTC)))
        if response.is_success and _is_compressed(response.headers):
            return replace(exchange, error="the body is compressed, which was not asked for")
        if response.is_success and not body.strip():
            return replace(exchange, error=f"HTTP {status} without a body")
        if response.is_success:
            return replace(exchange, body=body)
        if status == httpx.codes.BAD_REQUEST and json and "tools" in json and holds_refused_call(body):
            return replace(exchange, body=body)
        message = _elsewhere(response) if response.has_redirect_location else error_message(body)
        return replace(
            exchange,
            error=self._filter.clean(f"HTTP {status}: {message}" if message else f"HTTP {status}", _MAX_ERROR),
            fate=self._fate(status, message),
            too_many=status in TOO_MANY,
        )

    def _fate(self, status: int, message: str) -> Fate:
        return fate_of_status(status, message, answered=self._answered)

    async def _body(self, response: httpx.Response) -> bytes:
        """The body as it came over the wire (uncompressed by us, so that it cannot grow), bounded."""
        parts: list[bytes] = []
        size = 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > self._max_body_bytes:
                raise _TooLargeError
            parts.append(part)
        return b"".join(parts)
