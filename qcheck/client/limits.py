"""How many exchanges at a time an account bears: additive increase, multiplicative decrease.

D.-M. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in computer
networks", Computer Networks and ISDN Systems 17 (1989): of all linear rules this one shares fairly and efficiently.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

__all__ = ["Limiter", "Limiters"]


class Limiter:
    """The slots of one account, for all clients that use it; each brings its own along (`widen`).

    An exchange that is told to slow down halves the slots, once for all exchanges that were under way together. Each
    answer brings back the n-th part of a slot where there are n, so that a round of answers brings back one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = asyncio.Semaphore(0)
        self._slots = 0  # free or taken
        self._most = self._wanted = 0.0
        self._halvings = 0
        self._resume_at = -float("inf")

    def widen(self, slots: int) -> None:
        """Add `slots`, as many as one more client may use."""
        self._most += slots
        self._wanted += slots
        self._grow()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """A slot for one exchange, as soon as there is one; gives the ticket that `slow_down` wants."""
        await self._free.acquire()
        try:
            yield self._halvings
        finally:
            if self._slots > self._wanted:
                self._slots -= 1
            else:
                self._free.release()

    @property
    def slots(self) -> int:
        """How many exchanges may be under way, once those that were let in before a halving have ended."""
        return int(self._wanted)

    @property
    def pause_s(self) -> float:
        """Seconds for which the account has been asked to send nothing, 0 if it has not."""
        return max(0.0, self._resume_at - self._clock())

    def answered(self) -> None:
        """An exchange was answered."""
        self._wanted = min(self._most, self._wanted + 1 / self._wanted)
        self._grow()

    def slow_down(self, ticket: int, pause_s: float) -> None:
        """An exchange was told that there are too many, and to send nothing for `pause_s`."""
        self._resume_at = max(self._resume_at, self._clock() + pause_s)
        if ticket == self._halvings:
            self._halvings += 1
            self._wanted = max(1.0, self._wanted / 2)

    def _grow(self) -> None:
        while self._slots + 1 <= self._wanted:
            self._slots += 1
            self._free.release()


class Limiters:
    """The limiters of one run, by account: a host and a key; without a key every base URL is one."""

    def __init__(self) -> None:
        self._limiters: defaultdict[tuple[str, str | None], Limiter] = defaultdict(Limiter)

    def of(self, base_url: str, key: str | None) -> Limiter:
        """The limiter of the account that `key` opens at `base_url`."""
        return self._limiters[urlsplit(base_url).netloc.lower() if key else base_url, key]
