"""How a reply reaches the client: whole, or spoilt in the ways of real networks."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from aiohttp import web

from qcheck.jsonio import canonical
from qcheck.lab.traits.trait import Reply, Wire

__all__ = ["deliver"]

KEEP_ALIVES: Final = 5
PIECES: Final = 20
PAUSE_S: Final = 0.05
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER, on, for no time


async def deliver(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send `reply` as the answer to `request`; returns what aiohttp's handlers return."""
    data = reply.body if isinstance(reply.body, bytes) else canonical(reply.body)
    headers = {"Content-Type": "application/json", **reply.headers}
    if reply.status is None:
        return await _stall(request)
    if reply.wire not in _WAYS:
        return web.Response(body=data, status=reply.status, headers=headers)
    return await _WAYS[reply.wire](request, web.StreamResponse(status=reply.status, headers=headers), data)


async def _stall(request: web.Request) -> web.StreamResponse:
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(PAUSE_S)
    return web.Response()  # to nobody


async def _send_half(request: web.Request, response: web.StreamResponse, data: bytes) -> asyncio.Transport:
    """Send half of a body as if all were to follow; returns the connection, to be broken."""
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    assert request.transport is not None
    return request.transport


async def _truncate(request: web.Request, response: web.StreamResponse, data: bytes) -> web.StreamResponse:
    (await _send_half(request, response, data)).close()
    return response


async def _reset(request: web.Request, response: web.StreamResponse, data: bytes) -> web.StreamResponse:
    transport = await _send_half(request, response, data)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    return response


async def _keep_alive(request: web.Request, response: web.StreamResponse, data: bytes) -> web.StreamResponse:
    return await _send_slowly(request, response, [b" \n"] * KEEP_ALIVES + [data])


async def _drip(request: web.Request, response: web.StreamResponse, data: bytes) -> web.StreamResponse:
    size = -(-len(data) // PIECES)
    return await _send_slowly(request, response, [data[i : i + size] for i in range(0, len(data), size)])


async def _send_slowly(request: web.Request, response: web.StreamResponse, pieces: list[bytes]) -> web.StreamResponse:
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(PAUSE_S)
    return response


_WAYS: Final[
    Mapping[Wire, Callable[[web.Request, web.StreamResponse, bytes], Coroutine[Any, Any, web.StreamResponse]]]
] = {"truncated": _truncate, "reset": _reset, "keepalive": _keep_alive, "drip": _drip}
