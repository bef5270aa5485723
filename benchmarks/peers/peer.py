"""What every published method is here: a score per stream, and a threshold that is measured on honest streams.

The methods' own p-values are not used: they test "exactly the same distribution", which two honest deployments do not
have. Each method is given instead the threshold at which it alarms on a stated share of honest streams, which favours
it: such a threshold is not known in practice.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Peer", "power", "threshold"]

Answers_contra = TypeVar("Answers_contra", contravariant=True)
Array = NDArray[np.float64]


class Peer(Protocol[Answers_contra]):
    """A published method on arrays of answers (`benchmarks.peers.answers`)."""

    @property
    def name(self) -> str:
        """As in the tables."""
        ...

    @property
    def tokens_per_request(self) -> int:
        """Output tokens of one answer that it looks at."""
        ...

    def scores(self, reference: Answers_contra, candidate: Answers_contra, rng: np.random.Generator) -> Array:
        """One score a stream, larger where the candidate's answers differ more from the reference's."""
        ...


def threshold(honest: Array, false_alarm_rate: float = 0.01) -> float:
    """The smallest score of an honest stream that at most `false_alarm_rate` of them exceed."""
    return float(np.quantile(honest, 1.0 - false_alarm_rate, method="higher"))


def power(deviating: Array, honest: Array, false_alarm_rate: float = 0.01) -> float:
    """Share of deviating streams that exceed the threshold measured on honest ones."""
    return float((deviating > threshold(honest, false_alarm_rate)).mean())
