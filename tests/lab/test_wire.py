from __future__ import annotations

import asyncio
import json
import re

import httpx
import pytest
from fake_engine import serving


async def raw(url: str) -> tuple[bytes, Exception | None]:
    """All bytes that answer a chat, until the end of the connection or what breaks it."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    body = b'{"model": "lab-tiny", "messages": [], "logprobs": true, "top_logprobs": 9}'
    head = f"POST {address.path}/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    data = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), 20):
            data += chunk
    except ConnectionResetError as error:
        return data, error
    finally:
        writer.close()
    return data, None


@pytest.mark.parametrize("kind", ["truncated", "reset"])
async def test_a_body_that_breaks_off(kind: str):
    async with serving(f"honest?fail={kind}:1") as provider:
        data, error = await raw(provider.url)
        head, _, body = data.partition(b"\r\n\r\n")
        assert isinstance(error, ConnectionResetError if kind == "reset" else type(None))
        if kind == "truncated":  # a reset may overtake what was sent before it
            promised = re.search(rb"Content-Length: (\d+)", head)
            assert promised is not None
            assert 0 < len(body) == int(promised[1]) // 2
        row = provider.truth()[0]
        assert (row["status"], row["deployment"], row["traits"]) == (200, None, ["fail"])
        assert (row["wire"], row["failure"]) == (kind, kind)


def chunks(data: bytes) -> list[bytes]:
    """The chunks of a chunked body, without the empty one that ends it."""
    found = []
    while data:
        size, _, data = data.partition(b"\r\n")
        found.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    assert found.pop() == b""
    return found


@pytest.mark.parametrize(("kind", "pieces"), [("keepalive", 6), ("drip", 20)])
async def test_a_body_in_pieces(kind: str, pieces: int):
    async with serving(f"honest?fail={kind}:1") as provider:
        data, error = await raw(provider.url)
        head, _, chunked = data.partition(b"\r\n\r\n")
        assert error is None
        assert b"Transfer-Encoding: chunked" in head
        sent = chunks(chunked)
        assert len(sent) == pieces
        body = b"".join(sent)
        assert json.loads(body)["choices"]
        assert body.startswith(b" \n" * 5 if kind == "keepalive" else b"{")
        row = provider.truth()[0]
        assert (row["deployment"], row["wire"], row["failure"]) == ("honest", kind, kind)


async def test_a_stall_sends_nothing():
    async with serving("honest?fail=stall:1") as provider:
        waiting = asyncio.create_task(provider.post({"messages": []}))
        while not provider.truth():
            await asyncio.sleep(0.01)
        row = provider.truth()[0]
        assert (row["status"], row["deployment"], row["traits"]) == (None, None, ["fail"])
        assert (row["wire"], row["failure"]) == ("stall", "stall")
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
