"""Weight formats that are made by rounding: a matrix as it would be after quantising and dequantising it.

Each function takes and returns a float32 matrix (rows, columns) whose rows belong to output channels and whose columns
to inputs. All scale so that the largest magnitude that shares a scale becomes the largest level (absmax scaling); what
is zero stays zero, and rounding twice is, up to the last bit, rounding once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from qcheck.lab.catalog import Format

__all__ = ["NF4_LEVELS", "ROUNDINGS", "fp8_e4m3", "int4", "int8", "nf4", "prune"]

Matrix = NDArray[np.float32]

E4M3_MAX: Final = 448.0
INT4_GROUP: Final = 128
NF4_BLOCK: Final = 64
PRUNED_SHARE: Final = 0.2

# Quantiles of the normal distribution with zero among them, scaled to [-1, 1].
NF4_LEVELS: Final = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    dtype=np.float32,
)  # fmt: skip
_NF4_MIDPOINTS: Final = (NF4_LEVELS[1:] + NF4_LEVELS[:-1]) / 2


def _on_grid(values: Matrix, largest: float, to_grid: Callable[[Matrix], Matrix]) -> Matrix:
    """Scale what lies along the last axis to magnitudes of at most `largest`, round by `to_grid`, scale back."""
    scale = np.abs(values).max(axis=-1, keepdims=True) / np.float32(largest)
    scale[scale == 0] = 1
    rounded: Matrix = to_grid(values / scale) * scale
    return rounded


def _in_groups(matrix: Matrix, size: int, largest: float, to_grid: Callable[[Matrix], Matrix]) -> Matrix:
    """`_on_grid` with one scale for each `size` neighbouring inputs; the columns are a multiple of it."""
    rows, columns = matrix.shape
    return _on_grid(matrix.reshape(rows, columns // size, size), largest, to_grid).reshape(rows, columns)


def int8(matrix: Matrix) -> Matrix:
    """Symmetric 8-bit integers, -127 to 127, one scale an output channel."""
    return _on_grid(matrix, 127, np.rint)


def fp8_e4m3(matrix: Matrix) -> Matrix:
    """8-bit floats with 4 bits of exponent and 3 of mantissa, one scale an output channel.

    References
    ----------
    Micikevicius et al. 2022, FP8 formats for deep learning, arXiv:2209.05433, section 3.
    """
    return _on_grid(matrix, E4M3_MAX, lambda scaled: scaled.astype(ml_dtypes.float8_e4m3fn).astype(np.float32))


def int4(matrix: Matrix) -> Matrix:
    """Symmetric 4-bit integers, -7 to 7, one scale for each 128 inputs of a channel."""
    return _in_groups(matrix, INT4_GROUP, 7, np.rint)


def nf4(matrix: Matrix) -> Matrix:
    """The nearest of the 16 NormalFloat levels, one scale for each 64 inputs of a channel.

    References
    ----------
    Dettmers et al. 2023, QLoRA, arXiv:2305.14314, section 3 and appendix E; without its double quantisation.
    """
    return _in_groups(matrix, NF4_BLOCK, 1, lambda scaled: NF4_LEVELS[np.searchsorted(_NF4_MIDPOINTS, scaled)])


def prune(matrix: Matrix) -> Matrix:
    """The matrix with the fifth of its weights that is smallest in magnitude set to zero.

    References
    ----------
    Han et al. 2015, Learning both weights and connections for efficient neural networks, arXiv:1506.02626.
    """
    count = int(PRUNED_SHARE * matrix.size)
    pruned = matrix.flatten()
    # A stable order, so that among equal magnitudes every machine chooses the same.
    pruned[np.argsort(np.abs(pruned), kind="stable")[:count]] = 0
    return pruned.reshape(matrix.shape)


ROUNDINGS: Final[Mapping[Format, Callable[[Matrix], Matrix]]] = {
    "INT8": int8,
    "FP8": fp8_e4m3,
    "INT4": int4,
    "NF4": nf4,
    "PRUNED": prune,
}
