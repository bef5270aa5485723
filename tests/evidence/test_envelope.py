"""Freezing a calibration table into the numbers of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import freeze
from qcheck.stats import bets, counted
from qcheck.stats.counted import along, hit_bounds
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
                few = np.minimum(hit_bounds(count.largest, count.clusters, price), bound)
                assert (few <= level.hit_bounds[stratum]).all()
                assert level.hit_bounds[stratum] == pytest.approx(few, rel=2e-4)
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
                spent += float(stats.binom.cdf(count.largest, count.clusters, bound)) if bound < 1 else 0.0
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


def test_counts_have_no_part_in_the_weights(table: CalibrationTable) -> None:
    """An average of bets on counts is worth no more than one of them only if it is fixed before."""

    def counted(times: int) -> list[float]:
        events = [
            e.model_copy(
                update={
                    "counts": {
                        s: c.model_copy(update={"honest": dict.fromkeys(c.honest, times), "honest_any": times})
                        for s, c in e.counts.items()
                    }
                }
            )
            for e in table.events
        ]
        return [level.weight for level in freeze(table.model_copy(update={"events": events}), ALPHA).levels[FULL]]

    assert counted(0) == counted(7) == [level.weight for level in freeze(table, ALPHA).levels[FULL]]


def test_alarms_are_as_rare_as_claimed_over_tables_and_runs(table: CalibrationTable) -> None:
    """Of events that one of two deployments shows now and then, nested as scores over rising thresholds are, counted in
    two strata and several views; runs stay in one view, and ask both strata."""
    alpha, n, tables, runs, requests = 0.25, 150, 120, 40, 150
    rng, alarms = np.random.default_rng(0), np.zeros(2, int)
    for _ in range(tables):
        rates = 10.0 ** rng.uniform(-3, -1.3) * np.array([1.0, 0.6, 0.3, 0.2])
        events, cells = [], {}
        for view in table.views:
            for score in dict.fromkeys(table.scores(view)):
                for s in ("even", "odd"):
                    shown = rng.random((2, n)) < np.array([[1.0], [0.5]])
                    depth = rng.random((2, n))
                    cells[view, score, s] = [(shown & (depth < rate)).sum(axis=1) for rate in rates]
            place = dict.fromkeys(table.scores(view), 0)
            for event in table.seen(view):
                counts = {}
                for s, old in event.counts.items():
                    one, two = (int(k) for k in cells[view, event.score, s][place[event.score]])
                    few = {"honest": {"one": one, "two": two}, "honest_any": min(n, one + two), "clusters": n}
                    counts[s] = old.model_copy(update=few)
                place[event.score] += 1
                events.append(event.model_copy(update={"counts": counts}))
        envelope = freeze(table.model_copy(update={"events": events}), alpha)
        view = str(rng.choice(list(table.views)))
        levels = envelope.levels[view]
        kinds = [level.score for level in levels]
        rank = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]
        depth = {kind: rng.random((runs, requests)) for kind in kinds}
        hits = np.stack([depth[kind] < rates[r] for kind, r in zip(kinds, rank, strict=True)], axis=2)
        bounds = np.array([[level.hit_bounds[s] for level in levels] for s in ("even", "odd")])
        seen = [e for e in events if e.view == view]
        naive = np.array([[max(e.counts[s].largest, 0.01) / n for e in seen] for s in ("even", "odd")])
        at = along(hits, np.arange(requests) % 2, bounds), naive[np.arange(requests) % 2]
        paths = [bets.log_e_paths(hits, q, [level.weight for level in levels])[0] for q in at]
        alarms += [int((path.max(axis=1) >= -np.log(alpha - envelope.delta)).sum()) for path in paths]
    assert alarms[0] <= alpha * tables * runs < alarms[1]  # the second as if what was counted were the truth
