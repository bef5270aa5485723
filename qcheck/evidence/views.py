"""How much of its log-probabilities a provider shows: all that was recorded, fewer tokens, or values on a coarse grid.

What honest answers look like depends on how much of them is seen, so every view has tail counts of its own, made from
the recorded answers as that view would have shown them.

A grid comes from rounding, or from logits in bfloat16, which lie on a lattice of 1/16 between 8 and 16 and of 1/8
between 16 and 32: the differences within a list are then multiples of the step. Of logits the largest may lie on a
lattice twice as coarse as the others, which no difference shows, and its error is in every value of the list: so where
differences lie on a grid coarser than the references' noise and the values themselves do not, the step is taken to be
twice that of the differences. Where the first token is far ahead, its logit may lie on a coarser one still, and where
it is sure its value is about 0, so that the values lie on the grid of the differences whatever was rounded
(`logit_step`). Values with two decimals hide a lattice, which is looked for to within a hundredth. Where the values
have few significant digits themselves, as after a softmax in bfloat16, no difference shows what the logits lie on, and
no view is coarse enough. A view covers every step up to its own. How coarse one list comes out depends on its values,
so an answer must not choose the view that it is judged in: the answers before it do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcheck.baselines import Answer
from qcheck.records import Position
from qcheck.tailcounts import FULL

__all__ = [
    "FINE",
    "UNTOLD_STEP",
    "VIEWS",
    "View",
    "few_digits",
    "lattice_step",
    "logit_step",
    "rounding_step",
    "value_step",
    "view_beyond",
]


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of an answer: its `tokens` best ones at each position, all if None, on a grid of `step` nats."""

    name: str
    tokens: int | None = None
    step: float = 0.0

    def of(self, answer: Answer) -> Answer:
        """An answer as this view shows it; one that lies on about as coarse a grid is not rounded once more."""
        step = 0.0 if self.step and rounding_step(answer.positions) > self.step / 2 else self.step
        if self.tokens is None and not step:
            return answer
        return replace(answer, positions=tuple(self._position(p, step) for p in answer.positions))

    def _position(self, position: Position, step: float) -> Position:
        def coarse(value: float) -> float:
            return round(value / step) * step if step and isfinite(value) else value

        top = tuple((key, coarse(value)) for key, value in position.top[: self.tokens])
        logprob = None if position.logprob is None else coarse(position.logprob)
        return Position(position.token, logprob, top)

    def covers(self, tokens: int | None, step: float) -> bool:
        """Whether lists of `tokens` entries, None for as many as were recorded, on a grid of `step`, fill this view."""
        return step <= self.step and (tokens is None or (self.tokens is not None and tokens >= self.tokens))


VIEWS: Final = (
    View(FULL),
    View("step16", step=1 / 16),
    View("step8", step=1 / 8),
    View("top5", 5),
    View("top5-step8", 5, 1 / 8),
)
# A grid adds step/√12 nats rms. Up to a step of so many noise units, 0.6 units rms, the noise factor of 1.5 allows for
# it, and it counts as none.
FINE: Final = 2.0
# Decimals, powers of two and their multiples, from the coarsest that is looked for to the finest that matters.
STEPS: Final = np.array(
    sorted({*(i / 16 for i in range(1, 17)), *(i / 20 for i in range(1, 21)), 1 / 32, 1 / 64, 0.025, 0.02, 0.01})[::-1]
)
TOLERANCE: Final = 2e-4
# Lattices of logits below 8, and finer ones, count as they are where the noise of references is not known.
SMALL_LOGITS: Final = 1 / 32
# Of values with few significant digits: no view has as coarse a step.
UNTOLD_STEP: Final = 1.0
SMALLEST: Final = 0.1  # nats; of smaller values every digit is significant
DIGIT: Final = 1e-5  # nats
SIGNIFICANT: Final = 8  # bits of a number in bfloat16
SURE: Final = 1e-3  # nats that a token's value may miss 0 by which is as good as alone
HUNDREDTH: Final = 0.01  # nats: values so rounded hide on which lattice the logits lay
FINEST_HIDDEN: Final = 1 / 16  # the finest that chance does not show in them
LATTICES: Final = tuple(2.0**-i for i in range(7))
FEWEST, MANY = 4, 32  # differences from which a grid can be told from chance, and told well
# Of the differences, how many lie on the grid: of values on one half as coarse every other one does by chance.
SHARE, SHARE_OF_FEW = 0.75, 0.9


def lattice_step(positions: Sequence[Position], within: float = TOLERANCE) -> float:
    """The coarsest of `STEPS` on which most differences within the lists lie, in nats; 0 where none fits.

    Most, not all: logits of bfloat16 lie on the coarser a lattice the larger they are. within: how near to it, nats.
    """
    lists = [np.array([v for _, v in p.top if v > -np.inf]) for p in positions]
    differences = np.concatenate([np.zeros(0), *(values[1:] - values[0] for values in lists if len(values))])
    fits = STEPS[_on_grid(differences, STEPS, within)]
    return float(fits[0]) if len(fits) else 0.0


def value_step(positions: Sequence[Position]) -> float:
    """The grid that the values themselves lie on, in nats; 0 for none, and for a lattice of logits."""
    step = lattice_step(positions)
    values = _values(positions)
    return step if step and _on_grid(values, step).all() else 0.0


def rounding_step(positions: Sequence[Position], fine: float = SMALL_LOGITS) -> float:
    """The step that values, or the logits that they come from, may have been rounded to, in nats; 0 for none.

    Twice `lattice_step` where that is a lattice of logits, and coarser than `fine`; `UNTOLD_STEP` where it is not
    coarser, and the values have few significant digits.
    """
    step = lattice_step(positions)
    values = _values(positions)
    on_grid = step > 0 and bool(_on_grid(values, step).all())
    if (step <= SMALL_LOGITS or (step <= fine and not on_grid)) and few_digits(positions):
        return UNTOLD_STEP
    return step if step <= fine or on_grid else 2 * step


def logit_step(positions: Sequence[Position]) -> float:
    """The lattice that the largest logit of any list may lie on, nats; 0 where the differences lie on none, or the
    values, too, on the same grid.

    Numbers of 8 significant bits on a lattice of s are less than 256 s, and the first token is ahead of those. Only
    lists whose first token is not sure tell values on a grid from logits on a lattice; where there is no such list it
    is taken for a lattice, if it can be one.
    """
    step = lattice_step(positions)
    hidden = lattice_step(positions, HUNDREDTH) if step == HUNDREDTH and len(_values(positions)) > MANY else 0.0
    if hidden >= FINEST_HIDDEN:
        step = hidden
    elif step not in LATTICES or _on_grid(_values([p for p in positions if p.top and p.top[0][1] < -SURE]), step).all():
        return 0.0
    lists = [[value for _, value in p.top if value > -np.inf] for p in positions]
    ahead = max((values[0] - values[1] for values in lists if len(values) > 1), default=0.0)
    return float(max(2 * step, 2.0 ** (np.floor(np.log2(2**SIGNIFICANT * step + ahead)) + 1 - SIGNIFICANT)))


def few_digits(positions: Sequence[Position]) -> bool:
    """Whether most values have 8 significant bits, as in bfloat16, or 2 significant decimal digits, or are logarithms
    of probabilities that have 4 decimal places or fewer."""
    values = _values(positions)
    values = values[np.abs(values) > SMALLEST]
    if len(values) < FEWEST:
        return False
    decimals = 10.0 ** (1 - np.floor(np.log10(np.abs(values))))
    fractions, exponents = np.frexp(values)
    bits = np.ldexp(np.round(fractions * 2**8), exponents - 8)
    places = np.round(np.exp(values) * 1e4) / 1e4
    logarithms = np.log(places, out=np.full_like(values, -np.inf), where=places > 0)
    return any(
        bool((np.abs(values - rounded) <= DIGIT).mean() >= SHARE)
        for rounded in (bits, np.round(values * decimals) / decimals, logarithms)
    )


def _values(positions: Sequence[Position]) -> NDArray[np.float64]:
    """All that is listed with a probability above 0."""
    return np.array([v for p in positions for _, v in p.top if v > -np.inf])


def _on_grid(values: NDArray[np.float64], steps: ArrayLike, within: float = TOLERANCE) -> NDArray[np.bool_]:
    """(steps,) whether most values that are not 0 are multiples of each; False where they are too few to tell."""
    values, grid = values[values != 0], np.atleast_1d(np.asarray(steps, float))
    off = np.abs(values[:, None] - grid * np.round(values[:, None] / grid))
    share = SHARE if len(values) >= MANY else SHARE_OF_FEW
    found: NDArray[np.bool_] = (off <= within).sum(axis=0) >= share * max(len(values), FEWEST)
    return found


def view_beyond(view: View, tokens: int | None, step: float, unit: float) -> View | None:
    """The fullest view that shows no more than `view` and that lists of `tokens` entries on a grid of `step` fill.

    tokens: None for as many as were recorded. unit: of the noise, nats.
    """
    coarse = 0.0 if step <= FINE * unit else step
    narrower = (v for v in VIEWS if v.step >= view.step and (view.tokens is None or v.tokens is not None))
    fitting = (v for v in narrower if v.covers(tokens, coarse))
    return min(fitting, key=lambda v: (v.step, v.tokens is not None), default=None)
