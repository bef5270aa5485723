from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from qcheck.lab.rounding import NF4_LEVELS, ROUNDINGS, fp8_e4m3, int4, int8, nf4, prune

Matrix = NDArray[np.float32]
Rounding = Callable[[Matrix], Matrix]

EPS = 1e-6  # of float32 arithmetic on scales
SCALED: dict[Rounding, int] = {int8: 256, fp8_e4m3: 256, int4: 128, nf4: 64}  # weights that share a scale in a row

# Weights as an F16 file may hold them: some of a normal distribution, some extreme, some zero.
f16_values = st.floats(width=16, allow_nan=False, allow_infinity=False)


few = settings(max_examples=25, deadline=None)  # each example holds hundreds of weights


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    seed = draw(st.integers(0, 2**32 - 1))
    matrix = np.random.default_rng(seed).standard_normal((2, 256)).astype(np.float16)
    extremes = draw(st.lists(f16_values, max_size=8))
    matrix[0] = 0
    matrix[0, : len(extremes)] = extremes
    return matrix.astype(np.float32)


def in_blocks(matrix: Matrix, size: int) -> Matrix:
    return matrix.reshape(-1, size)


def scales(matrix: Matrix, size: int) -> NDArray[np.float64]:
    """The largest magnitude of each block, one column; 1 where all is zero."""
    largest = np.abs(in_blocks(matrix, size).astype(np.float64)).max(axis=1, keepdims=True)
    return np.where(largest == 0, 1, largest)


def e4m3_values() -> NDArray[np.float64]:
    """All finite values, decoded from the definition: bias 7, the all-ones pattern is NaN."""
    exponent, mantissa = np.divmod(np.arange(127), 8)
    positive = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.unique([-positive, positive])


GRIDS: dict[Rounding, NDArray[np.float64]] = {
    int8: np.arange(-127, 128) / 127,
    fp8_e4m3: e4m3_values() / 448,
    int4: np.arange(-7, 8) / 7,
    nf4: NF4_LEVELS.astype(np.float64),
}


def test_the_nf4_levels_are_normal_quantiles():
    """Dettmers et al.: 8 quantiles above zero, 7 below, the outermost at 0.9677083."""
    tail = 0.9677083
    above = norm.ppf(np.linspace(tail, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(tail, 0.5, 8)[:-1])
    levels = np.sort([*above, 0.0, *below])
    assert np.allclose(NF4_LEVELS, levels / levels.max(), atol=1e-6)


def test_the_grids_have_their_sizes():
    assert {f: len(np.unique(grid)) for f, grid in GRIDS.items()} == {int8: 255, fp8_e4m3: 253, int4: 15, nf4: 16}


@pytest.mark.parametrize("rounding", SCALED)
@few
@given(matrix=matrices())
def test_every_weight_becomes_the_nearest_level(rounding: Rounding, matrix: Matrix):
    size = SCALED[rounding]
    scale = scales(matrix, size)
    before, after = in_blocks(matrix, size) / scale, in_blocks(rounding(matrix), size) / scale
    grid = GRIDS[rounding]
    step = np.abs(after[:, :, None] - grid)
    assert step.min(axis=2).max() < EPS
    assert np.all(np.abs(before - after) <= np.abs(before[:, :, None] - grid).min(axis=2) + EPS)


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@few
@given(matrix=matrices())
def test_rounding_twice_is_rounding_once(rounding: Rounding, matrix: Matrix):
    once = rounding(matrix)
    assert np.allclose(rounding(once), once, rtol=EPS, atol=0)


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@few
@given(matrix=matrices(), exponent=st.integers(-20, 20))
def test_another_unit_of_the_weights_changes_nothing_else(rounding: Rounding, matrix: Matrix, exponent: int):
    unit = np.float32(2.0**exponent)
    assert np.array_equal(rounding(matrix * unit), rounding(matrix) * unit)


@pytest.mark.parametrize("rounding", ROUNDINGS.values())
@few
@given(matrix=matrices())
def test_the_result_is_a_float32_matrix_whose_zeros_stay(rounding: Rounding, matrix: Matrix):
    before = matrix.copy()
    result = rounding(matrix)
    assert (result.dtype, result.shape) == (np.float32, matrix.shape)
    assert np.array_equal(matrix, before)
    assert np.all(result[matrix == 0] == 0)
    assert np.all(result * matrix >= 0)


@pytest.mark.parametrize("rounding", SCALED)
def test_a_scale_is_shared_by_no_more_than_its_group(rounding: Rounding):
    matrix = np.full((2, 256), 1 / 16, np.float32)
    loud = matrix.copy()
    loud[0, 0] = 1e6
    changed = np.flatnonzero(rounding(loud) != rounding(matrix))
    assert changed.max() < SCALED[rounding]
    assert len(changed) == SCALED[rounding]


@few
@given(matrix=matrices())
def test_pruning_takes_the_smallest_fifth_and_no_more(matrix: Matrix):
    pruned = prune(matrix)
    gone = (pruned == 0) & (matrix != 0)
    assert np.array_equal(pruned[~gone], matrix[~gone])
    assert np.count_nonzero(pruned == 0) == max(np.count_nonzero(matrix == 0), matrix.size // 5)
    if gone.any():
        assert np.abs(matrix[gone]).max() <= np.abs(matrix[pruned != 0]).min()
