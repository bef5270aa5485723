"""How soon qcheck says *deviates* of each deviation, and how soon the oracle would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops
from benchmarks.detection.material import Material
from benchmarks.detection.observed import Observed
from benchmarks.detection.oracle import Growth, growth, oracle_stops
from benchmarks.detection.rows import FRACTIONS, ROWS, Row

__all__ = ["LIMIT", "STREAMS", "Cell", "measure"]

STREAMS, LIMIT = 1000, 1500
FEWEST = 30  # probes that streams are drawn from


@dataclass(frozen=True, slots=True)
class Cell:
    """One row at one fraction, the row's candidates taken together: probes that there are, and what was measured."""

    row: Row
    fraction: float
    probes: int
    ours: Stops
    oracle: Stops
    growth: Growth


def measure(material: Material) -> list[Cell]:
    """Every row whose candidates the model has and whose probes are not too few, at every fraction."""
    cells = []
    there = sorted((row for row in ROWS if row.of(material.answers)), key=lambda row: row.view)
    for view, group in groupby(there, lambda row: row.view):
        rows = list(group)
        names = dict.fromkeys([*material.honest, *(c for row in rows for c in row.of(material.answers))])
        observed = material.observed(view, list(names))
        for row in rows:
            sure = material.certainty >= row.surest
            if sure.sum() >= FEWEST:
                cells += _cells(row, material, observed.only(sure))
    return sorted(cells, key=lambda cell: ROWS.index(cell.row))


def _cells(row: Row, material: Material, observed: Observed) -> Iterator[Cell]:
    candidates = row.of(material.answers)
    for index, fraction in enumerate(FRACTIONS):
        rng, same = np.random.default_rng(index), np.random.default_rng(index)
        ours, oracles, growths = [], [], []
        for candidate, variant in candidates.items():
            known = [v for v in observed.variants if row.recorded or v != variant]
            what = observed, material.envelope, material.honest, candidate, fraction, known
            ours.append(stops(*what, rng, STREAMS // len(candidates), LIMIT))
            oracles.append(oracle_stops(*what, material.resolution, same, STREAMS // len(candidates), LIMIT))
            growths.append(growth(*what, material.resolution))
        mean = Growth(*(float(np.mean([getattr(g, side) for g in growths])) for side in ("ours", "oracle")))
        yield Cell(row, fraction, len(observed.strata), _pooled(ours), _pooled(oracles), mean)


def _pooled(parts: list[Stops]) -> Stops:
    return Stops(np.concatenate([part.requests for part in parts]), parts[0].limit)
