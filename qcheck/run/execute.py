"""The execution of a plan, as a stream of events.

Providers do not wait for each other. Answers come in any order and are journalled as they come, but are *settled* in
plan order: what a provider's evidence is folded from depends on its plan, never on which answer was fast. Folding
the unbroken head of a provider's journal again, and asking `should_stop` after each, therefore ends where the run did.

A provider ends in one of two ways. *Closed*, it is sent nothing more and what was sent is still settled (the plan is
used up, a limit is reached). *Stopped*, nothing more is settled (`should_stop` said so, or it is unavailable): what
is in flight gets a short grace and is journalled only.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from qcheck.records import Attempt, Request
from qcheck.run.budget import Budget
from qcheck.run.journal import Journal
from qcheck.run.lane import Lane, make_lanes
from qcheck.run.plan import PlanItem

__all__ = ["Asker", "Event", "Settled", "Stopped", "Tried", "execute", "given_up"]

GIVEN_UP = "given up before the answer came"


class Asker(Protocol):
    """Whatever can ask a provider: the client, or a test's imitation."""

    def ask(self, request: Request, provider: str, seq: int) -> AsyncGenerator[Attempt, None]:
        """Every attempt at `request` as it ends; the last one, and only that, is settled.

        The next one is not sent before it is asked for.
        """


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt has ended and is in the journal: progress, in order of arrival."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Settled:
    """The next request of its provider, in plan order, was answered or failed: evidence."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last event of a provider.

    `reason` is what `should_stop` returned, or "exhausted" (the plan is used up), "max_requests", "budget",
    "deadline", or "unavailable" (a fatal failure, or five failed requests in a row).
    """

    provider: str
    reason: str


Event = Tried | Settled | Stopped


def given_up(item: PlanItem, index: int, started: datetime) -> Attempt:
    """The attempt at a request whose answer is no longer waited for."""
    elapsed_s = round((datetime.now(UTC) - started).total_seconds(), 3)
    when = started.isoformat(timespec="milliseconds")
    return Attempt(item.provider, item.seq, item.probe_id, index, when, elapsed_s, "retried", error=GIVEN_UP)


async def execute(
    plan: Sequence[PlanItem],
    askers: Mapping[str, Asker],
    request_for: Callable[[PlanItem], Request],
    journal: Journal,
    *,
    answered: Mapping[tuple[str, int], Attempt],
    budget: Budget,
    should_stop: Callable[[str], str | None],
    concurrency: int = 4,
    window: int = 8,
    together: bool = False,
    grace_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Event, None]:
    """Ask what `plan` holds and yield what happens; use it within `contextlib.aclosing`.

    While the consumer handles an event nothing new is sent, and `should_stop(provider)` is asked after each of the
    provider's settled requests and before any new one is sent: None, or the reason to stop. At most `concurrency`
    requests of a provider are in flight, none further than `window` beyond its earliest unsettled one; `together` also
    holds it that close to the slowest provider, for evidence that needs everybody's answer to the same probe.

    `answered` are requests that an earlier process settled (`settled_requests` of the journal): they are settled in
    their turn, and neither asked nor journalled again. That holds for failed ones too, since evidence has been folded
    from them; a request that was only retried is asked again. The deadline counts from this call.

    Closing or cancelling cancels what is in flight and waits for it. An exception of an asker or of the journal
    (StorageError) does the same, and is raised.
    """
    if concurrency < 1 or window < 0:
        raise ValueError("concurrency is at least 1 and window at least 0")
    deadline_at = math.inf if budget.limits.deadline_s is None else clock() + budget.limits.deadline_s
    lanes = make_lanes(plan, answered, deadline_at)
    flight = _Flight(askers, request_for, journal, budget)

    def judge(lane: Lane) -> None:
        if not lane.stopped:
            reason = "unavailable" if lane.unavailable else should_stop(lane.provider)
            if reason is not None:
                lane.stop(reason, clock() + grace_s)

    try:
        while lanes:
            for lane in lanes:
                while (settled := lane.settle_next()) is not None:
                    yield Settled(settled)
                    judge(lane)
            for lane in lanes:
                judge(lane)
                if lane.give_up_now(clock(), grace_s):
                    flight.give_up(lane)
                ahead = lane.head - min(other.head for other in lanes) if together else 0
                flight.send_more(lane, concurrency, window - ahead)
            for lane in [lane for lane in lanes if lane.finished]:
                lanes.remove(lane)
                yield Stopped(lane.provider, lane.reason)
            if lanes:
                wake_at = min(min(lane.deadline_at, lane.give_up_at) for lane in lanes)
                await flight.wait(wake_at - clock())
            while (attempt := flight.next_attempt()) is not None:
                yield Tried(attempt)
    finally:
        await flight.close()


class _Flight:
    """The requests in flight: sends them, journals what they bring, and keeps it until it is taken."""

    def __init__(
        self,
        askers: Mapping[str, Asker],
        request_for: Callable[[PlanItem], Request],
        journal: Journal,
        budget: Budget,
    ) -> None:
        self._askers = askers
        self._request_for = request_for
        self._journal = journal
        self._budget = budget
        self._tasks: dict[tuple[Lane, int], asyncio.Task[None]] = {}
        self._inbox: deque[tuple[Lane, int, Attempt | asyncio.Task[None]]] = deque()
        self._arrived = asyncio.Event()

    def send_more(self, lane: Lane, concurrency: int, window: int) -> None:
        """Send what lane, window, concurrency and budget allow now."""
        while len(lane.in_flight) < concurrency and (index := lane.next_to_send(window)) is not None:
            request = self._request_for(lane.items[index])
            worst_usd = self._budget.worst_case_usd(lane.provider, request)
            reservation = self._budget.reserve(lane.provider, worst_usd)
            if reservation == "later":
                return
            if reservation != "reserved":
                lane.close(reservation)
                return
            lane.send(index)
            task = asyncio.create_task(self._ask(lane, index, request, worst_usd))
            self._tasks[lane, index] = task
            task.add_done_callback(partial(self._land, lane, index, worst_usd))

    async def _ask(self, lane: Lane, index: int, request: Request, worst_usd: float | None) -> None:
        item, tries, started = lane.items[index], 0, datetime.now(UTC)
        try:
            async with contextlib.aclosing(self._askers[item.provider].ask(request, item.provider, item.seq)) as asked:
                async for attempt in asked:
                    self._keep(lane, index, attempt, worst_usd)
                    if attempt.settled:
                        return
                    if not self._budget.allows_retry():
                        lane.cut(index, "budget")
                        return
                    tries, started = tries + 1, datetime.now(UTC)
        except asyncio.CancelledError:
            self._keep(lane, index, given_up(item, tries, started), worst_usd)
            raise
        raise RuntimeError(f"the asker of {item.provider} ended without a last attempt")

    def _keep(self, lane: Lane, index: int, attempt: Attempt, worst_usd: float | None) -> None:
        """Count what an attempt cost, journal it, and pass it on."""
        counted = replace(attempt, charged_usd=self._budget.charge(attempt, worst_usd))
        self._journal.append(counted)
        self._post(lane, index, counted)

    def _land(self, lane: Lane, index: int, worst_usd: float | None, task: asyncio.Task[None]) -> None:
        self._budget.release(worst_usd)
        self._post(lane, index, task)

    def _post(self, lane: Lane, index: int, news: Attempt | asyncio.Task[None]) -> None:
        self._inbox.append((lane, index, news))
        self._arrived.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something arrives, or for `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                await self._arrived.wait()

    def next_attempt(self) -> Attempt | None:
        """The next attempt that has arrived, handed to its lane; raises what an asker has raised."""
        while self._inbox:
            lane, index, news = self._inbox.popleft()
            if isinstance(news, Attempt):
                if news.settled:
                    lane.receive(index, news)
                return news
            lane.in_flight.remove(index)
            del self._tasks[lane, index]
            if not (lane.given_up and news.cancelled()):
                news.result()
        self._arrived.clear()
        return None

    def give_up(self, lane: Lane) -> None:
        """Cancel what `lane` has in flight; that it has ended arrives like everything else."""
        for index in lane.in_flight:
            self._tasks[lane, index].cancel()

    async def close(self) -> None:
        """Cancel whatever is in flight, and wait until it has ended."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
