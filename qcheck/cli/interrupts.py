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
    """Run `job` to its end. Raises Interrupted, with `how_to_go_on`, once it has cleaned up after an interruption."""
    try:
        return asyncio.run(job)
    except KeyboardInterrupt:
        raise Interrupted(how_to_go_on) from None
