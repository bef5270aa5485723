"""Which tokens of an answer and of a recording are the same."""

from __future__ import annotations

import numpy as np
import pytest

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.alignment import align, names_otherwise
from qcheck.records import Position


@pytest.mark.parametrize(
    ("key", "other", "same"),
    [
        ("= the", "=Ġthe", True),
        ("= the", "=▁the", True),
        ("= the", "=the", True),
        ("=\n", "=Ċ", True),
        ("=\n", "=<0x0A>", True),
        ("=é", "=Ã©", True),
        ("xe4b0", "=ä°", True),
        ("= the", "=then", False),
        ("=a", "=b", False),
    ],
)
def test_a_token_by_another_name_is_known(key: str, other: str, same: bool) -> None:
    def answer(first: str) -> Answer:
        top = ((first, -0.5), ("=x", -1.5), ("=y", -3.0))
        return Answer(9, (Position(first, -0.5, top),))

    assert names_otherwise(answer(other), ProbeReference(((answer(key),),) * 2), [0, 1]) == same


def test_a_name_that_a_reference_lists_too_is_a_token_of_its_own() -> None:
    def answer(*top: tuple[str, float]) -> Answer:
        return Answer(9, (Position(*top[0], top),))

    recorded = answer(("= 42", -0.5), ("=42", -1.5), ("=y", -3.0))
    deviating = answer(("=42", -0.5), ("=y", -1.5), ("=z", -3.0))
    assert not names_otherwise(deviating, ProbeReference(((recorded,),) * 2), [0, 1])


@pytest.mark.parametrize("nothing", [(), (("=a", -np.inf),)])
@pytest.mark.parametrize("further", [0, 1])
def test_an_answer_is_compared_up_to_where_nobody_listed_anything(
    nothing: tuple[tuple[str, float], ...], further: int
) -> None:
    """Some servers list nothing at the token that ends an answer."""
    top = (("=a", -0.1), ("=b", -2.0))
    shows, hides = Position("=a", -0.1, top), Position("=a", None, nothing)
    recorded = Answer(9, (shows, hides, *[shows] * further))
    alignment = align(Answer(9, (shows,) * (2 + further)), ProbeReference(((recorded,),) * 3), (0, 1, 2))
    assert alignment is not None
    assert alignment.positions.tolist() == [0, 0]
