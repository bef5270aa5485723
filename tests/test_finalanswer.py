from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.finalanswer import passages, plain, statements, without_reasoning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>a</think>b", "b"),
        ("a<Thinking>b</Thinking>c", "a c"),
        ("the template opened it</think>b", "b"),
        ("a<think>never closed", "a"),
        ("a<think>b<think>c</think>d", "a d"),
        ("a < b > c", "a < b > c"),
    ],
)
def test_reasoning_is_left_out(text, said):
    assert " ".join(without_reasoning(text).split()) == said


def test_of_a_long_text_the_end_is_read():
    assert without_reasoning("x" * 1_000_000 + " end").endswith("x end")
    assert len(without_reasoning("x" * 1_000_000)) < 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**bold** __bold__ `code` *it* _it_", "bold bold code it it"),
        ("2 * 3 * 4 and a_b_c", "2 * 3 * 4 and a_b_c"),
        ("```python\nx = 1\n```", "x = 1"),
        ("## Title\n> quoted", "Title\nquoted"),
        (r"\(\frac{1}{2}\)", "1/2"),
        (r"$\text{cm}$ and \$5", "cm and 5"),
        (r"so \boxed{\dfrac{3}{4}}.", "so\nAnswer: 3/4\n."),
        ("1\N{NO-BREAK SPACE}000\t x  ", "1 000 x"),
        ("\N{MINUS SIGN}5 \N{LEFT DOUBLE QUOTATION MARK}a\N{RIGHT DOUBLE QUOTATION MARK}", '-5 "a"'),
        ("2½, x² and 10²", "2 1/2, x2 and 10^2"),
    ],
)
def test_markup_becomes_plain(text, said):
    assert plain(text) == said


@given(st.text("ab01 .,-=()[]{}:;\n"))
def test_what_is_plain_stays_so(text):
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42",
        "the final answer to all of it is: 42",
        "Answer: 42",
        "Result = 42",
        "Answer\n42",
        "Answer: 41\nAnswer: 42",
        "Die Lösung lautet 42",
        "答案：42",
    ],
)
def test_an_announced_answer_comes_first(text):
    assert next(passages(plain(text))) == "42"


@pytest.mark.parametrize(
    "text", ["The answer is not 42", '{"answer": 42}', "no answers: 42", "I answered 42", "Answer:"]
)
def test_what_announces_nothing_is_read_as_a_whole(text):
    assert list(passages(text)) == [text]


def test_a_statement_has_neither_reasons_nor_asides():
    text = "Answer: B (the city), because A is wrong at 0.5 places. C is, too."
    assert list(statements(text)) == ["B", "Answer: B. C is, too."]
    assert next(statements("The answer is B. Paris")) == "B. Paris"
