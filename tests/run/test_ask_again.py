"""Requests that are asked again, in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from execution import FakeAsker, Outcomes, attempt, plan_of, run

from qcheck.registry.types import Price
from qcheck.run.budget import Limits
from qcheck.run.execute import AskedAgain, Event, Settled, Tried

ONE_TOKEN = Price(0.0, 1.0)


class Asks:
    """A consumer that has a request asked again once it is settled, `times` times."""

    def __init__(self, seq: int, *whom: str, times: int = 1) -> None:
        self.seq, self.whom, self.times = seq, whom or ("a",), times
        self.settled: list[int] = []
        self.came: list[AskedAgain] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, Settled) and event.attempt.provider == "a":
            self.settled.append(event.attempt.seq)
        elif isinstance(event, AskedAgain):
            self.came.append(event)

    def __call__(self, provider: str) -> tuple[int, tuple[str, ...]] | None:
        wanted = provider == "a" and self.seq in self.settled and len(self.came) < self.times
        return (self.seq + len(self.came), self.whom) if wanted else None


def order(result: Outcomes) -> list[str]:
    """What was settled, and where what was asked again came between."""
    named = {Settled: lambda e: str(e.attempt.seq), AskedAgain: lambda e: f"again {e.attempts[0].seq}"}
    return [named[type(e)](e) for e in result.events if type(e) in named]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_nothing_more_is_settled_or_sent_before_it_has_come(concurrency: int) -> None:
    asker, asks = FakeAsker(delay=lambda seq: 1.0 + 0.1 * seq), Asks(2)
    result = run(plan_of(9), {"a": asker}, ask_again=asks, on_event=asks.on_event, concurrency=concurrency)
    assert order(result) == ["0", "1", "2", "again 2", *"345678"]
    (came,) = asks.came
    assert [(a.provider, a.seq, a.scores) for a in came.attempts] == [("a", 2, "a")]
    in_flight = concurrency - 1
    assert asker.sent[: 4 + in_flight] == [*range(3 + in_flight), 2]
    assert result.stopped() == {"a": "exhausted"}


def test_others_are_asked_for_the_same_beside_it_and_go_on_meanwhile() -> None:
    slow, asks = FakeAsker(delay=lambda _seq: 5.0), Asks(0, "a", "live")
    askers = {"a": FakeAsker(), "live": FakeAsker(), "b": slow}
    result = run(plan_of(4, "a", "live", "b"), askers, ask_again=asks, on_event=asks.on_event)
    (came,) = asks.came
    assert [(a.provider, a.seq, a.scores) for a in came.attempts] == [("a", 0, "a"), ("live", 0, "a")]
    assert all(result.settled(name) == [0, 1, 2, 3] for name in askers)


def test_one_after_another_may_be_asked_again_even_after_the_last_of_the_plan() -> None:
    asks = Asks(1, times=2)
    result = run(plan_of(3), {"a": FakeAsker()}, ask_again=asks, on_event=asks.on_event, concurrency=3)
    assert order(result) == ["0", "1", "again 1", "again 2", "2"]
    last = Asks(2)
    assert order(run(plan_of(3), {"a": FakeAsker()}, ask_again=last, on_event=last.on_event))[-1] == "again 2"


def test_what_stops_a_provider_is_asked_at_once_when_it_has_come() -> None:
    asks = Asks(0)
    result = run(
        plan_of(9),
        {"a": FakeAsker()},
        ask_again=asks,
        on_event=asks.on_event,
        should_stop=lambda _: "decided" if asks.came else None,
    )
    assert order(result) == ["0", "again 0"]
    assert result.stopped() == {"a": "decided"}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_requests=1), "max_requests"),
        (Limits(budget_usd=8.5e-6), "budget"),  # a request costs 8 microdollars at most, and 1 in the end
        (Limits(deadline_s=1.5), "deadline"),
    ],
)
def test_one_that_the_limits_do_not_allow_ends_the_provider(limits: Limits, reason: str) -> None:
    asks = Asks(0)
    asker = FakeAsker(delay=lambda _seq: 1.0 + 99.0 * bool(asks.settled))
    result = run(
        plan_of(9), {"a": asker}, ask_again=asks, on_event=asks.on_event, limits=limits, prices={"a": ONE_TOKEN}
    )
    assert order(result) == ["0"]
    assert result.stopped() == {"a": reason}


def test_it_counts_as_a_request_of_its_provider(tmp_path: Path) -> None:
    """Of five that are allowed, in one process or in two."""
    for number, first in enumerate((5, 3)):
        path = tmp_path / f"{number}.jsonl"
        for allowed in (first, 5):
            asks = Asks(0)
            result = run(
                plan_of(9),
                {"a": FakeAsker()},
                path=path,
                ask_again=asks,
                on_event=asks.on_event,
                limits=Limits(max_requests=allowed),
                concurrency=1,
            )
        assert result.settled() == [0, 1, 2, 3]


def test_a_resumed_run_asks_for_it_once(tmp_path: Path) -> None:
    path, first, second = tmp_path / "journal.jsonl", FakeAsker(), FakeAsker()
    for asker, count in ((first, 3), (second, 5)):
        asks = Asks(1)
        result = run(plan_of(count), {"a": asker}, path=path, ask_again=asks, on_event=asks.on_event, concurrency=1)
        assert order(result)[:3] == ["0", "1", "again 1"]
    assert (first.sent, second.sent) == ([0, 1, 1, 2], [3, 4])


def test_what_fails_when_it_is_asked_again_has_come_all_the_same() -> None:
    asks = Asks(0)
    failing = FakeAsker(script={0: [attempt("a", 0, "retried"), attempt("a", 0, "failed", index=1)]})
    result = run(plan_of(2), {"a": failing}, ask_again=asks, on_event=asks.on_event, concurrency=1)
    assert order(result) == ["0", "again 0", "1"]
    assert [a.outcome for a in asks.came[0].attempts] == ["failed"]
    assert sum(isinstance(e, Tried) for e in result.events) == 5


def test_who_was_held_close_to_one_that_ends_goes_on() -> None:
    """The fast one waits at the edge of the window when the slow one stops, and nothing is in flight."""
    asks = Asks(3)
    askers = {"a": FakeAsker(), "b": FakeAsker(delay=lambda _seq: 0.01)}
    result = run(
        plan_of(60, "a", "b"),
        askers,
        ask_again=asks,
        on_event=asks.on_event,
        should_stop=lambda name: "decided" if name == "a" and asks.came else None,
        together=True,
    )
    assert result.stopped() == {"a": "decided", "b": "exhausted"}
    assert len(result.settled("b")) == 60
