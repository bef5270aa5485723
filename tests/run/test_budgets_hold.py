"""Whatever providers charge by their price lists, lose, refuse or cut short: the user's limits hold."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import in_virtual_time

from qcheck.records import Attempt, Message, Request, Response
from qcheck.registry.types import Price
from qcheck.run.budget import Budget, Limits, worst_case_usd
from qcheck.run.execute import execute
from qcheck.run.journal import Journal, read_journal, settled_requests, settled_scores
from qcheck.run.plan import PlanItem

Fault = Literal["none", "silent", "lost", "broken", "refused", "hangs"]
BILLED = ("none", "silent", "lost", "broken", "hangs")  # all but an error of the provider
MAX_ATTEMPTS, TIMEOUT_S = 4, 10.0
PROVIDERS = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 200)), min_size=1, max_size=3)
FAULTS = st.lists(st.sampled_from([*BILLED, "refused", "none", "none"]), min_size=1, max_size=40)
USAGES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=20)


@dataclass
class Bill:
    """What is really charged, which the client cannot know before an exchange is over, and sometimes never."""

    limit_usd: float
    usd: float = 0.0
    requests: dict[str, set[int]] = field(default_factory=dict)
    sent_at: list[float] = field(default_factory=list)

    def add(self, usd: float) -> None:
        self.usd += usd
        assert self.usd <= self.limit_usd * (1 + 1e-6)


@dataclass
class Provider:
    """Charges for an exchange when it comes, and then does what the next fault says."""

    price: Price
    faults: list[Fault]
    usages: list[tuple[float, float, bool]]
    bill: Bill
    exchanges: int = 0

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncGenerator[Attempt, None]:
        for index in range(MAX_ATTEMPTS):
            fault = self.faults[self.exchanges % len(self.faults)]
            read, written, tells_cost = self.usages[self.exchanges % len(self.usages)]
            self.exchanges += 1
            self.bill.requests.setdefault(provider, set()).add(seq)
            self.bill.sent_at.append(asyncio.get_running_loop().time())
            most_read = sum(len(m.content) for m in request.messages) + 272 + len(request.scored or "")
            tokens = round(read * most_read), round(written * request.max_tokens)
            usd = (tokens[0] * self.price.input + tokens[1] * self.price.output) / 1e6
            if fault != "refused":
                self.bill.add(usd)
            await asyncio.sleep(TIMEOUT_S if fault == "lost" else 1e9 if fault == "hangs" else 0.1 + read)
            answered = fault in ("none", "silent")
            last = answered or index == MAX_ATTEMPTS - 1
            usage = tokens if fault == "none" else (None, None)
            told = usd if fault == "none" and tells_cost else None
            yield Attempt(
                provider,
                seq,
                request.probe_id,
                index,
                "2026-11-23T18:45:00Z",
                0.1,
                "answered" if answered else "failed" if last else "retried",
                http_status={"refused": 503, "lost": None}.get(fault, 200),
                response=Response("4", (), *usage, told, "stop", "m", None) if answered else None,
            )
            if last:
                return
            await asyncio.sleep(2.0**index)


def request_for(item: PlanItem) -> Request:
    return Request(item.probe_id, (Message("user", "x" * (7 * item.seq % 50)),), 1 + item.seq % 9, 0.0, 5)


@settings(deadline=None, max_examples=60)
@given(
    prices=PROVIDERS,
    scorers=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 200)), max_size=2),
    faults=FAULTS,
    usages=USAGES,
    concurrency=st.integers(1, 16),
    requests_paid=st.floats(0, 40),
    max_requests=st.none() | st.integers(1, 30),
    deadline_s=st.floats(1, 100),
    processes=st.integers(1, 3),
)
def test_budgets_hold(
    prices: list[tuple[float, float]],
    scorers: list[tuple[float, float]],
    faults: list[Fault],
    usages: list[tuple[float, float, bool]],
    concurrency: int,
    requests_paid: float,
    max_requests: int | None,
    deadline_s: float,
    processes: int,
) -> None:
    """Dollars never, requests by none, time by those in flight; also over several processes, each interrupted."""
    listed = {f"p{i}": Price(*price) for i, price in enumerate(prices)}
    plan = [PlanItem(name, seq, f"q{seq}") for seq in range(40) for name in listed]
    scoring = {f"s{i}": Price(*price) for i, price in enumerate(scorers)}
    budget_usd = requests_paid * max(worst_case_usd(request_for(plan[0]), price) or 0.0 for price in listed.values())
    limits = Limits(max_requests, budget_usd, deadline_s)
    bill = Bill(budget_usd)
    askers = {name: Provider(price, faults, usages, bill) for name, price in (listed | scoring).items()}

    def scored_with(answer: Attempt) -> dict[str, Request]:
        request = replace(request_for(PlanItem("", answer.seq, answer.probe_id)), max_tokens=1, scored="y" * answer.seq)
        return dict.fromkeys(scoring, request) if answer.response else {}

    async def process(path: Path) -> float:
        """Dollars counted."""
        started = asyncio.get_running_loop().time()
        bill.sent_at.clear()
        with Journal.open(path) as journal:
            before = read_journal(path)
            budget = Budget(limits, listed | scoring, before)
            events = execute(
                plan,
                askers,
                request_for,
                journal,
                answered=settled_requests(before),
                budget=budget,
                scored_with=scored_with,
                scores=settled_scores(before),
                should_stop=lambda _: None,
                concurrency=concurrency,
                window=concurrency,
                clock=asyncio.get_running_loop().time,
            )
            async with contextlib.aclosing(events):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(deadline_s * 0.7 if processes > 1 else None):
                        async for _ in events:
                            pass
        in_flight_s = 5.0  # for which those in flight, and their retries, are waited for
        assert max(bill.sent_at, default=0.0) <= started + deadline_s + in_flight_s
        return budget.spent_usd

    async def all_processes() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            for _ in range(processes):
                counted = await process(path)
                assert bill.usd <= counted * (1 + 1e-9)
                assert counted <= budget_usd * (1 + 1e-6)
            journalled = sum(attempt.charged_usd or 0.0 for attempt in read_journal(path))
            assert abs(journalled - counted) <= 1e-9 * (1 + counted)

    in_virtual_time(all_processes())
    given_up = concurrency * (processes - 1) * len(listed)
    assert all(len(seqs) <= (max_requests or 40) + given_up for seqs in bill.requests.values())
