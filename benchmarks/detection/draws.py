"""Streams of requests drawn from observed answers: which probe is asked, and who answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qcheck.evidence.envelope import Envelope
from qcheck.stats.counted import along

__all__ = ["Block", "Stops", "bet_at", "blocks", "count", "deepest_first", "first_reached"]

BLOCK = 250  # streams at a time

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Block:
    """Some streams. order, routed: (streams, requests), the probe and whether the deviating deployment answers it.

    server: (streams, 1), which of the honest deployments answers the others, another one from stream to stream.
    """

    order: NDArray[np.intp]
    routed: NDArray[np.bool_]
    server: NDArray[np.intp]

    def pick(self, deviating: NDArray[Scalar], honest: NDArray[Scalar]) -> NDArray[Scalar]:
        """What the answers of the streams show, (streams, requests, …).

        deviating: (probes, …); honest: (deployments, probes, …).
        """
        routed = self.routed.reshape(*self.routed.shape, *(1 for _ in deviating.shape[1:]))
        return np.where(routed, deviating[self.order], honest[self.server, self.order])


@dataclass(frozen=True, slots=True)
class Stops:
    """requests: (streams,) until a method decides, `limit` + 1 where it did not within `limit`."""

    requests: NDArray[np.intp]
    limit: int

    @property
    def share(self) -> float:
        """Of the streams that are decided."""
        return float((self.requests <= self.limit).mean())

    def quantile(self, q: float) -> int | None:
        """The smallest number of requests within which a share `q` of the streams is decided; None if never."""
        at = int(np.sort(self.requests)[max(0, int(np.ceil(q * len(self.requests))) - 1)])
        return at if at <= self.limit else None

    def interval(self, q: float) -> tuple[int | None, int | None]:
        """95 % confidence interval of the quantile from order statistics, the rank's error taken as normal."""
        n = len(self.requests)
        half = 1.96 * float(np.sqrt(q * (1 - q) / n))
        return self.quantile(max(q - half, 1 / n)), self.quantile(min(q + half, 1.0))


def count(requests: int | None) -> str:
    """A number of requests in a table."""
    return "–" if requests is None else str(requests)


def blocks(
    turns: NDArray[np.intp], honest: int, fraction: float, rng: np.random.Generator, streams: int, limit: int
) -> Iterator[Block]:
    """Streams in which a share `fraction` of the requests, drawn at random, is answered by the deviating deployment.

    Probes are asked in random order, those of a smaller turn first, none of them twice.

    turns: (probes,). honest: number of honest deployments. limit: requests of a stream, as many as there are probes at
    most.
    """
    limit = min(limit, len(turns))
    for start in range(0, streams, BLOCK):
        shape = (min(BLOCK, streams - start), limit)
        order = np.argsort(turns + rng.random((shape[0], len(turns))), axis=1)[:, :limit]
        server = rng.integers(honest, size=shape[0])[:, None]
        yield Block(order, rng.random(shape) < fraction, server)


def deepest_first(strata: NDArray[np.str_], bounds: NDArray[np.float64]) -> NDArray[np.intp]:
    """(probes,) the turn in which each one's stratum is asked: that with the smallest null bound first.

    It is the one that was calibrated most deeply. bounds: (probes, events).
    """
    names = sorted(set(strata), key=lambda s: float(bounds[strata == s].min()))
    return np.array([names.index(s) for s in strata])


def bet_at(
    envelope: Envelope, view: str, strata: NDArray[np.str_], order: NDArray[np.intp], hits: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(streams, requests, events) at what each request of some streams is bet on.

    view: that answers are seen in, from the first one on. strata: (probes,) names. order: (streams, requests) the probe
    of each. hits: (streams, requests, events).
    """
    names, of = np.unique(strata, return_inverse=True)
    levels = envelope.levels[view]
    at = along(hits, of[order], np.array([[level.hit_bounds[str(name)] for level in levels] for name in names]))
    at[:, 0] = np.array([envelope.first_at(view, str(name)) for name in names])[of[order[:, 0]]]
    return at


def first_reached(reached: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(streams,) the number of the first request after which a stream is decided, one more than it has if none is.

    reached: (streams, requests).
    """
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)
