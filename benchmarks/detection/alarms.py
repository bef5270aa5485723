"""Streams of requests drawn from observed answers, and when each of them would have raised an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.observed import Observed
from qcheck.evidence.envelope import Envelope
from qcheck.stats.bets import log_e_paths
from qcheck.tailcounts import FULL
from qcheck.verdict import Rules

__all__ = ["Stops", "stops"]

BLOCK = 250  # streams at a time


@dataclass(frozen=True, slots=True)
class Stops:
    """requests: (streams,) until *deviates*, `limit` + 1 where it was not reached within `limit`."""

    requests: NDArray[np.intp]
    limit: int

    @property
    def share(self) -> float:
        """Of the streams that reach *deviates*."""
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


def stops(
    observed: Observed,
    envelope: Envelope,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    rng: np.random.Generator,
    streams: int,
    limit: int,
    family: int = 1,
) -> Stops:
    """Streams in which a share `fraction` of the requests, drawn at random, is answered by `deviating`.

    The others are answered by one of `honest`, another one from stream to stream. Probes are asked in random order, the
    stratum with the smallest null bound first (the one that was calibrated most deeply), none of them twice.
    """
    log_threshold = Rules(envelope.alpha, envelope.delta, family, 0.05).log_threshold
    levels = envelope.levels[observed.view]
    weights, outlying = [level.weight for level in levels], np.array([level.outlying for level in levels])
    bounds = observed.bounds(envelope)
    own = observed.hits(deviating, envelope, known)
    faithful = np.stack([observed.hits(name, envelope, known) for name in honest])
    first = _deepest_first(observed.strata, bounds)
    limit = min(limit, len(bounds))
    found = []
    for start in range(0, streams, BLOCK):
        shape = (min(BLOCK, streams - start), limit)
        order = np.argsort(first + rng.random((shape[0], len(bounds))), axis=1)[:, :limit]
        server = rng.integers(len(honest), size=shape[0])[:, None]
        hits = np.where((rng.random(shape) < fraction)[..., None], own[order], faithful[server, order])
        if observed.view != FULL:
            hits[:, 0] = False  # a provider's first answer shows which view it is to be seen in, and nothing else
        path, _ = log_e_paths(hits, bounds[order], weights)
        answers = np.cumsum((hits & outlying).any(axis=2), axis=1)
        deviates = (path >= log_threshold) & (answers >= 2)
        found.append(np.where(deviates.any(axis=1), deviates.argmax(axis=1) + 1, limit + 1))
    return Stops(np.concatenate(found), limit)


def _deepest_first(strata: NDArray[np.str_], bounds: NDArray[np.float64]) -> NDArray[np.intp]:
    """(probes,) the turn in which each one's stratum is asked."""
    names = sorted(set(strata), key=lambda s: float(bounds[strata == s].min()))
    return np.array([names.index(s) for s in strata])
