from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

pytest.importorskip("torch")

from qcheck.lab.torch_engine.batching import WINDOW_S, Batcher
from qcheck.lab.torch_engine.generation import Answer, Position, Prompt


class Echo:
    """Answers each prompt with its own first token, and notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[Answer]:
        self.batches.append([p.ids[0] for p in prompts])
        if 13 in self.batches[-1]:
            raise ValueError("13")
        return [Answer((Position(p.ids[0], 0.0, ()),), "length") for p in prompts]


async def answers(echo: Echo, size: int, firsts: Sequence[int]) -> list[int | BaseException]:
    batcher = Batcher(echo, size)
    task = asyncio.create_task(batcher.run())
    got = await asyncio.gather(*(batcher.answer(Prompt((i,), 1)) for i in firsts), return_exceptions=True)
    task.cancel()
    return [a if isinstance(a, BaseException) else a.positions[0].token for a in got]


@pytest.mark.parametrize(
    ("size", "batches"), [(1, [[0], [1], [2], [3], [4]]), (3, [[0, 1, 2], [3, 4]]), (8, [[0, 1, 2, 3, 4]])]
)
async def test_what_arrives_together_is_computed_together(size: int, batches: list[list[int]]):
    echo = Echo()
    assert await answers(echo, size, range(5)) == list(range(5))
    assert echo.batches == batches


async def test_clients_that_leave_do_not_end_the_work():
    batcher = Batcher(Echo(), 2)
    worker = asyncio.create_task(batcher.run())
    for first in (1, 13):  # an answer and a failure to nobody
        waiting = asyncio.create_task(batcher.answer(Prompt((first,), 1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(2 * WINDOW_S)
    assert (await asyncio.wait_for(batcher.answer(Prompt((3,), 1)), 5)).positions[0].token == 3
    worker.cancel()


async def test_a_failure_reaches_those_whose_batch_it_was_and_no_others():
    got = await answers(Echo(), 2, [1, 2, 13, 4, 5, 6])
    assert got[:2] + got[4:] == [1, 2, 5, 6]
    assert all(isinstance(error, ValueError) for error in got[2:4])
