"""How soon qcheck says *deviates* of each deviation, and how soon the oracle would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops
from benchmarks.detection.material import Material
from benchmarks.detection.observed import Observed
from benchmarks.detection.oracle import Growth, growth, oracle_stops
from benchmarks.detection.rows import FRACTIONS, ROWS, Row
from qcheck.evidence.again import fewest

__all__ = ["LIMIT", "STREAMS", "Cell", "measure"]

STREAMS, LIMIT = 1000, 1500


@dataclass(frozen=True, slots=True)
class Cell:
    """One row at one fraction, the row's candidates taken together."""

    row: Row
    fraction: float
    ours: Stops
    oracle: Stops
    growth: Growth


def measure(material: Material, rows: Sequence[Row] = ROWS, limit: int = LIMIT) -> list[Cell]:
    """Every row whose candidates the model has, at every fraction. limit: requests of a stream."""
    cells: list[Cell] = []
    there = sorted((row for row in rows if row.of(material.answers)), key=lambda row: row.view)
    for view, group in groupby(there, lambda row: row.view):
        seen_so = list(group)
        names = dict.fromkeys([*material.honest, *(c for row in seen_so for c in row.of(material.answers))])
        observed = material.observed(view, list(names))
        for row in seen_so:
            cells += _cells(row, material, observed, limit)
    return sorted(cells, key=lambda cell: rows.index(cell.row))


def _cells(row: Row, material: Material, observed: Observed, limit: int) -> Iterator[Cell]:
    candidates = row.of(material.answers)
    for index, fraction in enumerate(FRACTIONS):
        rng, same = np.random.default_rng(index), np.random.default_rng(index)
        ours, oracles, growths = [], [], []
        for candidate, variant in candidates.items():
            known = [v for v in observed.variants if row.recorded or v != variant]
            what = observed, material.envelope, material.honest, candidate, fraction, known
            ours.append(stops(*what, rng, STREAMS // len(candidates), limit, again=fewest))
            oracles.append(oracle_stops(*what, material.resolution, same, STREAMS // len(candidates), limit))
            growths.append(growth(*what, material.resolution))
        mean = Growth(*(float(np.mean([getattr(g, side) for g in growths])) for side in ("ours", "informed", "oracle")))
        yield Cell(row, fraction, _pooled(ours), _pooled(oracles), mean)


def _pooled(parts: list[Stops]) -> Stops:
    return Stops(np.concatenate([part.requests for part in parts]), parts[0].limit)
