"""Freezing a calibration table into the numbers of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import freeze
from qcheck.stats import bets, counted
from qcheck.stats.counted import hit_bounds
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
        error = envelope.delta * (0.5 if view == FULL else 0.5 / lesser)
        for level, event in zip(levels, table.seen(view), strict=True):
            for stratum, bound in level.null_bounds.items():
                exact = event.null_bound(stratum, 0.5 * error / table.null_probabilities)
                assert 0 <= bound - exact <= 1e-8 * bound
                count, price = event.counts[stratum], (1.06**0.5 - 1) * error / envelope.delta
                few = np.minimum(hit_bounds(count.most, count.clusters, price), bound)
                assert (few <= level.hit_bounds[stratum]).all()
                assert level.hit_bounds[stratum] == pytest.approx(few, rel=2e-5)
        for variant, visible in envelope.visibility[view].items():
            exact = table.seen(view)[envelope.watched].visibility(variant, 0.2 * error / table.visibilities)
            assert 0 <= exact - visible <= 1e-8 * exact


def test_the_bounds_of_all_views_together_fail_as_seldom_as_delta_says(table: CalibrationTable) -> None:
    """What each bound spends is read off the bound itself, and visibilities are counted in every event and stratum;
    0.3 are for bets on counts."""
    envelope = freeze(table, ALPHA)
    spent = 0.3 * envelope.delta
    for view, levels in envelope.levels.items():
        events = {(e.score, e.threshold): (level, e) for level, e in zip(levels, table.seen(view), strict=True)}
        for level, event in events.values():  # those of one threshold are one
            for stratum, bound in level.null_bounds.items():
                count = event.counts[stratum]
                spent += float(stats.binom.cdf(count.most, count.clusters, bound)) if bound < 1 else 0.0
        watched = table.seen(view)[envelope.watched].counts
        for variant, visible in envelope.visibility[view].items():
            rates = [stats.binom.sf(c.shown[variant] - 1, c.variant_clusters, visible) for c in watched.values()]
            spent += float(max(rates)) * len(watched) * len(table.watchable) if visible else 0.0
    assert len(envelope.levels) == 5
    assert 0.7 * envelope.delta < spent <= envelope.delta
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
    for name, towards in (("betainccinv", 1), ("betaincinv", 0)):
        of = getattr(bets.special, name)
        monkeypatch.setattr(bets.special, name, lambda *a, of=of, to=towards: np.nextafter(of(*a), to))
    for name in ("betainc", "betaln", "xlog1py"):
        of = getattr(counted.special, name)
        monkeypatch.setattr(counted.special, name, lambda *a, of=of: np.nextafter(of(*a), 0))
    monkeypatch.setattr("qcheck.evidence.envelope.hit_bounds", hit_bounds.__wrapped__)  # uncached
    assert dataclasses.asdict(freeze(table, ALPHA)) == dataclasses.asdict(here)
