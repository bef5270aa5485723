"""How soon the answers to some suites could show a deviation, simulated from what the calibration counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.evidence.again import fewest
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.tails import TailEvidence
from qcheck.jobs.panel import Panel
from qcheck.stats.counted import HITS
from qcheck.stats.power import Firsts, could_reject, median_requests
from qcheck.suites import Probe
from qcheck.tailcounts import FULL, CalibrationTable, TailCount, TailEvent

__all__ = ["Reach", "simulated"]

SEED = 0  # of every simulation, so that all that is said of one variant agrees


def simulated(panel: Panel) -> tuple[CalibrationTable, Envelope] | None:
    """What a simulation of a suite's answers rests on; None where there is nothing, or they do not show tail events."""
    table = panel.baseline.table if panel.baseline else None
    if table is None or panel.envelope is None or not issubclass(evidence_of(panel.suite), TailEvidence):
        return None
    return table, panel.envelope


@dataclass(frozen=True, slots=True)
class _Column:
    """A tail event of one suite."""

    panel: Panel
    level: TailLevel
    event: TailEvent
    first: Mapping[str, float]  # by stratum, at what the suite's first answer is bet on

    def bounds(self, suite: str, stratum: str) -> tuple[float, ...]:
        """At what its hits there are bets; 1 in a suite that it is no event of, where it is not bet on."""
        return self.level.hit_bounds[stratum] if suite == self.panel.suite.name else (1.0,) * len(HITS)

    def first_bound(self, suite: str, stratum: str) -> float:
        """The same of the suite's first answer."""
        return self.first[stratum] if suite == self.panel.suite.name else 1.0

    def shown(self, suite: str, stratum: str, variant: str) -> float:
        """How often the variant shows it there; nothing is known of one that was not recorded."""
        if suite != self.panel.suite.name:
            return 0.0
        count: TailCount = self.event.counts[stratum]
        return count.shown.get(variant, 0) / count.variant_clusters


class Reach:
    """The answers to `asked`, probes with their panels in order, where answers are seen in `view`.

    What several suites detect is the same simulation: an event of one suite, weighted by both, is not bet on in the
    requests of another, which is what averaging their e-values comes to. tables: by suite, those that can be simulated.
    most: how many requests may be sent, those by which prompts are asked again among them.
    """

    def __init__(
        self,
        asked: Sequence[tuple[Panel, Probe]],
        log_threshold: float,
        view: str = FULL,
        *,
        most: float = math.inf,
    ) -> None:
        panels = {panel.suite.name: panel for panel, _ in asked}
        self.tables = {name: rests[0] for name, panel in panels.items() if (rests := simulated(panel))}
        self._columns = [
            _Column(panel, level, event, {s: rests[1].first_at(view, s)[i] for s in level.hit_bounds})
            for panel in panels.values()
            if (rests := simulated(panel))
            for i, (level, event) in enumerate(zip(rests[1].levels[view], rests[0].seen(view), strict=True))
        ]
        self._kinds = list(dict.fromkeys((panel.suite.name, probe.stratum) for panel, probe in asked))
        self._strata = np.array([self._kinds.index((panel.suite.name, p.stratum)) for panel, p in asked], np.intp)
        self._weights = [column.panel.weight * column.level.weight for column in self._columns]
        self._bounds = np.array([[column.bounds(*kind) for column in self._columns] for kind in self._kinds])
        suites = [panel.suite.name for panel, _ in asked]
        self._firsts = Firsts(
            np.array([suite not in suites[:place] for place, suite in enumerate(suites)], bool),
            np.array([[column.first_bound(*kind) for column in self._columns] for kind in self._kinds]),
        )
        self._log_threshold, self._most = log_threshold, most
        self._again = fewest if any(evidence_of(panel.suite).asks_again for panel in panels.values()) else None

    @property
    def could_reject(self) -> bool:
        """Whether any answers whatsoever could lead to *deviates*."""
        return could_reject(self._bounds, self._strata, self._weights, self._log_threshold, self._firsts)

    def median_requests(self, variant: str, fraction: float) -> int | None:
        """Median number until *deviates* where a share of them comes from a variant; None where all do not do.

        Those by which prompts of deviating answers are asked again are among them, as if all stood.
        """
        shown: NDArray[np.float64] = np.array(
            [[column.shown(*kind, variant) for column in self._columns] for kind in self._kinds]
        )
        median = median_requests(
            self._bounds,
            shown,
            self._strata,
            self._weights,
            [column.level.outlying for column in self._columns],
            [column.panel.suite.name for column in self._columns],
            self._log_threshold,
            fraction,
            np.random.default_rng(SEED),
            again=self._again,
            firsts=self._firsts,
        )
        return None if median is None or median > self._most else median
