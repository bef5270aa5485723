from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.numerals import lone_number, numbers


def values(text: str, **how: bool) -> list[Fraction]:
    return [value for _, value in numbers(text, **how)]


@given(st.integers(), st.integers(0, 6))
def test_decimals_are_exact(digits, places):
    value = Fraction(digits, 10**places)
    whole, decimals = divmod(abs(digits), 10**places)
    written = f"{'-' if digits < 0 else ''}{whole}" + (f".{decimals:0{places}d}" if places else "")
    assert values(f"about {written} metres") == [value]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("between 3 and -4.5", ["3", "-4.5"]),
        ("5-7", ["5", "7"]),
        ("1,234,567 or 1 234", ["1234567", "1234"]),
        ("0,125", ["0.125"]),
        ("1.234.567", ["1234567"]),
        (".5", ["0.5"]),
        ("3 + 4 = 7", ["7"]),
        ("25 %", ["1/4"]),
        ("twenty", ["20"]),
        ("Seven apples", ["7"]),
        ("42km", ["42"]),
        ("答案是42个", ["42"]),
    ],
)
def test_numbers_are_read_in_order(text, said):
    assert values(text) == [Fraction(x) for x in said]


@pytest.mark.parametrize("text", ["H2O", "v1.2.3", "1e5", "10^6", "1" * 41, "one hundred", "seventeenth", "3.", "x2"])
def test_what_is_no_plain_number_is_not_read_as_another(text):
    assert values(text) == ([Fraction(3)] if text == "3." else [])


def test_a_fraction_is_one_number_only_where_asked():
    assert values("1 1/2") == [Fraction(3, 2)]
    assert values("-3/4") == [Fraction(-3, 4)]
    assert values("3/4", fractions=False) == [Fraction(3), Fraction(4)]
    assert values("3/0") == []


def test_a_percentage_is_what_was_asked_for():
    assert values("12.5 %", percent=True) == values("12.5", percent=True) == [Fraction(25, 2)]


def test_positions_are_those_of_the_statement():
    statement = "x + 1 = 2 and 1/2 or 77"
    assert [statement[at:].split(maxsplit=1)[0] for at, _ in numbers(statement)] == ["1/2", "2", "77"]


@pytest.mark.parametrize(("text", "value"), [("-1,234.5", "-1234.5"), ("3/4", "3/4"), ("50%", "1/2")])
def test_a_lone_number_is_a_number_and_nothing_else(text, value):
    assert lone_number(text) == Fraction(value)
    assert lone_number(f"{text} km") is lone_number(f"{text} and {text}") is lone_number("") is None


LOOKALIKES = {"i": "ıİiI", "s": "ſsS", "k": "\u212akK"}  # which `re` takes for one another without regard to case
NUMBER_WORDS = ("five", "six", "seven", "eight", "nine", "thirteen", "fifteen", "sixteen", "eighteen", "nineteen")


@given(st.sampled_from(NUMBER_WORDS).flatmap(lambda w: st.tuples(*(st.sampled_from(LOOKALIKES.get(c, c)) for c in w))))
def test_number_words_in_letters_of_other_alphabets_are_no_numbers(letters):
    word = "".join(letters)
    assert values(word) == (values(word.lower()) if word.isascii() else [])
    assert len(values(word)) == word.isascii()


@given(st.text())
def test_any_text_is_read(text):
    assert all(0 <= at < len(text) for at, _ in numbers(text))
