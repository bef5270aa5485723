"""Freezing a calibration table into the numbers of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import freeze
from qcheck.stats import bets
from qcheck.suites import Suite
from qcheck.tailcounts import FULL, CalibrationTable

ALPHA = 0.01


@pytest.fixture
def table(recorded: tuple[Baseline, Suite]) -> CalibrationTable:
    assert recorded[0].table is not None
    return recorded[0].table


def test_bounds_are_rounded_to_the_safe_side(table: CalibrationTable) -> None:
    envelope = freeze(table, ALPHA)
    lesser = len(table.views) - 1
    for view, levels in envelope.levels.items():
        each = envelope.delta / table.bounded * (0.5 if view == FULL else 0.5 / lesser)
        for level, event in zip(levels, table.seen(view), strict=True):
            for stratum, bound in level.null_bounds.items():
                assert 0 <= bound - event.null_bound(stratum, each) <= 1e-8 * bound
        for variant, visible in envelope.visibility[view].items():
            exact = table.seen(view)[envelope.watched].visibility(variant, each)
            assert 0 <= exact - visible <= 1e-8 * exact


def test_the_bounds_of_all_views_together_fail_as_seldom_as_delta_says(table: CalibrationTable) -> None:
    envelope = freeze(table, ALPHA)
    spent = sum(table.bounded * envelope.delta / table.bounded * share for share in (0.5, *[0.125] * 4))
    assert len(envelope.levels) == 5
    assert spent == pytest.approx(envelope.delta)
    assert envelope.delta == pytest.approx(0.2 * ALPHA)


def test_consistent_is_claimed_only_where_the_resolution_is_visible(table: CalibrationTable) -> None:
    envelope = freeze(table, ALPHA)
    assert envelope.resolution == "weak"
    assert FULL in envelope.claimable
    for view in envelope.levels:
        assert (view in envelope.claimable) == (envelope.visibility[view]["weak"] >= 0.5)
    assert dataclasses.replace(envelope, resolution=None).claimable == frozenset()


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
