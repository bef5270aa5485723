"""What became of a request that was cancelled: whether any of it was under way, and may have to be paid for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

__all__ = ["may_have_been_sent", "nothing_sent"]

NOTHING_SENT = "nothing was under way"


@contextlib.contextmanager
def nothing_sent() -> Iterator[None]:
    """While this lasts nothing of a request is under way, and so it costs nothing if it is cancelled."""
    try:
        yield
    except asyncio.CancelledError as error:
        error.add_note(NOTHING_SENT)  # of no class of its own: Python 3.11's timeouts would not know it
        raise


def may_have_been_sent(error: asyncio.CancelledError) -> bool:
    """Whether a request may have been under way when it was cancelled."""
    return NOTHING_SENT not in getattr(error, "__notes__", ())
