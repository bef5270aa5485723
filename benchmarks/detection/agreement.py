"""How soon an honest deployment that the baseline does not know is called consistent."""

from __future__ import annotations

import numpy as np

from benchmarks.detection.draws import Stops, blocks, deepest_first, first_reached
from benchmarks.detection.observed import Observed
from qcheck.evidence.envelope import Envelope
from qcheck.stats.fraction import requests_to_bound
from qcheck.tailcounts import FULL

__all__ = ["consistent_stops"]


def consistent_stops(
    observed: Observed,
    envelope: Envelope,
    deployment: str,
    tolerance: float,
    rng: np.random.Generator,
    streams: int,
    limit: int,
) -> Stops:
    """Requests until *consistent* in streams that `deployment` answers alone, all of it seen.

    Raises ValueError where the envelope allows no claim of it.
    """
    if envelope.resolution is None or observed.view != FULL:
        raise ValueError("consistent is claimed for a resolution, and here on answers that show all that was recorded")
    target = tolerance * envelope.visibility[FULL][envelope.resolution]
    needed: list[int] = []  # by the number of answers that count against the claim
    while len(needed) <= limit and (not needed or needed[-1] <= limit):
        against = len(needed)
        more = requests_to_bound(against, against, target, envelope.alpha - envelope.delta)
        needed.append(limit + 1 if more is None else against + more)
    # The known variants matter for directions alone, and what is watched is a size.
    doubtful = observed.hits(deployment, envelope, ())[:, envelope.watched] | ~observed.full[deployment]
    turns, found = deepest_first(observed.strata, observed.bounds(envelope)), []
    for block in blocks(turns, 1, 0.0, rng, streams, limit):
        count = np.cumsum(doubtful[block.order], axis=1)
        enough = np.array(needed)[np.minimum(count, len(needed) - 1)]
        found.append(first_reached(np.arange(1, count.shape[1] + 1) >= enough))
    return Stops(np.concatenate(found), min(limit, len(turns)))
