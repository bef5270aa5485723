"""The oracle: how soon somebody would know who knew what the scores of both sides are distributed like.

Of an answer's three scores it sees the two that tell most (eight hundred answers fill no grid of three), and tests by
the sequential likelihood ratio, Π (1 − ε + ε f₁/f₀) ≥ 1/α, with everything given that qcheck has not: the fraction ε,
the density f₁ of the deviating deployment's scores, and the density f₀ of those of the very honest deployment that
answers the other requests. On the log-probabilities themselves there would be no such thing: a deployment without
batching always gives the same answer, so that whoever knew both would need one request.

The densities are histograms of the recorded answers on a grid of quantiles, of which one fold's answers are judged by
the others'. No recording of N answers tells a probability from zero that lies below 1/N, so a cell that one side was
never seen in has that much of the other side's density, N being the number of honest answers that qcheck's own deepest
null bound was counted on: more than fill the histogram, so that this errs in the oracle's favour. Where the supports
hardly overlap that resolution is all that limits the oracle.

Like qcheck it needs two answers that speak for the deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.draws import Stops, blocks, deepest_first, first_reached
from benchmarks.detection.observed import Observed
from qcheck.evidence.envelope import Envelope
from qcheck.stats.bets import log_e_paths
from qcheck.tailcounts import Score
from qcheck.verdict import MIN_DEVIATING

__all__ = ["Growth", "density_ratios", "growth", "log_growth", "oracle_stops"]

Array = NDArray[np.float64]

# Hits before the one whose bound stands for a stream's: few decide, the first is a bet at less, later ones at more.
THIRD = 2
PER_CELL, FOLDS = 10, 10  # answers of a side to a cell of the grid, on average


@dataclass(frozen=True, slots=True)
class Growth:
    """Expected logarithm of what one request multiplies the evidence by, nats: qcheck's best bet's, and the oracle's.

    Both against the honest deployment that is the hardest one for the oracle, on the stratum that is asked first. In
    the long run qcheck's average of bets grows like the best of them, taken at what a third hit is bet at. informed:
    what the same bets would gain, did they know how often that very deployment shows each event: what is missing to
    that is the price of bounds that hold for every honest deployment, with the noise factor, at once; the rest is what
    tail events leave out of the scores.
    """

    ours: float
    informed: float
    oracle: float


def density_ratios(honest: Array, deviating: Array, resolution: int) -> tuple[Array, Array]:
    """Cross-fitted f₁/f₀ at the scores of either side, (probes,) each.

    honest, deviating: (probes, scores), of answers to the same probes. resolution: N above.
    """
    # An even number, so that the median is an edge and parts the sides where they lie apart.
    bins = 2 * max(1, math.isqrt(len(honest) // PER_CELL) // 2)
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    pooled = np.concatenate([honest, deviating])
    edges = [np.unique(np.quantile(column, inner, method="inverted_cdf")) for column in pooled.T]
    shape = [len(edge) + 1 for edge in edges]

    def cells(scores: Array) -> NDArray[np.intp]:
        axes = [np.searchsorted(e, column) for e, column in zip(edges, scores.T, strict=True)]
        return np.ravel_multi_index(axes, shape)

    fold = np.arange(len(honest)) % FOLDS
    sides = cells(honest), cells(deviating)
    ratios = np.empty((2, len(honest)))
    for held in range(FOLDS):
        f0, f1 = (np.bincount(side[fold != held], minlength=int(np.prod(shape))) for side in sides)
        both = np.maximum((f0 + f1) / resolution, np.finfo(float).tiny)  # where neither was seen the ratio is 1
        for ratio, side in zip(ratios, sides, strict=True):
            ratio[fold == held] = ((f1 + both) / (f0 + both))[side[fold == held]]
    return ratios[0], ratios[1]


def log_growth(honest: Array, deviating: Array, fraction: float) -> float:
    """E log(1 − ε + ε f₁/f₀) per request under the mixture, nats; f₁/f₀ at the scores of either side (probes,).

    The mean of f₁/f₀ under f₀ is 1, so that the honest side's part is at most 0 (Jensen); what a few honest answers in
    cells where none was expected would add is not counted.
    """
    at_honest, at_deviating = (float(np.log1p(fraction * (r - 1)).mean()) for r in (honest, deviating))
    return (1 - fraction) * min(at_honest, 0.0) + fraction * at_deviating


def _ratios(
    observed: Observed, honest: Sequence[str], deviating: str, fraction: float, known: Sequence[str], resolution: int
) -> tuple[Array, Array]:
    """Density ratios at the honest deployments' scores and at the deviating one's, (honest, probes) each.

    Of the pairs of scores the one whose growth is largest beside the honest deployment where it is smallest.
    """
    scores = {name: observed.scores(name, known) for name in (deviating, *honest)}

    def ratios(*pair: Score) -> tuple[Array, Array]:
        own, *others = (np.stack([scores[name][kind] for kind in pair], axis=1) for name in (deviating, *honest))
        at_honest, at_deviating = zip(*(density_ratios(other, own, resolution) for other in others), strict=True)
        return np.stack(at_honest), np.stack(at_deviating)

    def worst(found: tuple[Array, Array]) -> float:
        return min(log_growth(h, d, fraction) for h, d in zip(*found, strict=True))

    return max((ratios(*pair) for pair in combinations(scores[deviating], 2)), key=worst)


def growth(
    observed: Observed,
    envelope: Envelope,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    resolution: int,
) -> Growth:
    """What one request adds where a share `fraction` of them is answered by `deviating`."""
    bounds = observed.bounds(envelope)
    asked = deepest_first(observed.strata, bounds) == 0
    at_honest, at_deviating = _ratios(observed, honest, deviating, fraction, known, resolution)
    by_server = [log_growth(h[asked], d[asked], fraction) for h, d in zip(at_honest, at_deviating, strict=True)]
    hardest = int(np.argmin(by_server))

    shown = {name: observed.hits(name, envelope, known)[asked] for name in (honest[hardest], deviating)}
    weights = [level.weight for level in envelope.levels[observed.view]]
    own = np.maximum(shown[honest[hardest]].mean(axis=0), 1 / resolution)

    def best(null: Array) -> float:
        at_honest, at_deviating = (log_e_paths(hits, null, weights)[1] / len(hits) for hits in shown.values())
        return float(((1 - fraction) * at_honest + fraction * at_deviating).max())

    (stratum,) = set(observed.strata[asked])
    third = np.array([level.hit_bounds[stratum][THIRD] for level in envelope.levels[observed.view]])
    return Growth(best(third), best(own), by_server[hardest])


def oracle_stops(
    observed: Observed,
    envelope: Envelope,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    resolution: int,
    rng: np.random.Generator,
    streams: int,
    limit: int,
) -> Stops:
    """Requests that the oracle needs, in the streams that `alarms.stops` draws with the same generator."""
    at_honest, at_deviating = _ratios(observed, honest, deviating, fraction, known, resolution)
    turns = deepest_first(observed.strata, observed.bounds(envelope))
    found = []
    for block in blocks(turns, len(honest), fraction, rng, streams, limit):
        where = block.server, block.order
        ratios = np.where(block.routed, at_deviating[where], at_honest[where])
        path = np.cumsum(np.log1p(fraction * (ratios - 1)), axis=1)
        answers = np.cumsum(ratios > 1, axis=1)
        found.append(first_reached((path >= -np.log(envelope.alpha)) & (answers >= MIN_DEVIATING)))
    return Stops(np.concatenate(found), min(limit, len(turns)))
