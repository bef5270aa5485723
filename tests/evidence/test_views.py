from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qcheck.baselines import Answer
from qcheck.evidence.views import (
    STEPS,
    UNTOLD_STEP,
    VIEWS,
    View,
    few_digits,
    lattice_step,
    logit_step,
    rounding_step,
    value_step,
    view_beyond,
)
from qcheck.records import Position

UNIT = 0.018  # of the noise, nats


def answer(values: np.ndarray) -> Answer:
    """One position for each row of log-probabilities, the largest first."""
    lists = [tuple((f"={i}", float(v)) for i, v in enumerate(sorted(row, reverse=True))) for row in values]
    return Answer(9, tuple(Position(top[0][0], top[0][1], top) for top in lists))


def values(seed: int, k: int = 20, positions: int = 2) -> np.ndarray:
    return -np.random.default_rng(seed).exponential(4, (positions, k))


@given(st.integers(0, 10_000), st.integers(5, 20))
def test_values_as_engines_give_them_lie_on_no_grid(seed: int, k: int) -> None:
    assert lattice_step(answer(values(seed, k)).positions) == 0.0


@given(st.integers(0, 10_000), st.sampled_from(STEPS))
def test_rounding_is_seen_as_a_grid_no_finer_than_it_is(seed: int, step: float) -> None:
    rounded = np.round(values(seed) / step) * step
    assert lattice_step(answer(rounded).positions) >= step


@given(st.integers(0, 10_000), st.sampled_from([1 / 8, 1 / 16]))
def test_logits_in_bfloat16_leave_a_grid_of_differences(seed: int, step: float) -> None:
    logits = np.round((20 + values(seed)) / step) * step
    shifted = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert lattice_step(answer(shifted).positions) >= step


def test_a_coarse_grid_shows_through_some_values_on_a_finer_one() -> None:
    """Logits below a power of two lie on a lattice half as coarse."""
    logits = 20 + values(2, positions=4) / 2
    step = np.where(logits > 16, 1 / 8, 1 / 32)
    on_grid = np.round(logits / step) * step
    assert 0.8 < (logits > 16).mean() < 0.95
    assert lattice_step(answer(on_grid - 20).positions) == 1 / 8


@given(st.integers(0, 10_000))
def test_the_largest_logits_may_lie_on_a_lattice_that_no_difference_shows(seed: int) -> None:
    """Just above 32 bfloat16 rounds to 1/4, just below to 1/8: the error of the first is in every value of the list."""
    exact = 31 + values(seed, positions=4)
    exact[:, 0] = 32.5
    step = np.where(exact > 32, 1 / 4, 1 / 8)
    logits = np.round(exact / step) * step
    lists = answer(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).positions
    assert lattice_step(lists) >= 1 / 8
    assert rounding_step(lists) >= 1 / 4
    assert view_beyond(VIEWS[0], None, rounding_step(lists), UNIT) is None
    # References as noisy as that have shown it, and are compared with.
    assert rounding_step(lists, fine=1 / 4) == lattice_step(lists)
    # Values that lie on a coarser grid by chance may be taken for logits that do.
    rounded = answer(np.round(values(seed) * 8) / 8).positions
    assert 1 / 8 <= lattice_step(rounded) <= rounding_step(rounded) <= 2 * lattice_step(rounded)


def of_logits(logits: np.ndarray) -> Answer:
    """One position for each row of logits in bfloat16."""
    rounded = bfloat16(logits)
    return answer(rounded - np.log(np.exp(rounded).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize(("first", "ahead", "step"), [(21.0, 13.5, 1 / 8), (36.0, 22.0, 1 / 4), (9.0, 0.5, 1 / 16)])
def test_the_lattice_of_a_first_logit_that_is_far_ahead_is_reckoned_with(
    first: float, ahead: float, step: float
) -> None:
    """Its error is in every value of the list; where it is sure, the values lie on the grid of the differences."""
    exact = first - ahead - np.random.default_rng(1).uniform(0, first - ahead - 4, (4, 20))
    exact[:, 0] = first
    lists = of_logits(exact).positions
    assert logit_step(lists) >= step
    assert logit_step(answer(exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))).positions) == 0.0


@given(st.integers(0, 10_000), st.sampled_from([1 / 8, 1 / 16, 0.1, 0.05]))
def test_values_on_a_grid_are_no_logits_on_a_lattice(seed: int, step: float) -> None:
    assert logit_step(answer(np.round((values(seed, positions=4) - 0.5) / step) * step).positions) == 0.0


@given(st.integers(0, 10_000))
def test_two_decimals_hide_no_lattice(seed: int) -> None:
    exact = 17 + values(seed, positions=4) / 5
    hidden = answer(np.round([[v for _, v in p.top] for p in of_logits(exact).positions], 2)).positions
    assert logit_step(hidden) >= 1 / 8
    plain = answer(np.round(values(seed, positions=4), 2)).positions
    assert logit_step(plain) == 0.0


def test_a_lattice_of_logits_is_not_rounded_once_more() -> None:
    exact = 16 + values(3, positions=4) / 3  # none above 16, most above 8: their lattice is 1/16
    logits = np.round(exact * 16) / 16
    seen = answer(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    assert lattice_step(seen.positions) == 1 / 16
    assert VIEWS[2].of(seen) is seen
    fine = answer(np.round(exact * 32) / 32 - 16.01)  # as PyTorch's bfloat16 of the lab, which was counted rounded
    assert lattice_step(fine.positions) == 1 / 32
    assert VIEWS[1].of(fine) != fine


@pytest.mark.parametrize(
    ("tokens", "step", "name"),
    [
        (None, 0.0, "full"),
        (None, 1 / 32, "full"),
        (None, 0.05, "step16"),
        (None, 1 / 16, "step16"),
        (None, 0.1, "step8"),
        (None, 1 / 8, "step8"),
        (None, 0.25, None),
        (19, 0.0, "top5"),
        (5, 1 / 16, "top5-step8"),
        (4, 0.0, None),
    ],
)
def test_the_fullest_view_that_an_answer_fills(tokens: int | None, step: float, name: str | None) -> None:
    view = view_beyond(VIEWS[0], tokens, step, UNIT)
    assert (view and view.name) == name


def test_a_provider_s_view_only_becomes_narrower() -> None:
    by_name = {v.name: v for v in VIEWS}
    assert view_beyond(by_name["step8"], None, 0.0, UNIT) is by_name["step8"]
    assert view_beyond(by_name["top5"], None, 0.0, UNIT) is by_name["top5"]
    assert view_beyond(by_name["top5"], None, 1 / 16, UNIT) is by_name["top5-step8"]
    assert view_beyond(by_name["step16"], 5, 0.0, UNIT) is by_name["top5-step8"]


def test_a_view_shows_what_a_provider_would_have_listed() -> None:
    exact = answer(values(1, positions=4))
    assert VIEWS[0].of(exact) is exact
    for view in VIEWS[1:]:
        seen = view.of(exact)
        assert view_beyond(VIEWS[0], view.tokens, lattice_step(seen.positions), UNIT) is view
        assert view.of(seen) == seen
        for before, after in zip(exact.positions, seen.positions, strict=True):
            assert len(after.top) == (view.tokens or 20)
            assert after.token == before.token
            moved = [abs(a - b) for (_, a), (_, b) in zip(before.top, after.top, strict=False)]
            assert max(moved) <= view.step / 2 + 1e-12


def test_zero_probability_and_few_values_are_no_grid() -> None:
    lists = (("=a", -0.0), ("=b", -np.inf), ("=c", -np.inf))
    assert lattice_step((Position("=a", 0.0, lists),)) == 0.0
    assert lattice_step(()) == 0.0
    assert View("full").of(Answer(1, ())) == Answer(1, ())


def bfloat16(values: np.ndarray) -> np.ndarray:
    fractions, exponents = np.frexp(values)
    return np.ldexp(np.round(fractions * 2**8), exponents - 8)


@given(st.integers(0, 10_000), st.sampled_from([12.0, 20.0, 28.0]))
def test_a_softmax_in_bfloat16_hides_what_the_logits_lie_on(seed: int, largest: float) -> None:
    logits = bfloat16(largest + values(seed, positions=4))
    shifted = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert not few_digits(answer(shifted).positions)
    hidden = answer(bfloat16(shifted)).positions
    step = rounding_step(hidden)
    assert step == UNTOLD_STEP or step > 1 / 32
    assert view_beyond(VIEWS[0], None, UNTOLD_STEP, UNIT) is None


@given(st.integers(0, 10_000))
def test_two_significant_digits_are_few_and_full_values_are_not(seed: int) -> None:
    given = values(seed, positions=4)
    assert not few_digits(answer(given).positions)
    scale = 10.0 ** (1 - np.floor(np.log10(-given)))
    assert few_digits(answer(np.round(given * scale) / scale).positions)


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 4]))
def test_logarithms_of_rounded_probabilities_are_few_digits(seed: int, places: int) -> None:
    probabilities = np.exp(values(seed))
    probabilities = probabilities[probabilities > 10.0**-places][None]
    assume(probabilities.size >= 8)
    assert few_digits(answer(np.log(np.round(probabilities, places))).positions)
    assert not few_digits(answer(np.log(probabilities)).positions)


def test_the_grid_of_values_is_none_where_only_differences_lie_on_one() -> None:
    rounded = answer(np.round(values(3) * 8) / 8).positions
    assert value_step(rounded) >= 1 / 8
    logits = np.round((20 + values(3)) * 8) / 8
    assert value_step(answer(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).positions) == 0.0
