"""Execution of a made-up plan in virtual time, by askers that do what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from virtual_time import in_virtual_time

from qcheck.records import Attempt, Message, Outcome, Request, Response
from qcheck.registry.types import Price
from qcheck.run.budget import Budget, Limits
from qcheck.run.execute import Event, Settled, Stopped, execute
from qcheck.run.journal import Journal, read_journal, settled_requests, settled_scores
from qcheck.run.plan import PlanItem

NO_LIMITS = Limits()
RESPONSE = Response("4", (), 10, 1, None, "stop", "m", None)


def attempt(provider: str, seq: int, outcome: Outcome = "answered", *, index: int = 0, fatal: bool = False) -> Attempt:
    answered = outcome == "answered"
    return Attempt(
        provider,
        seq,
        f"p{seq}",
        index,
        "2026-11-23T18:45:00Z",
        0.1,
        outcome,
        http_status=200 if answered else 500,
        error=None if answered else "HTTP 500",
        fatal=fatal,
        charged_usd=None if answered else 0.0,  # without a price
        response=RESPONSE if answered else None,
    )


@dataclass
class FakeAsker:
    """Takes `delay(seq)` seconds for a request, and then does what `script` says, else answers."""

    delay: Callable[[int], float] = lambda _seq: 1.0
    script: Mapping[int, Sequence[Attempt | Exception]] = field(default_factory=dict)
    cleanup_s: float = 0.0
    cleaned: set[int] = field(default_factory=set)
    sent: list[int] = field(default_factory=list)
    flying: set[int] = field(default_factory=set)
    most_flying: int = 0

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncIterator[Attempt]:
        assert request.probe_id == f"p{seq}"
        self.sent.append(seq)
        self.flying.add(seq)
        self.most_flying = max(self.most_flying, len(self.flying))
        try:
            for outcome in self.script.get(seq, [attempt(provider, seq)]):
                await asyncio.sleep(self.delay(seq))
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
        finally:
            self.flying.discard(seq)
            await asyncio.sleep(self.cleanup_s)
            self.cleaned.add(seq)


def request_for(item: PlanItem) -> Request:
    return Request(item.probe_id, (Message("user", "2+2?"),), 8, 0.0, 5)


def plan_of(count: int, *providers: str) -> tuple[PlanItem, ...]:
    return tuple(PlanItem(provider, seq, f"p{seq}") for seq in range(count) for provider in providers or ("a",))


@dataclass
class Outcomes:
    """What a run yielded, by kind, and what its journal holds."""

    events: list[Event]
    journal: list[Attempt]
    took_s: float

    def settled(self, provider: str = "a") -> list[int]:
        return [e.attempt.seq for e in self.events if isinstance(e, Settled) and e.attempt.provider == provider]

    def stopped(self) -> dict[str, str]:
        stops = [e for e in self.events if isinstance(e, Stopped)]
        assert len({s.provider for s in stops}) == len(stops)
        return {s.provider: s.reason for s in stops}

    def answered(self, provider: str = "a") -> set[int]:
        return {a.seq for a in self.journal if a.provider == provider and a.outcome == "answered"}


def run(
    plan: Sequence[PlanItem],
    askers: Mapping[str, FakeAsker],
    *,
    path: Path | None = None,
    limits: Limits = NO_LIMITS,
    prices: Mapping[str, Price] | None = None,
    should_stop: Callable[[str], str | None] = lambda _provider: None,
    on_event: Callable[[Event], None] = lambda _event: None,
    handling_s: float = 0.0,
    concurrency: int = 4,
    window: int | None = None,
    together: bool = False,
    doubtful: Sequence[str] = (),
    scorers: Sequence[str] = (),
    ask_again: Callable[[str], tuple[int, Sequence[str]] | None] = lambda _provider: None,
) -> Outcomes:
    """Execute `plan` from the beginning, or from where the journal at `path` ends.

    ask_again: the `seq` of a provider's settled request that is asked again, and of whom.
    """
    events: list[Event] = []

    def again(provider: str) -> tuple[int, dict[str, Request]] | None:
        if (wanted := ask_again(provider)) is None:
            return None
        seq, whom = wanted
        return seq, {name: request_for(PlanItem(name, seq, f"p{seq}")) for name in whom}

    async def main(journal_path: Path) -> None:
        with Journal.open(journal_path) as journal:
            before = read_journal(journal_path)
            stream = execute(
                plan,
                askers,
                request_for,
                journal,
                answered=settled_requests(before),
                scored_with=lambda a: {name: request_for(PlanItem(name, a.seq, a.probe_id)) for name in scorers},
                ask_again=again,
                scores=settled_scores(before),
                budget=Budget(limits, prices or {}, before),
                should_stop=should_stop,
                concurrency=concurrency,
                window=window,
                together=together,
                doubtful=doubtful,
                clock=asyncio.get_running_loop().time,
            )
            async with contextlib.aclosing(stream):
                async for event in stream:
                    events.append(event)
                    on_event(event)
                    await asyncio.sleep(handling_s)

    with tempfile.TemporaryDirectory() as folder:
        journal_path = path or Path(folder) / "journal.jsonl"
        took_s = in_virtual_time(main(journal_path))
        return Outcomes(events, read_journal(journal_path), took_s)
