from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.jsonio import canonical, loads
from qcheck.records import (
    Attempt,
    Message,
    Position,
    Response,
    Tool,
    ToolCall,
    attempt_from_row,
    attempt_to_row,
    logprob_from_json,
    positions_from_rows,
    positions_to_rows,
    size_bytes,
    token_key,
    turns,
)

text = st.text(max_size=8)
logprobs = st.floats(max_value=0, allow_nan=False)
counts = st.integers(0, 10**6)
costs = st.floats(0, 100)
positions = st.builds(Position, text, st.none() | logprobs, st.lists(st.tuples(text, logprobs), max_size=3).map(tuple))
responses = st.builds(
    Response,
    text=text,
    positions=st.lists(positions, max_size=3).map(tuple),
    prompt_tokens=st.none() | counts,
    completion_tokens=st.none() | counts,
    cost_usd=st.none() | costs,
    finish_reason=st.none() | text,
    reported_model=st.none() | text,
    fingerprint=st.none() | text,
    reasoning=st.none() | text,
    cached_tokens=st.none() | counts,
    upstream=st.none() | text,
    tool_calls=st.lists(st.builds(ToolCall, text, text), max_size=2).map(tuple),
)
common: dict[str, st.SearchStrategy[Any]] = {
    "provider": text,
    "seq": counts,
    "probe_id": text,
    "index": counts,
    "started": text,
    "elapsed_s": costs,
    "http_status": st.none() | st.integers(100, 599),
}
attempts = st.builds(Attempt, outcome=st.just("answered"), response=responses, **common) | st.builds(
    Attempt, outcome=st.sampled_from(["retried", "failed"]), error=st.none() | text, fatal=st.booleans(), **common
)

ANSWERED = attempt_to_row(
    Attempt(
        "a",
        0,
        "p0",
        0,
        "2026-11-23T18:45:00Z",
        0.5,
        "answered",
        http_status=200,
        response=Response(
            "4", (Position("=4", -0.1, (("=4", -0.1), ("=5", -math.inf))),), 10, 1, None, "stop", "m", None
        ),
    )
)


@given(attempts)
def test_an_attempt_survives_its_file(attempt: Attempt) -> None:
    assert attempt_from_row(loads(canonical(attempt_to_row(attempt)))) == attempt


@given(st.lists(positions).map(tuple))
def test_positions_survive_their_file(value: tuple[Position, ...]) -> None:
    assert positions_from_rows(loads(canonical(positions_to_rows(value)))) == value


def test_a_row_leaves_out_what_is_absent() -> None:
    assert loads(canonical(ANSWERED)) == {
        "provider": "a",
        "seq": 0,
        "probe_id": "p0",
        "index": 0,
        "started": "2026-11-23T18:45:00Z",
        "elapsed_s": 0.5,
        "outcome": "answered",
        "http_status": 200,
        "fatal": False,
        "sent": True,
        "response": {
            "text": "4",
            "positions": [["=4", -0.1, [["=4", -0.1], ["=5", "-inf"]]]],
            "prompt_tokens": 10,
            "completion_tokens": 1,
            "finish_reason": "stop",
            "reported_model": "m",
        },
    }


WRONG_FIELDS: list[dict[str, Any]] = [
    {"colour": "red"},
    {"outcome": "lost"},
    {"outcome": "retried"},
    {"response": None},
    {"response": {}},
    {"response": "4"},
    {"provider": 5},
    {"provider": None},
    {"seq": 1.5},
    {"seq": True},
    {"fatal": 0},
    {"elapsed_s": "fast"},
    {"http_status": "200"},
    *(
        {"response": ANSWERED["response"] | wrong}
        for wrong in (
            {"colour": "red"},
            {"text": None},
            {"prompt_tokens": "10"},
            {"cost_usd": "free"},
            {"positions": None},
            {"positions": 5},
            {"positions": ["abc"]},
            {"positions": [[5, -0.1, []]]},
            {"positions": [["=4", "-0.1", []]]},
            {"positions": [["=4", -0.1, [["=4"]]]]},
            {"positions": [["=4", -0.1, [[4, -0.1]]]]},
            {"positions": [["=4", -0.1, [["=4", None]]]]},
            {"positions": [["=4", -0.1]]},
        )
    ),
]


@pytest.mark.parametrize("wrong", WRONG_FIELDS, ids=str)
def test_a_row_that_this_version_would_not_have_written_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        attempt_from_row(ANSWERED | wrong)


@given(st.recursive(st.none() | st.integers() | text, lambda v: st.lists(v) | st.dictionaries(text, v)))
def test_any_other_json_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        attempt_from_row(value)


@pytest.mark.parametrize("value", [True, None, "0", "inf", "-Infinity", [0.0], 1e-9, 1e308, math.nan])
def test_what_is_no_log_probability(value: object) -> None:
    with pytest.raises(ValueError, match="log-probability"):
        logprob_from_json(value)


@pytest.mark.parametrize(
    ("text", "raw", "token_id", "key"),
    [
        ("é", "é".encode(), 7, "=é"),
        ("�", b"\xc3", 7, "xc3"),
        ("a", None, None, "=a"),
        ("", None, 128009, "#128009"),
        ("", b"", 128009, "#128009"),
        ("", None, None, "?"),
        ("<|im_end|>", None, 7, "#7"),
        ("<|im_end|>", b"<|im_end|>", None, "?<|im_end|>"),
        ("</s>", None, None, "?</s>"),
        ("<div>", None, None, "=<div>"),
        ("[e~[", b"[e~[", 200020, "#200020"),  # MiniMax
        ("]~b]", b"]~b]", None, "?]~b]"),
        ("<seed:eos>", None, 2, "#2"),
        ("<turn|>", None, 106, "#106"),
        ("</longcat_s>", None, 2, "#2"),
        ("[e]", None, 5, "=[e]"),
        ("\ufffd", "\ufffd".encode(), None, "?\ufffd"),
        ("\ufffd", None, 7, "?#7"),
    ],
)
def test_token_keys(text: str, raw: bytes | None, token_id: int | None, key: str) -> None:
    assert token_key(text, raw, token_id) == key


@pytest.mark.parametrize(("outcome", "settled"), [("answered", True), ("failed", True), ("retried", False)])
def test_a_request_is_settled_by_its_last_attempt(outcome: Any, settled: bool) -> None:
    assert Attempt("a", 0, "p", 0, "t", 0.0, outcome).settled is settled


def test_what_calls_gave_is_matched_with_them_in_order() -> None:
    messages = (
        Message("user", "Both!"),
        Message("assistant", "", (ToolCall("f", "{}"), ToolCall("g", "{}")), "Hm."),
        Message("tool", "1"),
        Message("tool", "2"),
        Message("assistant", "", (ToolCall("h", '{"a": 1}'),)),
        Message("tool", "3"),
    )
    rows = turns(messages)
    made = [call["id"] for row in rows for call in row.get("tool_calls", ())]
    assert made == [row["tool_call_id"] for row in rows if row["role"] == "tool"]
    assert len(set(made)) == 3
    assert [row.get("reasoning_content") for row in rows] == [None, "Hm.", None, None, None, None]
    assert rows[0] == {"role": "user", "content": "Both!"}


def test_calls_thoughts_and_declarations_are_counted_as_read() -> None:
    plain = (Message("user", "é"),)
    assert size_bytes(plain) == 2
    assert size_bytes((*plain, Message("assistant", "", (ToolCall("f", "{}"),), "Hm."))) == 2 + 3 + 3
    assert size_bytes(plain, (Tool("f", "d", {"type": "object"}),)) > 2 + len('"type":"object"')


@pytest.mark.parametrize("calls", [[["f"]], [["f", 1]], [[None, "{}"]], ["f"], 1])
def test_calls_of_another_form_are_refused(calls: Any) -> None:
    row = ANSWERED | {"response": ANSWERED["response"] | {"tool_calls": calls}}
    with pytest.raises((ValueError, TypeError)):
        attempt_from_row(row)
