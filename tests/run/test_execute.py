"""Execution in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from execution import FakeAsker, attempt, plan_of, request_for, run
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import in_virtual_time

from qcheck.errors import StorageError
from qcheck.records import Attempt, Outcome
from qcheck.registry.types import Price
from qcheck.run.budget import Budget, Limits
from qcheck.run.execute import Event, Settled, Stopped, Tried, execute
from qcheck.run.journal import Journal, read_journal
from qcheck.run.lane import resumable


class WalkedAway(Exception):  # noqa: N818
    """Raised by a consumer in the middle of a run."""


@settings(deadline=None, max_examples=60)
@given(
    delays=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    others=st.integers(0, 20),
    concurrency=st.integers(1, 6),
    window=st.integers(0, 10),
)
def test_settles_in_plan_order_whatever_the_order_of_arrival(
    delays: list[int], others: int, concurrency: int, window: int
) -> None:
    a = FakeAsker(delay=lambda seq: delays[seq])
    b = FakeAsker(delay=lambda _seq: others)
    settled_of_a = 0

    def watch(event: Event) -> None:
        nonlocal settled_of_a
        if isinstance(event, Settled) and event.attempt.provider == "a":
            settled_of_a += 1
        assert max(a.sent, default=0) <= settled_of_a + window

    plan = plan_of(len(delays), "a", "b")
    result = run(plan, {"a": a, "b": b}, on_event=watch, concurrency=concurrency, window=window)
    assert result.settled("a") == result.settled("b") == list(range(len(delays)))
    assert result.stopped() == {"a": "exhausted", "b": "exhausted"}
    assert max(a.most_flying, b.most_flying) <= concurrency
    tried = [e.attempt for e in result.events if isinstance(e, Tried)]
    assert sorted(tried, key=lambda t: (t.provider, t.seq)) == sorted(result.journal, key=lambda t: (t.provider, t.seq))


def test_providers_do_not_wait_for_each_other() -> None:
    slow, fast = FakeAsker(delay=lambda _seq: 1000.0), FakeAsker(delay=lambda _seq: 1.0)
    result = run(plan_of(20, "slow", "fast"), {"slow": slow, "fast": fast}, concurrency=2)
    assert result.events.index(Stopped("fast", "exhausted")) < next(
        i for i, e in enumerate(result.events) if isinstance(e, Tried) and e.attempt.provider == "slow"
    )


@pytest.mark.parametrize("concurrency", [4, 32])
def test_concurrency_is_used(concurrency: int) -> None:
    took_s = run(plan_of(3 * concurrency), {"a": FakeAsker()}, concurrency=concurrency).took_s
    assert took_s == pytest.approx(3.0)


def test_a_request_that_lags_holds_back_no_more_than_the_window() -> None:
    asker = FakeAsker(delay=lambda seq: 100.0 if seq == 0 else 1.0)
    sent_before_first: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, Settled) and event.attempt.seq == 0:
            sent_before_first.extend(asker.sent)

    run(plan_of(20), {"a": asker}, on_event=watch, window=5)
    assert sorted(sent_before_first) == [0, 1, 2, 3, 4, 5]


def stop_after(count: int, reason: str = "deviates") -> tuple[Callable[[Event], None], Callable[[str], str | None]]:
    """A fold that has seen enough of provider a after `count` settled requests."""
    seen = 0

    def fold(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Settled) and event.attempt.provider == "a"

    return fold, lambda provider: reason if provider == "a" and seen >= count else None


def test_a_stop_ends_its_provider_alone_and_at_once() -> None:
    fold, should_stop = stop_after(3)
    a, b = FakeAsker(), FakeAsker()
    result = run(plan_of(20, "a", "b"), {"a": a, "b": b}, on_event=fold, should_stop=should_stop, concurrency=1)
    assert result.stopped() == {"a": "deviates", "b": "exhausted"}
    assert a.sent == result.settled("a") == [0, 1, 2]
    assert result.settled("b") == list(range(20))


def test_answers_in_flight_at_a_stop_are_journalled_and_not_settled() -> None:
    fold, should_stop = stop_after(1)
    asker = FakeAsker(delay=lambda seq: 1.0 + seq)
    result = run(plan_of(20), {"a": asker}, on_event=fold, should_stop=should_stop)
    assert result.settled() == [0]
    assert result.answered() == {0, 1, 2, 3}
    assert asker.sent == [0, 1, 2, 3]
    assert result.events[-1] == Stopped("a", "deviates")


def test_answers_that_outlast_the_grace_are_given_up() -> None:
    fold, should_stop = stop_after(1)
    asker = FakeAsker(delay=lambda seq: 1.0 if seq == 0 else 1000.0)
    result = run(plan_of(20), {"a": asker}, on_event=fold, should_stop=should_stop)
    assert result.answered() == {0}
    assert result.stopped() == {"a": "deviates"}
    assert result.took_s == pytest.approx(6.0)
    assert not asker.flying


def test_what_was_given_up_is_journalled_and_charged_at_its_worst(tmp_path: Path) -> None:
    fold, should_stop = stop_after(1)
    path, prices = tmp_path / "journal.jsonl", {"a": Price(1.0, 1.0)}
    asker = FakeAsker(delay=lambda seq: 1.0 if seq == 0 else 1000.0)
    result = run(plan_of(20), {"a": asker}, path=path, prices=prices, on_event=fold, should_stop=should_stop)
    lost = [(a.seq, a.outcome, a.error, a.charged_usd) for a in result.journal if a.seq]
    assert sorted(lost) == [(seq, "retried", "given up before the answer came", 284e-6) for seq in (1, 2, 3)]
    assert Budget(Limits(), prices, read_journal(path)).spent_usd == pytest.approx(3 * 284e-6 + 11e-6)


def test_a_retry_that_the_budget_does_not_cover_is_not_sent() -> None:
    """Each exchange can cost 284 micro-dollars. The first one is lost, and so charged, which leaves too little."""
    lost = replace(attempt("a", 1, "retried"), http_status=None)
    asker = FakeAsker(script={1: [lost, attempt("a", 1, index=1)]}, delay=lambda seq: 1.0 + seq)
    limits, prices = Limits(budget_usd=500e-6), {"a": Price(1.0, 1.0)}
    result = run(plan_of(9), {"a": asker}, limits=limits, prices=prices, concurrency=1)
    assert [(a.seq, a.outcome, a.charged_usd) for a in result.journal] == [
        (0, "answered", 11e-6),
        (1, "retried", 284e-6),
    ]
    assert result.settled() == [0]
    assert result.stopped() == {"a": "budget"}


def test_requests_that_are_given_up_may_clean_up() -> None:
    asker = FakeAsker(delay=lambda seq: 1.0 if seq == 0 else 1000.0, cleanup_s=2.0)
    fold, should_stop = stop_after(1)
    run(plan_of(20), {"a": asker}, on_event=fold, should_stop=should_stop)
    assert asker.cleaned == {0, 1, 2, 3}


def test_nothing_is_sent_between_an_answer_and_the_question_whether_to_stop() -> None:
    fold, should_stop = stop_after(4)
    asker = FakeAsker()
    result = run(plan_of(20), {"a": asker}, on_event=fold, should_stop=should_stop)
    assert result.settled() == asker.sent == [0, 1, 2, 3]


def test_nothing_is_sent_while_answers_wait_for_a_slow_consumer() -> None:
    fold, should_stop = stop_after(4)
    asker = FakeAsker(delay=lambda seq: 1.0 + seq / 10)
    result = run(plan_of(20), {"a": asker}, on_event=fold, should_stop=should_stop, handling_s=10.0)
    assert result.settled() == asker.sent == [0, 1, 2, 3]


def test_what_one_provider_settles_can_stop_another() -> None:
    fold, stops_a = stop_after(2)
    a, b = FakeAsker(), FakeAsker(delay=lambda _seq: 3.0)
    result = run(
        plan_of(20, "b", "a"),
        {"a": a, "b": b},
        on_event=fold,
        should_stop=lambda _provider: stops_a("a"),
        concurrency=1,
    )
    assert result.stopped() == {"a": "deviates", "b": "deviates"}
    assert b.sent == [0]
    assert result.settled("b") == []


@settings(deadline=None, max_examples=30)
@given(
    delays=st.lists(st.integers(1, 9), min_size=20, max_size=20),
    again=st.lists(st.integers(1, 9), min_size=20, max_size=20),
    cut=st.integers(0, 19),
    enough=st.integers(1, 25),
)
def test_a_resumed_run_asks_nothing_twice_and_settles_the_same(
    delays: list[int], again: list[int], cut: int, enough: int
) -> None:
    def crash(event: Event) -> None:
        if isinstance(event, Settled) and event.attempt.seq == cut:
            raise WalkedAway

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        first = FakeAsker(delay=lambda seq: delays[seq])
        with pytest.raises(WalkedAway):
            run(plan_of(20), {"a": first}, path=path, on_event=crash)
        answered = {a.seq for a in read_journal(path) if a.settled}
        assert cut in answered
        fold, should_stop = stop_after(enough)
        second = FakeAsker(delay=lambda seq: again[seq])
        result = run(plan_of(20), {"a": second}, path=path, on_event=fold, should_stop=should_stop)
        assert not answered & set(second.sent)
        assert result.settled() == list(range(min(enough, 20)))
        settled = [a.seq for a in result.journal if a.settled]
        assert len(settled) == len(set(settled))


def test_replayed_requests_are_not_tried_again() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        first = run(plan_of(10), {"a": FakeAsker()}, path=path)
        second = run(plan_of(10), {"a": FakeAsker()}, path=path)
        assert second.journal == first.journal
        assert second.took_s == 0
        assert second.events == [e for e in first.events if not isinstance(e, Tried)]


def test_a_request_that_was_only_retried_is_asked_again_and_a_failed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(attempt("a", 0, "retried"))
        journal.append(attempt("a", 1, "failed"))
    asker = FakeAsker()
    result = run(plan_of(3), {"a": asker}, path=path)
    assert sorted(asker.sent) == [0, 2]
    assert result.settled() == [0, 1, 2]


def test_retries_are_reported_and_only_the_last_attempt_settles() -> None:
    tries = [attempt("a", 0, "retried"), attempt("a", 0, "retried", index=1), attempt("a", 0, index=2)]
    result = run(plan_of(1), {"a": FakeAsker(script={0: tries})})
    assert result.events == [*map(Tried, tries), Settled(tries[-1]), Stopped("a", "exhausted")]
    assert result.journal == tries


def failing(seqs: Sequence[int]) -> dict[int, list[Attempt]]:
    return {seq: [attempt("a", seq, "failed")] for seq in seqs}


def test_five_failures_in_a_row_make_a_provider_unavailable() -> None:
    result = run(plan_of(40), {"a": FakeAsker(script=failing([2, 3, 4, 5, 7, 8, 9, 10, 11, 12]))}, concurrency=1)
    assert result.stopped() == {"a": "unavailable"}
    assert result.settled() == list(range(12))


def test_failures_are_counted_in_plan_order_not_in_order_of_arrival() -> None:
    asker = FakeAsker(delay=lambda seq: 9.0 if seq == 3 else 1.0, script=failing([0, 1, 2, 4, 5, 6, 7]))
    result = run(plan_of(9), {"a": asker})
    assert result.stopped() == {"a": "exhausted"}
    assert result.settled() == list(range(9))


def test_a_fatal_failure_ends_its_provider_once_all_before_it_has_settled() -> None:
    asker = FakeAsker(delay=lambda seq: 1.0 if seq == 2 else 5.0, script={2: [attempt("a", 2, "failed", fatal=True)]})
    result = run(plan_of(20), {"a": asker})
    assert result.settled() == [0, 1, 2]
    assert asker.sent == [0, 1, 2, 3]
    assert result.stopped() == {"a": "unavailable"}


def test_who_is_likely_to_refuse_everything_is_asked_once_before_all_else() -> None:
    refusing = FakeAsker(script={seq: [attempt("a", seq, "failed", fatal=True)] for seq in range(12)})
    refused = run(plan_of(12), {"a": refusing}, doubtful=["a"])
    assert (len(refused.journal), refused.stopped()) == (1, {"a": "unavailable"})
    mended = run(plan_of(13), {"a": FakeAsker()}, concurrency=4, doubtful=["a"])
    assert mended.took_s == pytest.approx(1.0 + 3.0)


def test_a_fatal_failure_in_the_journal_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(attempt("a", 1, "failed", fatal=True))
    asker = FakeAsker()
    result = run(plan_of(9), {"a": asker}, path=path)
    assert asker.sent == [0]
    assert result.settled() == [0, 1]
    assert result.stopped() == {"a": "unavailable"}


def test_max_requests_counts_each_provider_and_what_was_asked_before(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    run(plan_of(3, "a"), {"a": FakeAsker()}, path=path)
    a, b = FakeAsker(), FakeAsker()
    result = run(plan_of(20, "a", "b"), {"a": a, "b": b}, path=path, limits=Limits(max_requests=7))
    assert result.settled("a") == result.settled("b") == list(range(7))
    assert (len(a.sent), len(b.sent)) == (4, 7)
    assert result.stopped() == {"a": "max_requests", "b": "max_requests"}


def test_the_budget_ends_the_run_only_when_nothing_more_fits() -> None:
    # A request can cost 276 tokens in and 8 out, 284 micro-dollars; it does cost 11.
    result = run(plan_of(500), {"a": FakeAsker()}, limits=Limits(budget_usd=1000e-6), prices={"a": Price(1.0, 1.0)})
    assert result.stopped() == {"a": "budget"}
    assert len(result.settled()) == (1000 - 284) // 11 + 1


def test_a_provider_without_a_price_is_not_held_back_by_the_budget() -> None:
    result = run(plan_of(20), {"a": FakeAsker()}, limits=Limits(budget_usd=0.0))
    assert result.stopped() == {"a": "exhausted"}


def test_at_the_deadline_nothing_is_sent_and_what_arrives_in_the_grace_is_settled() -> None:
    asker = FakeAsker(delay=lambda seq: 4.0)
    result = run(plan_of(20), {"a": asker}, limits=Limits(deadline_s=6.0), concurrency=2)
    assert asker.sent == result.settled() == [0, 1, 2, 3]
    assert result.stopped() == {"a": "deadline"}
    assert result.took_s == pytest.approx(8.0)


def test_a_deadline_is_not_held_up_by_a_provider_that_never_answers() -> None:
    asker = FakeAsker(delay=lambda seq: 1e6)
    result = run(plan_of(3), {"a": asker}, limits=Limits(deadline_s=6.0))
    assert result.stopped() == {"a": "deadline"}
    assert result.took_s == pytest.approx(11.0)


def test_a_deadline_does_not_rename_a_stop() -> None:
    fold, should_stop = stop_after(1)
    asker = FakeAsker(delay=lambda seq: 1.0 if seq == 0 else 4.0)
    result = run(plan_of(20), {"a": asker}, limits=Limits(deadline_s=2.0), on_event=fold, should_stop=should_stop)
    assert result.stopped() == {"a": "deviates"}


@pytest.mark.parametrize(("count", "reason"), [(9, "deadline"), (3, "exhausted")])
def test_what_was_answered_before_is_settled_at_the_deadline_too(tmp_path: Path, count: int, reason: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        for seq in (1, 2):
            journal.append(attempt("a", seq))
    asker = FakeAsker(delay=lambda _seq: 4.0)
    result = run(plan_of(count), {"a": asker}, path=path, limits=Limits(deadline_s=3.0), concurrency=1)
    assert result.settled() == [0, 1, 2]
    assert result.stopped() == {"a": reason}


def test_an_exception_of_an_asker_is_raised_and_leaves_nothing_running() -> None:
    askers = {"a": FakeAsker(script={5: [ZeroDivisionError()]}), "b": FakeAsker(delay=lambda _seq: 100.0)}
    with pytest.raises(ZeroDivisionError):
        run(plan_of(20, "a", "b"), askers)
    assert not askers["a"].flying | askers["b"].flying


def test_an_asker_that_ends_without_a_last_attempt_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="without a last attempt"):
        run(plan_of(1), {"a": FakeAsker(script={0: [attempt("a", 0, "retried")]})})


def test_a_full_disk_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_journal: Journal, _attempt: Attempt) -> None:
        raise StorageError("cannot write journal.jsonl: No space left on device.")

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(StorageError):
        run(plan_of(5), {"a": FakeAsker()})


@pytest.mark.parametrize("after_s", [0.5, 1.0, 3.5])
def test_a_cancelled_run_leaves_no_task_and_a_sound_journal(tmp_path: Path, after_s: float) -> None:
    path, asker = tmp_path / "journal.jsonl", FakeAsker()

    async def consume(journal: Journal) -> None:
        stream = execute(
            plan_of(20),
            {"a": asker},
            request_for,
            journal,
            answered={},
            budget=Budget(Limits(), {}),
            should_stop=lambda _provider: None,
        )
        async with contextlib.aclosing(stream):
            async for _event in stream:
                pass

    async def main() -> None:
        with Journal.open(path) as journal:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(consume(journal), after_s)
            assert not asker.flying

    in_virtual_time(main())
    resumed = run(plan_of(20), {"a": FakeAsker()}, path=path)
    assert resumed.settled() == list(range(20))


def test_the_consumer_may_walk_away(tmp_path: Path) -> None:
    def leave(_event: Event) -> None:
        raise WalkedAway

    asker = FakeAsker()
    with pytest.raises(WalkedAway):
        run(plan_of(20), {"a": asker}, path=tmp_path / "journal.jsonl", on_event=leave)
    assert not asker.flying


@pytest.mark.parametrize(("together", "most"), [(True, 13), (False, 60)])
def test_together_a_fast_provider_does_not_run_ahead_of_a_slow_one(together: bool, most: int) -> None:
    """What the fast one was sent when the slow one settled its fourth request (window 8, and one more at the edge)."""
    fast, slow = FakeAsker(lambda _seq: 0.01), FakeAsker()
    sent: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, Settled) and (event.attempt.provider, event.attempt.seq) == ("b", 3):
            sent.append(len(fast.sent))

    run(plan_of(60, "a", "b"), {"a": fast, "b": slow}, on_event=watch, concurrency=2, window=8, together=together)
    assert len(fast.sent) == len(slow.sent) == 60
    assert most - 2 <= sent[0] <= most


def test_a_plan_of_nothing_yields_nothing() -> None:
    assert run((), {}).events == []


def test_an_answer_is_settled_with_its_scores_and_not_before() -> None:
    fast, slow = FakeAsker(delay=lambda _seq: 1.0), FakeAsker(delay=lambda _seq: 10.0)
    result = run(plan_of(2), {"a": FakeAsker(), "fast": fast, "slow": slow}, scorers=("slow", "fast"), concurrency=2)
    for event in result.events:
        if isinstance(event, Settled):
            scores = [(s.provider, s.scores, s.seq) for s in event.scores]
            assert scores == [("slow", "a", event.attempt.seq), ("fast", "a", event.attempt.seq)]
    assert result.settled() == [0, 1]
    assert result.took_s == pytest.approx(12.0)
    assert slow.sent == fast.sent == [0, 1]


def test_what_is_missing_of_the_scores_is_asked_for_when_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(attempt("a", 0))
        journal.append(replace(attempt("one", 0), scores="a"))
        journal.append(attempt("a", 2))
    a, one, two = FakeAsker(), FakeAsker(), FakeAsker()
    result = run(plan_of(3), {"a": a, "one": one, "two": two}, scorers=("one", "two"), path=path)
    assert (a.sent, sorted(one.sent), sorted(two.sent)) == ([1], [1, 2], [0, 1, 2])
    assert result.settled() == [0, 1, 2]
    again = run(plan_of(3), {"a": a}, scorers=("one", "two"), path=path)
    assert again.settled() == [0, 1, 2]


def test_nothing_is_scored_after_the_stop() -> None:
    scorer = FakeAsker()
    stopped = run(
        plan_of(9), {"a": FakeAsker(), "s": scorer}, scorers=("s",), should_stop=lambda _: "enough", concurrency=2
    )
    assert (stopped.settled(), stopped.journal, scorer.sent) == ([], [], [])
    seen: list[Event] = []
    later = run(
        plan_of(9),
        {"a": FakeAsker(delay=lambda seq: 1.0 + 2 * seq), "s": scorer},
        scorers=("s",),
        should_stop=lambda _: "enough" if any(isinstance(e, Settled) for e in seen) else None,
        on_event=seen.append,
    )
    assert later.settled() == [0]
    assert scorer.sent == [0]


def test_an_answer_whose_scoring_cannot_be_paid_for_is_not_settled() -> None:
    """A text costs 80 microdollars to score at most, and 10 in the end."""
    prices, limits = {"a": Price(0.0, 0.0), "s": Price(0.0, 10.0)}, Limits(budget_usd=100e-6)
    result = run(
        plan_of(9), {"a": FakeAsker(), "s": FakeAsker()}, scorers=("s",), prices=prices, limits=limits, concurrency=1
    )
    assert result.settled() == [0, 1, 2]
    assert result.stopped() == {"a": "budget"}


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ("aaffa", 5),
        ("aafffff", 2),
        ("affafffff", 4),
        ("aafffffaa", 4),  # two were in flight when it ended, and came
        ("aaF", 2),
        ("afF", 1),
        ("aF.a", 2),
        ("aaFFaf", 3),  # what was in flight failed as well
    ],
)
def test_a_run_that_goes_on_asks_again_what_made_a_provider_unavailable(outcomes: str, kept: int) -> None:
    """a: answered, f: failed, F: failed fatally, a dot: never settled."""
    kinds: Mapping[str, Outcome] = {"a": "answered", "f": "failed", "F": "failed"}
    settled = {
        ("a", seq): attempt("a", seq, kinds[kind], fatal=kind == "F")
        for seq, kind in enumerate(outcomes)
        if kind in kinds
    }
    other = {("b", 0): attempt("b", 0)}
    assert resumable(settled | other).keys() - {("b", 0)} <= settled.keys()
    assert len(resumable(settled | other)) == kept + 1
