"""Requests per second of qcheck's client beside a bare httpx loop, against a fast server on this machine.

Three arms ask the same server the same question at the same concurrency, in turn and for several rounds, so that what
else the machine does falls on all of them: a bare loop of `httpx.AsyncClient.post`, which reads the body and looks at
nothing; the client, which bounds, retries, filters and parses; and a run, which journals and settles in plan order
besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from qcheck.client.dialect import build_body
from qcheck.client.transport import Client
from qcheck.records import Message, Request
from qcheck.registry.types import Endpoint
from qcheck.run.budget import Budget, Limits
from qcheck.run.execute import execute
from qcheck.run.journal import Journal
from qcheck.run.plan import PlanItem

CONCURRENCY = 64
REQUESTS = 320  # in each arm of a round
ROUNDS = 7
TOKENS, TOP = 4, 20  # of an answer, as the suite `logprobs` asks for
REQUEST = Request("p", (Message("user", "Go on: the quick brown fox jumps over the lazy"),), 4, 0.0, TOP)
NAME, KEY = "local", "sk-0123456789abcdef"
BARE = "bare httpx"
ASKED = 0.8

Arm = Callable[[str], Awaitable[None]]


def _answer() -> bytes:
    """An answer as llama.cpp and vLLM give it: every token with its bytes and its alternatives."""

    def token(text: str, logprob: float) -> dict[str, object]:
        return {"token": text, "bytes": list(text.encode()), "logprob": logprob}

    top = [token(f" word{i}", -0.125 - 0.37 * i) for i in range(TOP)]
    content = [top[0] | {"top_logprobs": top} for _ in range(TOKENS)]
    message = {"role": "assistant", "content": " word0" * TOKENS}
    choice = {"index": 0, "message": message, "finish_reason": "length", "logprobs": {"content": content}}
    body = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 19, "completion_tokens": TOKENS}}
    return json.dumps(body).encode()


class _Server(asyncio.Protocol):
    """Answers each request at once with the same bytes; a request ends where its body's last brace has come."""

    reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(self.reply)


def _serve(pipe: Connection) -> None:
    async def forever() -> None:
        body = _answer()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        _Server.reply = head.encode() + body
        server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """The URL of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{mine.recv()}/v1"
    finally:
        process.terminate()
        process.join()


def _endpoint(url: str) -> Endpoint:
    return Endpoint(NAME, url, url, "m", None)


async def _at_once(ask: Callable[[], Awaitable[None]]) -> None:
    """`REQUESTS` times `ask`, `CONCURRENCY` at a time."""

    async def worker() -> None:
        for _ in range(REQUESTS // CONCURRENCY):
            await ask()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


async def _bare(url: str) -> None:
    body = build_body(_endpoint(url), "m", REQUEST)
    limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    async with httpx.AsyncClient(limits=limits, timeout=60.0, trust_env=False) as http:

        async def ask() -> None:
            response = await http.post(f"{url}/chat/completions", json=body)
            assert response.status_code == httpx.codes.OK

        await _at_once(ask)


async def _client(url: str) -> None:
    async with Client(_endpoint(url), KEY, concurrency=CONCURRENCY) as client:

        async def ask() -> None:
            async for attempt in client.ask(REQUEST, NAME, 0):
                assert attempt.outcome == "answered"

        await _at_once(ask)


async def _run(url: str) -> None:
    plan = [PlanItem(NAME, seq, "p") for seq in range(REQUESTS)]
    with tempfile.TemporaryDirectory() as folder, Journal.open(Path(folder) / "journal.jsonl") as journal:
        async with Client(_endpoint(url), KEY, concurrency=CONCURRENCY) as client:
            events = execute(
                plan,
                {NAME: client},
                lambda _: REQUEST,
                journal,
                answered={},
                budget=Budget(Limits(), {}),
                should_stop=lambda _: None,
                concurrency=CONCURRENCY,
                window=2 * CONCURRENCY,
            )
            async with contextlib.aclosing(events):
                async for _ in events:
                    pass


ARMS: dict[str, Arm] = {BARE: _bare, "client": _client, "run": _run}


@dataclass(frozen=True, slots=True)
class _Timing:
    """Requests per second of wall time, and seconds of this process's CPU time a request."""

    per_second: float
    cpu_s: float


def _timed(arm: Arm, url: str) -> _Timing:
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(arm(url))
    return _Timing(REQUESTS / (time.perf_counter() - wall), (time.process_time() - cpu) / REQUESTS)


def report() -> str:
    """A table of the arms, and how the client compares with the bare loop."""
    rounds: list[dict[str, _Timing]] = []
    with _server() as url:
        for arm in ARMS.values():
            asyncio.run(arm(url))
        for i in range(ROUNDS):
            order = list(ARMS)[:: 1 if i % 2 else -1]
            rounds.append({name: _timed(ARMS[name], url) for name in order})
    lines = ["| | requests/s | of the bare loop's | smallest and largest | CPU ms a request |", "|---|---|---|---|---|"]
    for name in ARMS:
        ratios = [timings[name].per_second / timings[BARE].per_second for timings in rounds]
        rate = statistics.median(timings[name].per_second for timings in rounds)
        cpu_ms = 1e3 * statistics.median(timings[name].cpu_s for timings in rounds)
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}"
        lines.append(f"| {name} | {rate:.0f} | {statistics.median(ratios):.2f} | {spread} | {cpu_ms:.2f} |")
    lines += [
        "",
        f"Medians over {ROUNDS} rounds of {REQUESTS} requests an arm, {CONCURRENCY} at a time, in alternating order; "
        f"answers of {len(_answer())} bytes ({TOKENS} positions, top {TOP}). Asked: the client at least {ASKED:g} of "
        "the bare loop's rate. It is faster because each of its connections has an httpx client of its own: httpx's "
        "common pool looks through all connections several times a request.",
    ]
    return "\n".join(lines)
