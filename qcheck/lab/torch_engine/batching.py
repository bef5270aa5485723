"""Compute requests that arrive together in one batch, one batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from qcheck.lab.torch_engine.generation import Answer, Prompt

__all__ = ["Batcher"]

WINDOW_S: Final = 0.005


class Batcher:
    """Collects prompts and computes them in a thread of its own.

    compute: answers at most `size` prompts. A batch is begun when it is full, or when no prompt has come for 5 ms.
    """

    def __init__(self, compute: Callable[[Sequence[Prompt]], list[Answer]], size: int) -> None:
        self._compute = compute
        self._size = size
        self._waiting: asyncio.Queue[tuple[Prompt, asyncio.Future[Answer]]] = asyncio.Queue()

    async def answer(self, prompt: Prompt) -> Answer:
        """The answer, once its batch is computed. Raises what computing it raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((prompt, future))
        return await future

    async def run(self) -> None:
        """Compute batch after batch until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as thread:
            while True:
                prompts, futures = zip(*await self._batch(), strict=True)
                try:
                    answers = await loop.run_in_executor(thread, self._compute, prompts)
                    answered = list(zip(futures, answers, strict=True))
                except Exception as error:  # whatever it is, it belongs to those who wait
                    for future in filter(_is_awaited, futures):
                        future.set_exception(error)
                else:
                    for future, answer in answered:
                        if _is_awaited(future):
                            future.set_result(answer)

    async def _batch(self) -> list[tuple[Prompt, asyncio.Future[Answer]]]:
        batch = [await self._waiting.get()]
        while len(batch) < self._size:
            try:
                batch.append(await asyncio.wait_for(self._waiting.get(), WINDOW_S))
            except TimeoutError:
                break
        return batch


def _is_awaited(future: asyncio.Future[Answer]) -> bool:
    return not future.done()  # as it is where the client has left
