"""Which tokens of an answer and of a recording are the same."""

from __future__ import annotations

import numpy as np
import pytest

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.alignment import align, names_otherwise, rescaled
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


@pytest.mark.parametrize(
    ("factor", "noise", "found"),
    [
        (100.0, 0.0, True),  # after a temperature of 0.01
        (1 / np.log(2), 0.0, True),  # to base 2
        (0.3, 0.01, True),  # the reference lists after a temperature
        (1.0, 0.01, False),
        (1.2, 0.0, False),  # a temperature that was retuned
        (1.5, 1.5, False),  # another model
    ],
)
def test_what_differs_by_a_factor_alone_is_known(factor: float, noise: float, found: bool) -> None:
    rng = np.random.default_rng(2)

    def said(lists: list[np.ndarray]) -> Answer:
        tops = [sorted(((f"={i}", float(v)) for i, v in enumerate(x)), key=lambda p: -p[1]) for x in lists]
        return Answer(1, tuple(Position("=a", top[0][1], tuple(top)) for top in tops))

    def normal(values: np.ndarray) -> np.ndarray:
        return values - np.log(np.exp(values - values.max()).sum()) - values.max()

    lists = [normal(rng.normal(0, 2, 20)) for _ in range(3)]
    reference = ProbeReference(tuple((said([x + rng.normal(0, 0.01, 20) for x in lists]),) for _ in range(2)))
    alignment = align(said([normal(factor * x + rng.normal(0, noise, 20)) for x in lists]), reference, range(2))
    assert alignment
    assert rescaled(alignment, range(2)) == found
