"""When each of many streams would have raised an alarm, folded as `qcheck compare` folds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.draws import Stops, bet_at, blocks, deepest_first, first_reached
from qcheck.evidence.envelope import Envelope
from qcheck.stats.bets import log_e_paths
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["Seen", "stops"]

CHUNK = 100  # requests at a time


class Seen(Protocol):
    """What the answers of deployments to some probes show in one view."""

    @property
    def view(self) -> str:
        """Its name."""
        ...

    @property
    def strata(self) -> NDArray[np.str_]:
        """(probes,) names."""
        ...

    def hits(self, deployment: str, envelope: Envelope, known: Sequence[str]) -> NDArray[np.bool_]:
        """(probes, events): which tail events its answers show to somebody who has recorded the variants `known`."""
        ...

    def bounds(self, envelope: Envelope) -> NDArray[np.float64]:
        """(probes, events): their null bounds."""
        ...


def stops(
    observed: Seen,
    envelope: Envelope,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    rng: np.random.Generator,
    streams: int,
    limit: int,
    family: int = 1,
    again: Callable[[NDArray[np.float64]], NDArray[np.intp]] | None = None,
) -> Stops:
    """Requests until *deviates* in streams (`draws.blocks`) of which a share `fraction` is answered by `deviating`.

    known: the variants that somebody has recorded. limit: of answers. again: how many requests are added to those of a
    stream that is decided, by the share of its answers that deviate; most where none does.
    """
    log_threshold = Rules(envelope.alpha, envelope.delta, family, 0.05).log_threshold
    levels = envelope.levels[observed.view]
    weights, outlying = [level.weight for level in levels], np.array([level.outlying for level in levels])
    bounds = observed.bounds(envelope)
    own = observed.hits(deviating, envelope, known)
    faithful = np.stack([observed.hits(name, envelope, known) for name in honest])
    most = min(limit, len(bounds)) + (0 if again is None else int(again(np.zeros(1)).max()))
    found = []
    for block in blocks(deepest_first(observed.strata, bounds), len(honest), fraction, rng, streams, limit):
        hits = block.pick(own, faithful)
        deviating_so_far = np.cumsum((hits & outlying).any(axis=2), axis=1)
        at = bet_at(envelope, observed.view, observed.strata, block.order, hits)
        alarms = _first_alarms(hits, at, deviating_so_far >= MIN_DEVIATING, weights, log_threshold)
        decided = alarms <= hits.shape[1]
        alarms[~decided] = most + 1
        if again is not None:
            seen = deviating_so_far[decided, alarms[decided] - 1]
            alarms[decided] += again(seen / alarms[decided])
        found.append(alarms)
    return Stops(np.concatenate(found), most)


def _first_alarms(
    hits: NDArray[np.bool_],
    bounds: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    weights: Sequence[float],
    log_threshold: float,
) -> NDArray[np.intp]:
    """(streams,) as `first_reached`: where the e-value suffices and `allowed` (streams, requests) has come true.

    Streams that are decided are not folded on.
    """
    streams, requests = allowed.shape
    found, going, wealth = np.full(streams, requests + 1), np.arange(streams), None
    for start in range(0, requests, CHUNK):
        if not len(going):
            break
        part = going, slice(start, start + CHUNK)
        path, wealth = log_e_paths(hits[part], bounds[part], weights, wealth=wealth)
        reached = (path >= log_threshold) & allowed[part]
        decided = reached.any(axis=1)
        found[going[decided]] = start + first_reached(reached[decided])
        going, wealth = going[~decided], wealth[~decided]
    return found
