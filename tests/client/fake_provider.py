"""A provider on a real socket that replays scripted bytes, and notes what it was asked."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from qcheck.registry.types import Endpoint


def http(status, body, *headers):
    """A raw HTTP response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def answer(text="Yes"):
    """The smallest body that is an answer."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


@dataclass(frozen=True)
class Drip:
    """Sends `raw` byte by byte, `pause_s` apart."""

    raw: bytes
    pause_s: float


class Reset:
    """Resets the connection instead of answering."""


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeProvider:
    """Answers the n-th request with the n-th entry of `script`, and with the last one from then on."""

    url: str = ""
    script: list[bytes | Drip | Reset] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    busy: int = 0
    most_busy: int = 0

    def endpoint(self, **changes):
        """An endpoint at this provider."""
        fields = {"name": "fake", "display": self.url, "base_url": self.url, "model_id": "m", "key_env": None}
        return Endpoint(**(fields | changes))

    async def serve(self, reader, writer):
        """Serve one connection until the other side closes it."""
        self.connections += 1
        try:
            while head := await self._head(reader):
                await self._reply(head, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _head(self, reader):
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return None

    async def _reply(self, head, reader, writer):
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        self.asked.append(Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            await self._play(writer)
        finally:
            self.busy -= 1

    async def _play(self, writer):
        step = self.script[min(len(self.asked), len(self.script)) - 1]
        if isinstance(step, Reset):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError
        pause_s = step.pause_s if isinstance(step, Drip) else 0.0
        for part in (bytes([b]) for b in step.raw) if isinstance(step, Drip) else [step]:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if b"Connection: close" in (step.raw if isinstance(step, Drip) else step):
            raise ConnectionError


@asynccontextmanager
async def listening(*script) -> AsyncIterator[FakeProvider]:
    """A provider on a free port of this machine."""
    provider = FakeProvider(script=list(script))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield provider
    finally:
        server.close()
