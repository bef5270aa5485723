"""The execution of a plan, as a stream of events.

Providers do not wait for each other. Answers come in any order and are journalled as they come, but are *settled* in
plan order: what a provider's evidence is folded from depends on its plan, never on which answer was fast. Folding
the unbroken head of a provider's journal again, and asking `should_stop` after each, therefore ends where the run did.

An answer may have to be *scored* by others before it is settled: they are asked once it has come, and their attempts
are journalled as theirs, with whose answer it is (`Attempt.scores`). Where that cannot be paid for, the answer is not
settled, nor is anything after it.

A request that is settled may have to be asked *again*, of its provider and perhaps of others, before anything more of
the provider's is settled, or sent. Those attempts stand in the journal beside the first one's, like scores.

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
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from qcheck.cancellation import may_have_been_sent
from qcheck.records import Attempt, Request
from qcheck.run.budget import Budget
from qcheck.run.journal import Journal
from qcheck.run.lane import Lane, Settled, make_lanes
from qcheck.run.plan import PlanItem

__all__ = ["GIVEN_UP", "AskedAgain", "Asker", "Event", "Settled", "Stopped", "Tried", "execute", "given_up"]

GIVEN_UP = "given up before the answer came"
POLL_S = 0.05


class Asker(Protocol):
    """Whatever can ask a provider: the client, or a test's imitation."""

    def ask(self, request: Request, provider: str, seq: int) -> AsyncGenerator[Attempt, None]:
        """Every attempt at `request` as it ends; the last one, and only that, is settled.

        The next one is not sent before it is asked for. `may_have_been_sent` tells of its cancellation.
        """


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt has ended and is in the journal: progress, in order of arrival."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """A settled request of a provider was asked again: the attempts that ended that, in the order of who was asked."""

    provider: str
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last event of a provider.

    `reason` is what `should_stop` returned, or "exhausted" (the plan is used up), "max_requests", "budget",
    "deadline", or "unavailable" (a fatal failure, or five failed requests in a row).
    """

    provider: str
    reason: str


Event = Tried | Settled | AskedAgain | Stopped
Scores = Mapping[tuple[str, int], Mapping[str, Attempt]]


def _unscored(_: Attempt) -> Mapping[str, Request]:
    return {}


def _not_again(_: str) -> None:
    return None


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
    scored_with: Callable[[Attempt], Mapping[str, Request]] = _unscored,
    ask_again: Callable[[str], tuple[int, Mapping[str, Request]] | None] = _not_again,
    scores: Scores = MappingProxyType({}),
    concurrency: int = 4,
    window: int | None = None,
    together: bool = False,
    doubtful: Collection[str] = (),
    grace_s: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Event, None]:
    """Ask what `plan` holds and yield what happens; use it within `contextlib.aclosing`.

    While the consumer handles an event nothing new is sent, and `should_stop(provider)` is asked after each of the
    provider's settled requests and before any new one is sent: None, or the reason to stop. At most `concurrency`
    requests of a provider are in flight, none further than `window` (twice as many unless given) beyond its earliest
    unsettled one; `together` also holds it that close to the slowest provider, for evidence that needs everybody's
    answer to the same probe. Of those
    in `doubtful`, who are likely to refuse everything, one request is alone in flight until it is answered or fails.

    `answered` are requests that an earlier process settled (`settled_requests` of the journal): they are settled in
    their turn, and neither asked nor journalled again. That holds for failed ones too, since evidence has been folded
    from them; a request that was only retried is asked again. The deadline counts from this call.

    `scored_with` says with which requests an attempt that ended a request of the plan is to be scored, by whom, and
    `scores` are those of an earlier process (`settled_scores`); an answer that lacks some of its own is scored now.
    `ask_again` is called where `should_stop` gives no reason, and says which of a provider's settled requests, by its
    `seq`, is to be sent again, and to whom; None for none. Nothing is sent of what stands in `scores`, nor after the
    deadline.

    Closing or cancelling cancels what is in flight and waits for it. An exception of an asker or of the journal
    (StorageError) does the same, and is raised.
    """
    window = 2 * concurrency if window is None else window
    if concurrency < 1 or window < 0:
        raise ValueError("concurrency is at least 1 and window at least 0")
    deadline_at = math.inf if budget.limits.deadline_s is None else clock() + budget.limits.deadline_s
    flight = _Flight(askers, request_for, journal, budget, scored_with, scores)
    earlier = {key: answered[key] for item in plan if (key := (item.provider, item.seq)) in answered}
    lanes = make_lanes(plan, flight.take(earlier), deadline_at)

    async def judged(lane: Lane) -> AsyncGenerator[AskedAgain, None]:
        """Stop a lane, or have something asked again; yields what of that an earlier process has asked."""
        while not lane.stopped:
            if reason := "unavailable" if lane.unavailable else should_stop(lane.provider):
                lane.stop(reason, clock() + grace_s)
            elif not (lane.waits or clock() >= deadline_at) and (again := ask_again(lane.provider)) is not None:
                if (known := flight.known(lane.provider, *again)) is not None:
                    yield known
                    continue
                flight.ask_again(lane, *again)
            return

    try:
        while lanes:
            for lane in lanes:
                while (settled := lane.settle_next()) is not None:
                    yield settled
                    async for known in judged(lane):
                        yield known
            for lane in lanes:
                async for known in judged(lane):
                    yield known
                if lane.give_up_now(clock(), grace_s):
                    flight.give_up(lane)
                ahead = lane.head - min(other.head for other in lanes) if together else 0
                alone = lane.provider in doubtful and not lane.begun
                flight.send_more(lane, 1 if alone else concurrency, window - ahead)
            finished = [lane for lane in lanes if lane.finished and not (together and _waited_for(lane, lanes))]
            for lane in finished:
                lanes.remove(lane)
                yield Stopped(lane.provider, lane.reason)
            if lanes and not finished:  # else whoever was held close to those may go on, or end with them
                wake_at = min(min(lane.deadline_at, lane.give_up_at) for lane in lanes)
                await flight.wait(wake_at - clock())
            while (arrival := flight.next_arrival()) is not None:
                lane, event = arrival
                yield event
                if isinstance(event, AskedAgain):
                    async for known in judged(lane):
                        yield known
    finally:
        await flight.close()


def _waited_for(lane: Lane, lanes: Sequence[Lane]) -> bool:
    """Whether a lane at its end may yet have to ask something again, once others have come as far."""
    return not (lane.stopped or lane.given_up) and any(
        other.head < lane.head and not other.finished for other in lanes if other is not lane
    )


_News = Attempt | Settled | AskedAgain | asyncio.Task[None]


class _Flight:
    """The requests in flight: sends them, journals what they bring, and keeps it until it is taken."""

    def __init__(
        self,
        askers: Mapping[str, Asker],
        request_for: Callable[[PlanItem], Request],
        journal: Journal,
        budget: Budget,
        scored_with: Callable[[Attempt], Mapping[str, Request]],
        scores: Scores,
    ) -> None:
        self._askers = askers
        self._request_for = request_for
        self._journal = journal
        self._budget = budget
        self._scored_with, self._scores = scored_with, scores
        self._answers: dict[tuple[str, int], Attempt] = {}  # of an earlier process, which lack scores
        self._reserved: dict[tuple[Lane, int], float | None] = {}  # US dollars, for requests of the plan
        self._tasks: dict[tuple[Lane, int], asyncio.Task[None]] = {}
        self._inbox: deque[tuple[Lane, int, _News]] = deque()
        self._arrived = asyncio.Event()

    def take(self, earlier: Mapping[tuple[str, int], Attempt]) -> dict[tuple[str, int], Settled]:
        """What of an earlier process's answers is settled; those that lack scores are kept to be scored."""
        whole = {}
        for key, answer in earlier.items():
            due, there = self._scored_with(answer), self._scores.get(key, {})
            if due.keys() <= there.keys():
                whole[key] = Settled(answer, tuple(there[by] for by in due))
            else:
                self._answers[key] = answer
        return whole

    def send_more(self, lane: Lane, concurrency: int, window: int) -> None:
        """Send what lane, window, concurrency and budget allow now."""
        while len(lane.in_flight) < concurrency and (index := lane.next_to_send(window)) is not None:
            item = lane.items[index]
            if answer := self._answers.get((item.provider, item.seq)):
                self._start(lane, index, self._score(lane, index, answer))
                continue
            request = self._request_for(item)
            worst_usd = self._budget.worst_case_usd(lane.provider, request)
            reservation = self._budget.reserve(lane.provider, worst_usd)
            if reservation == "later":
                return
            if reservation != "reserved":
                lane.close(reservation)
                return
            self._reserved[lane, index] = worst_usd
            self._start(lane, index, self._ask(lane, index, request, worst_usd))

    def known(self, provider: str, seq: int, due: Mapping[str, Request]) -> AskedAgain | None:
        """What came when a settled request was asked again by an earlier process; None where anything is missing."""
        there = self._scores.get((provider, seq), {})
        return AskedAgain(provider, tuple(there[by] for by in due)) if due.keys() <= there.keys() else None

    def ask_again(self, lane: Lane, seq: int, due: Mapping[str, Request]) -> None:
        """Send a settled request again; the lane waits for what comes."""
        index = next(index for index, item in enumerate(lane.items) if item.seq == seq)
        lane.waits = True
        self._start(lane, ~index, self._ask_again(lane, index, due))

    async def _ask_again(self, lane: Lane, index: int, due: Mapping[str, Request]) -> None:
        if (attempts := await self._all_of(lane, index, due)) is not None:
            self._post(lane, index, AskedAgain(lane.provider, attempts))

    def _start(self, lane: Lane, number: int, job: Coroutine[Any, Any, None]) -> None:
        """number: the request's index; its complement for one that is asked again, as the first may not have landed."""
        lane.send(number)
        task = asyncio.create_task(job)
        self._tasks[lane, number] = task
        task.add_done_callback(partial(self._land, lane, number))

    async def _ask(self, lane: Lane, index: int, request: Request, worst_usd: float | None) -> None:
        answer = await self._exchange(lane, index, lane.provider, request, worst_usd)
        self._release(lane, index)
        if answer is not None:
            await self._score(lane, index, answer)

    async def _score(self, lane: Lane, index: int, answer: Attempt) -> None:
        """Have an answer scored, as far as it is not, and settle it."""
        if (scores := await self._all_of(lane, index, self._scored_with(answer))) is not None:
            self._post(lane, index, Settled(answer, scores))

    async def _all_of(self, lane: Lane, index: int, due: Mapping[str, Request]) -> tuple[Attempt, ...] | None:
        """The last attempts at requests beside one of the plan, as far as they are not known; None where one is not to
        be had."""
        item = lane.items[index]
        known = dict(self._scores.get((item.provider, item.seq), {}))
        for by, request in due.items():
            if by in known:
                continue
            attempt = await self._beside(lane, index, by, request) if lane.settles(index) else None
            if attempt is None:
                return None
            known[by] = attempt
        return tuple(known[by] for by in due)

    async def _beside(self, lane: Lane, index: int, by: str, request: Request) -> Attempt | None:
        """The last attempt at a request beside one of the plan; None where it cannot be paid for."""
        worst_usd = self._budget.worst_case_usd(by, request)
        while (reservation := self._budget.reserve(by, worst_usd, lane.provider)) == "later":
            await asyncio.sleep(POLL_S)
        if reservation != "reserved":
            lane.cut(index, reservation)
            return None
        try:
            return await self._exchange(lane, index, by, request, worst_usd, lane.provider)
        finally:
            self._budget.release(worst_usd)

    async def _exchange(
        self, lane: Lane, index: int, by: str, request: Request, worst_usd: float | None, scores: str | None = None
    ) -> Attempt | None:
        """The last attempt at a request; None where another one cannot be paid for. scores: as in `Attempt`."""
        item, tries, started = lane.items[index], 0, datetime.now(UTC)
        try:
            async with contextlib.aclosing(self._askers[by].ask(request, by, item.seq)) as asked:
                async for attempt in asked:
                    kept = self._keep(lane, index, replace(attempt, scores=scores), worst_usd)
                    if kept.settled:
                        return kept
                    if not self._budget.allows_retry():
                        lane.cut(index, "budget")
                        return None
                    tries, started = tries + 1, datetime.now(UTC)
        except asyncio.CancelledError as error:
            if may_have_been_sent(error):
                lost = given_up(replace(item, provider=by), tries, started)
                self._keep(lane, index, replace(lost, scores=scores), worst_usd)
            raise
        raise RuntimeError(f"the asker of {by} ended without a last attempt")

    def _keep(self, lane: Lane, index: int, attempt: Attempt, worst_usd: float | None) -> Attempt:
        """Count what an attempt cost, journal it, and pass it on."""
        counted = replace(attempt, charged_usd=self._budget.charge(attempt, worst_usd))
        self._journal.append(counted)
        self._post(lane, index, counted)
        return counted

    def _land(self, lane: Lane, index: int, task: asyncio.Task[None]) -> None:
        self._release(lane, index)
        self._post(lane, index, task)

    def _release(self, lane: Lane, index: int) -> None:
        """Give back what was reserved for a request of the plan, once it is over: a task may end before it begins."""
        if (lane, index) in self._reserved:
            self._budget.release(self._reserved.pop((lane, index)))

    def _post(self, lane: Lane, index: int, news: _News) -> None:
        self._inbox.append((lane, index, news))
        self._arrived.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something arrives, or for `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                await self._arrived.wait()

    def next_arrival(self) -> tuple[Lane, Tried | AskedAgain] | None:
        """The next attempt that has arrived, or what came of asking again, and its lane; hands what is settled to its
        lane, and raises what an asker has raised."""
        while self._inbox:
            lane, index, news = self._inbox.popleft()
            if isinstance(news, Attempt):
                return lane, Tried(news)
            if isinstance(news, AskedAgain):
                lane.waits = False
                return lane, news
            if isinstance(news, Settled):
                lane.receive(index, news)
                continue
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
