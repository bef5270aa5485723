"""Ctrl-C and SIGTERM: both end a command cleanly, and say how to go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Interrupted", "listen_to_sigterm", "run_async"]

T = TypeVar("T")


class Interrupted(BaseException):
    """The user ended the command; the text says how to go on. Like KeyboardInterrupt, no `Exception`."""


def listen_to_sigterm() -> None:
    """From now on SIGTERM does what Ctrl-C does."""
    signal.signal(signal.SIGTERM, _like_ctrl_c)


def _like_ctrl_c(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # in the background of a script Ctrl-C is ignored, but a SIGTERM is meant
        raise KeyboardInterrupt


def run_async(job: Coroutine[Any, Any, T], how_to_go_on: str) -> T:
    """Run `job` to its end. Raises Interrupted, with `how_to_go_on`, once it has cleaned up after an interruption.

    While it runs SIGTERM cancels it between two of its steps, as `asyncio.run` has Ctrl-C do.
    """
    ended = False

    async def until_ended() -> T:
        task, loop = asyncio.ensure_future(job), asyncio.get_running_loop()

        def end() -> None:
            nonlocal ended
            ended = task.cancel() or ended

        loop.add_signal_handler(signal.SIGTERM, end)
        try:
            return await task
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            listen_to_sigterm()

    try:
        return asyncio.run(until_ended())
    except KeyboardInterrupt:
        raise Interrupted(how_to_go_on) from None
    except asyncio.CancelledError:
        if not ended:
            raise
        raise Interrupted(how_to_go_on) from None
