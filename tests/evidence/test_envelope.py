"""Freezing a calibration table into the numbers of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import freeze
from qcheck.stats import bets
from qcheck.suites import Suite
from qcheck.tailcounts import CalibrationTable

ALPHA = 0.01


@pytest.fixture
def table(recorded: tuple[Baseline, Suite]) -> CalibrationTable:
    assert recorded[0].table is not None
    return recorded[0].table


def test_bounds_are_rounded_to_the_safe_side(table: CalibrationTable) -> None:
    envelope = freeze(table, ALPHA)
    each = envelope.delta / table.bounded
    for level, event in zip(envelope.levels, table.events, strict=True):
        for stratum, bound in level.null_bounds.items():
            assert 0 <= bound - event.null_bound(stratum, each) <= 1e-8 * bound
    for variant, visible in envelope.visibility.items():
        exact = table.events[envelope.watched].visibility(variant, each)
        assert 0 <= exact - visible <= 1e-8 * exact


def test_the_last_digits_of_scipy_do_not_change_an_envelope(
    table: CalibrationTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is verified by freezing the table anew, perhaps years later and elsewhere."""
    here = freeze(table, ALPHA)
    beta = bets.stats.beta

    class Elsewhere:
        def isf(self, *args: float) -> float:
            return float(np.nextafter(beta.isf(*args), 1))

        def ppf(self, *args: float) -> float:
            return float(np.nextafter(beta.ppf(*args), 0))

    monkeypatch.setattr(bets.stats, "beta", Elsewhere())
    assert dataclasses.asdict(freeze(table, ALPHA)) == dataclasses.asdict(here)
