"""The fold's own rules, on answers made by hand; real engines are in test_compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from qcheck.jobs.fold import RunFold, folded, settled
from qcheck.jobs.panel import Panel
from qcheck.records import Attempt, Position, Response
from qcheck.suites import Manifest, Probe, Suite
from qcheck.verdict import Rules, summarise

RULES = Rules(alpha=0.01, delta=0.0, family=3, tolerance=0.05)
ASKED = Suite(
    Manifest(
        name="asked", version="1.0.0", licence="CC0-1.0", description="p", observes=["logprobs"], max_tokens=1,
        top_logprobs=3,
    ),
    tuple(Probe(f"p{i}", f"c{i}", "evaluation", ()) for i in range(200)), "", Path(),
)  # fmt: skip
PANELS = [Panel(ASKED, None, None, 1.0)]
LISTS = {
    "x": {"=a": 0.7, "=b": 0.2, "=c": 0.05},
    "y": {"=a": 0.7, "=b": 0.2, "=c": 0.05},
    "far": {"=a": 0.2, "=b": 0.7, "=c": 0.05},
    "elsewhere": {"=a": 0.7, "=b": 0.05, "=c": 0.2},
    "noise": {"=a": 0.19, "=b": 0.19, "=c": 0.6},
}


def attempt(
    provider: str,
    seq: int,
    kind: str | None = "x",
    *,
    fatal: bool = False,
    outcome: str = "answered",
    again: str | None = None,
) -> Attempt:
    response = None
    if kind is not None:
        top = tuple(sorted(((k, math.log(p)) for k, p in LISTS[kind].items()), key=lambda pair: -pair[1]))
        response = Response("", (Position("=a", top[0][1], top),), 10, 1, None, "length", None, None)
    return Attempt(
        provider, seq, f"p{seq}", 0, "2026-11-23T00:00:00Z", 0.1,
        "answered" if response else "retried" if outcome == "retried" else "failed",
        error=None if response else "broken", fatal=fatal, response=response, scores=again,
    )  # fmt: skip


def fold_all(fold: RunFold, attempts: Iterable[Attempt]) -> dict[str, int]:
    return folded(fold, list(attempts))


def test_alike_and_different_providers_are_grouped_and_stop() -> None:
    fold = RunFold(dict.fromkeys(["a", "b", "c"], PANELS), RULES)
    kinds = {"a": "x", "b": "y", "c": "far"}
    used = fold_all(fold, (attempt(p, i, k) for i in range(60) for p, k in kinds.items()))
    assert fold.groups() == (("a", "b"), ("c",))
    assert set(fold.different() or ()) == {("a", "c"), ("b", "c")}
    assert all(fold.should_stop(p) == "grouped" for p in kinds)
    assert max(used.values()) < 60


def test_groups_never_join_providers_shown_to_differ() -> None:
    fold = RunFold(dict.fromkeys(["a", "b", "c"], PANELS), RULES)
    fold.pairs["a", "b"].state = fold.pairs["b", "c"].state = "alike"
    fold.pairs["a", "c"].state = "different"
    assert ("a", "b", "c") not in (fold.groups() or ())
    assert sorted(m for g in fold.groups() or () for m in g) == ["a", "b", "c"]


def test_whom_nobody_is_left_to_compare_with_is_asked_no_further() -> None:
    fold = RunFold(dict.fromkeys(["a", "dead"], PANELS), RULES)
    fold.settle(attempt("dead", 0, None, fatal=True))
    assert fold.should_stop("dead") == "unavailable"
    assert fold.should_stop("a") == "nobody to compare with"


def test_without_its_live_reference_a_run_ends() -> None:
    fold = RunFold(dict.fromkeys(["a"], PANELS), RULES, live="live")
    fold.settle(attempt("a", 0))
    assert fold.should_stop("a") is None
    fold.settle(attempt("live", 0, None, fatal=True))
    assert fold.should_stop("a") == "reference unavailable"
    assert fold.should_stop("live") == "unavailable"


def test_a_live_reference_is_asked_until_everybody_is_decided() -> None:
    fold = RunFold(dict.fromkeys(["a", "b"], PANELS), RULES, live="live")
    used = fold_all(fold, (a for i in range(200) for a in beside_live(i, {"a": "x", "b": "far"}, {"b": "far"})))
    assert fold.providers["b"].decide().verdict == "deviates"
    assert fold.providers["a"].decide().verdict == "consistent"
    assert used["b"] < used["a"] <= used["live"] < 200


def beside_live(
    seq: int, serve: dict[str, str], again: dict[str, str | None], live: str | None = "x"
) -> Iterator[Attempt]:
    """What a live reference and providers answer, and what some of them answer when they are asked again."""
    yield from (attempt(name, seq, kind) for name, kind in {**serve, "live": "x"}.items())
    for name, kind in again.items():
        yield attempt(name, seq, kind, again=name)
        yield attempt("live", seq, live, again=name)


@pytest.mark.parametrize(
    ("again", "live", "verdict", "reason"),
    [
        ("far", "x", "deviates", "deviates"),  # the same weights
        ("x", "x", "deviates", "deviates"),  # some requests go elsewhere
        ("elsewhere", "x", "inconclusive", "unsteady"),  # noise
        (None, "x", "unavailable", "unavailable"),
        ("far", None, "inconclusive", "reference unavailable"),
        ("far", "noise", "inconclusive", "unsteady"),  # the reference's noise
        ("missing", "x", "inconclusive", None),
    ],
)
def test_a_provider_deviates_if_an_answer_stands_when_it_is_asked_for_again(
    again: str | None, live: str | None, verdict: str, reason: str | None
) -> None:
    fold = RunFold(dict.fromkeys(["a"], PANELS), RULES, live="live")
    repeats = {} if again == "missing" else {"a": again}
    used = fold_all(fold, (a for i in range(60) for a in beside_live(i, {"a": "far"}, repeats, live)))
    provider = fold.providers["a"]
    assert provider.decide().verdict == verdict
    assert fold.should_stop("a") == reason
    assert provider.claims().proof >= RULES.log_threshold or verdict != "deviates"
    assert provider.claims().answered == len(provider.claims().deviating) < 10
    words = summarise(provider.claims(), RULES, provider.decide(), None)
    assert ("asked again" in words) == (verdict == "inconclusive")
    assert used["a"] < 60


@pytest.mark.parametrize(("failures", "reason"), [(4, None), (5, "broken")])
def test_five_failures_in_a_row_make_a_provider_unavailable(failures: int, reason: str | None) -> None:
    fold = RunFold(dict.fromkeys(["a"], PANELS), RULES, live="live")
    for seq in range(failures):
        fold.settle(attempt("a", seq, None))
    assert fold.providers["a"].available.reason == reason


def test_settled_heads_end_at_the_first_gap_and_leave_retries_out() -> None:
    attempts = [attempt("a", 0), attempt("a", 1, None, outcome="retried"), attempt("a", 2), attempt("b", 1)]
    assert {p: [it.attempt.seq for it in head] for p, head in settled(attempts).items()} == {"a": [0], "b": []}
    attempts.append(attempt("a", 1))
    assert [it.attempt.seq for it in settled(attempts)["a"]] == [0, 1, 2]
