"""Ctrl-C, SIGTERM, and a terminal that is closed: each ends a command cleanly, and says how to go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Interrupted", "listen_to_signals", "run_async"]

ENDING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)

T = TypeVar("T")


class Interrupted(BaseException):
    """The user ended the command; the text says how to go on. Like KeyboardInterrupt, no `Exception`."""


def listen_to_signals() -> None:
    """From now on SIGTERM does what Ctrl-C does, and SIGHUP, unless it is ignored, as under nohup."""
    _handle(_like_ctrl_c)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for sign in ENDING:
        if signal.getsignal(sign) is not signal.SIG_IGN:
            signal.signal(sign, handler)


def _like_ctrl_c(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # in the background of a script Ctrl-C is ignored, but these are meant
        raise KeyboardInterrupt


def run_async(job: Coroutine[Any, Any, T], how_to_go_on: str) -> T:
    """Run `job` to its end. Raises Interrupted, with `how_to_go_on`, once it has cleaned up after an interruption.

    As `asyncio.run` has Ctrl-C do, the other signals cancel it between two of its steps, and end it at once the second
    time.
    """
    told = 0

    async def until_ended() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()

        def end(_: int, __: FrameType | None) -> None:
            nonlocal told
            told += 1
            if told > 1 or task is None:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(task.cancel)

        _handle(end)
        try:
            return await job
        finally:
            listen_to_signals()

    try:
        return asyncio.run(until_ended())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted(how_to_go_on) from None
