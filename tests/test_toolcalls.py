from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.expected import ToolCallsAnswer, WantedCall
from qcheck.grading import grade
from qcheck.records import Response, ToolCall
from qcheck.toolcalls import fits, made_of, read_made

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 0.5, 1.0]) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "object", "array"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": TYPES}, optional={"enum": st.lists(VALUES, min_size=1, max_size=3)}),
    lambda inner: st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array"])},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "items": inner,
        },
    ),
    max_leaves=4,
)
WANTED = ToolCallsAnswer((WantedCall("f", {"a": 1, "b": [True]}), WantedCall("g", {})))
NOTHING = ToolCallsAnswer(())


def response(*calls: tuple[str, str], text: str = "") -> Response:
    made = tuple(ToolCall(*call) for call in calls)
    return Response(text, (), None, None, None, "tool_calls", None, None, tool_calls=made)


def right(expected: ToolCallsAnswer, *calls: tuple[str, str], text: str = "") -> bool:
    return grade(made_of(response(*calls, text=text)), expected)


@given(VALUES, SCHEMAS)
def test_a_value_fits_a_schema_as_the_standard_says(value: Any, schema: dict[str, Any]) -> None:
    assert fits(value, schema) == jsonschema.Draft202012Validator(schema).is_valid(value)


F, G = ("f", '{"b": [true], "a": 1.0}'), ("g", "{}")


@pytest.mark.parametrize("calls", [[F, G], [G, F]])
def test_order_of_calls_and_of_keys_and_form_of_numbers_do_not_count(calls: list[tuple[str, str]]) -> None:
    assert right(WANTED, *calls)
    assert right(WANTED, *calls, text="I call both.")


@pytest.mark.parametrize(
    "calls",
    [
        [], [F], [F, G, G], [F, F],
        [("h", F[1]), G],
        [("f", '{"a": 1}'), G],
        [("f", '{"a": 1, "b": [1]}'), G],
        [("f", '{"a": "1", "b": [true]}'), G],
        [("f", '{"a": 1, "b": [true], "c": null}'), G],
        [("f", F[1][:-1]), G],
        [("f", F[1]), ("g", "")],
        [("f", F[1]), ("g", "[]")],
        [("f", F[1]), ("g", "null")],
        [("f", '{"a": 2, "a": 1, "b": [true]}'), G],
        [("f", F[1]), ("g", "[" * 100_000)],
    ],
)  # fmt: skip
def test_other_calls_are_wrong(calls: list[tuple[str, str]]) -> None:
    assert not right(WANTED, *calls)


def test_where_nothing_is_to_be_called_something_is_to_be_said() -> None:
    assert right(NOTHING, text="None of them can do that.")
    assert not right(NOTHING)
    assert not right(NOTHING, G, text="I call g.")


def test_a_call_that_was_refused_is_wrong_where_nothing_is_to_be_called() -> None:
    refused = Response("<call g>", (), None, None, None, "tool_use_failed", None, None)
    assert not grade(made_of(refused), NOTHING)
    assert grade(made_of(replace(refused, finish_reason="stop")), NOTHING)


def test_a_text_that_looks_like_a_call_is_none() -> None:
    kept = made_of(response(F, G))
    assert not right(WANTED, text=kept)
    assert not right(WANTED, text=json.dumps({"name": "f", "arguments": {"a": 1}}))


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4), st.text(), st.none() | st.text())
def test_whatever_is_called_can_be_kept_and_read(calls: list[tuple[str, str]], text: str, reason: str | None) -> None:
    made = tuple(ToolCall(*call) for call in calls)
    read = read_made(made_of(Response(text, (), None, None, None, reason, None, None, tool_calls=made)))
    assert sorted(call.name for call in read.calls) == sorted(name for name, _ in calls)
    assert (read.says, read.finish_reason) == (bool(text.strip()) and reason != "tool_use_failed", reason)
    assert not grade(made_of(response(*calls)), ToolCallsAnswer((WantedCall("f", {"a": 1}), *WANTED.value)))


@given(st.text())
def test_any_text_can_be_graded(text: str) -> None:
    assert not grade(text, WANTED)
    assert not grade(text, NOTHING)


@pytest.mark.parametrize(
    "calls",
    [
        [(f"functions.{F[0]}:0", F[1]), (f"functions.{G[0]}:1", G[1])],
        [(F[0], json.dumps(F[1])), (G[0], json.dumps(G[1]))],
    ],
    ids=["Kimi K2's own names", "arguments encoded twice"],
)
def test_how_a_server_passes_a_call_on_does_not_count(calls: list[tuple[str, str]]) -> None:
    assert right(WANTED, *calls)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        "<function=f>{}</function>",
        '[TOOL_CALLS][{"name": "f", "arguments": {}}]',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f",
        '<minimax:tool_call>\n<invoke name="f">',
    ],
)
def test_a_call_that_was_not_read_out_of_the_text_says_nothing(text: str) -> None:
    assert not read_made(made_of(response(text=text))).says
    assert read_made(made_of(response(text="I would call the tool f, whose name is 'f'."))).says


@pytest.mark.parametrize("calls", [[1], [["a", 5]], [["a"]], {}])
def test_what_was_never_kept_is_no_answer(calls: Any) -> None:
    with pytest.raises(ValueError, match="not what is kept"):
        read_made(json.dumps({"calls": calls, "says": True, "finish_reason": None}))


def test_true_is_not_one_in_the_second_of_two_calls_either() -> None:
    twice = ToolCallsAnswer((WantedCall("f", {"x": 1}), WantedCall("f", {"x": 1})))
    assert right(twice, ("f", '{"x": 1}'), ("f", '{"x": 1.0}'))
    assert not right(twice, ("f", '{"x": true}'), ("f", '{"x": 1}'))
