"""Time that passes at once: an event loop whose clock jumps to the next timer, so that nothing really waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine


class _NoWaiting(selectors.SelectSelector):
    waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        self.waited += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.waited


def in_virtual_time(main: Coroutine[object, object, None]) -> float:
    """Run `main`, check that it leaves no task behind, and tell how long it would have taken."""

    async def checked() -> float:
        try:
            await main
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(checked())
