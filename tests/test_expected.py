from __future__ import annotations

from fractions import Fraction

import pytest

from qcheck.expected import ChoiceAnswer, JsonAnswer, ListAnswer, NumberAnswer, TextAnswer, WordAnswer


def test_a_number_is_exact():
    assert NumberAnswer("0.1").admits(Fraction(1, 10))
    assert not NumberAnswer("1/3").admits(Fraction(333_333, 1_000_000))
    assert NumberAnswer("1/3", tolerance="0.01").admits(Fraction(33, 100))
    assert not NumberAnswer("-2", tolerance="1/2").admits(Fraction("-2.51"))


def test_options_have_letters():
    assert ChoiceAnswer("B", ("x", "y")).by_letter == {"A": "x", "B": "y"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (NumberAnswer, ("1e5",)),
        (NumberAnswer, ("1/0",)),
        (NumberAnswer, ("",)),
        (NumberAnswer, ("1", "about 2")),
        (ChoiceAnswer, ("C", ("x", "y"))),
        (ChoiceAnswer, ("A", ("x",))),
        (WordAnswer, (" ",)),
        (WordAnswer, ("maybe", (), ("yes", "no"))),
        (ListAnswer, ((),)),
        (ListAnswer, (("a, b", "c"),)),
        (TextAnswer, ("two\nlines",)),
        (JsonAnswer, (3,)),
    ],
)
def test_what_could_never_be_answered_is_refused(kind, values):
    with pytest.raises(ValueError):
        kind(*values)
