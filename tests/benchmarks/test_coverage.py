"""The streams of the coverage benchmark."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.coverage import BURST, RANDOM, ROUTINGS, alarms, interval, misses, routed
from qcheck.baselines import load_baseline
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.suites import load_suite, shipped_folder
from qcheck.tailcounts import FULL, SIZE

PROBES = 300


@pytest.fixture(scope="module")
def envelope() -> Envelope:
    table = load_baseline(shipped_folder("baselines") / "lab-tiny").table
    assert table is not None
    return freeze(table, 0.01)


def observed(envelope: Envelope, deviates: float) -> Any:
    """Honest answers show nothing, a share `deviates` of the others every event."""
    events = len(envelope.levels[FULL])
    shown = {"honest": np.zeros((PROBES, events), bool), "bad": np.ones((PROBES, events), bool)}
    shown["bad"][int(deviates * PROBES) :] = False
    bounds = np.array([[level.null_bounds["words"] for level in envelope.levels[FULL]]] * PROBES)
    return SimpleNamespace(
        strata=np.array(["words"] * PROBES),
        variants=(),
        hits=lambda name, *_: shown[name],
        bounds=lambda _: bounds,
    )


@pytest.mark.parametrize("routing", [RANDOM, *ROUTINGS])
def test_shares_are_what_they_are_said_to_be(routing: str) -> None:
    drawn = routed(routing, 0.3, (4000, 200), np.random.default_rng(0))
    # A stream of bursts holds about ten of them: three standard errors of 4,000 streams of one draw each are 0.022.
    assert drawn.mean() == pytest.approx(0.3, abs=0.022)
    runs = 1 + (drawn[:, 1:] != drawn[:, :-1]).sum(axis=1)
    if routing == "sticky":
        assert (runs == 1).all()
    elif routing == "time of day":
        assert (runs <= 3).all()
    else:
        fresh = 1 + 199 / (BURST if routing == "bursts" else 1)
        assert runs.mean() == pytest.approx(1 + (fresh - 1) * 2 * 0.3 * 0.7, rel=0.05)


def test_the_interval_is_that_of_the_evidence(envelope: Envelope) -> None:
    class Counting(TailEvidence):
        name, outside = "logprobs", "are odd"

        def _shown(self, _: str, answer: Any) -> Shown:
            return Shown({SIZE: answer, "steady": -1.0, "direction": -1.0})

        def _findings(self) -> tuple[()]:
            return ()

    suite = load_suite("logprobs")
    evidence = Counting(load_baseline(shipped_folder("baselines") / "lab-tiny"), envelope, suite)
    hits = 0
    for number, probe in enumerate(suite.fold("evaluation")[:150], 1):
        odd = number % 4 == 0
        hits += odd
        evidence.update(probe.id, 1e6 if odd else 0.0)  # type: ignore[arg-type]
        low, _, high = evidence.fraction()
        assert interval(hits, number, envelope) == pytest.approx((low, high))
    assert 0.05 < low < 0.25 < high < 0.6


def test_misses_are_counted_by_side(envelope: Envelope) -> None:
    def counted(deviates: float, share: float, routing: str = RANDOM) -> Any:
        world = observed(envelope, deviates)
        return misses(world, envelope, ["honest"], "bad", routing, share, np.random.default_rng(1), streams=100)

    seen = counted(1.0, 0.3)
    assert seen.visible
    assert seen.low + seen.high <= 5  # 0.8 each are allowed on average
    dim = counted(0.1, 1.0)  # ten times less visible than the resolution
    assert not dim.visible
    assert (dim.low, dim.high) == (0, 100)
    sticky = counted(1.0, 0.5, "sticky")
    assert (sticky.low, sticky.high, sticky.long_run) == (0, 0, 100)


def test_alarms_are_those_of_mixtures(envelope: Envelope) -> None:
    world, rng = observed(envelope, 1.0), np.random.default_rng(0)
    assert alarms(world, envelope, "honest", "honest", "bursts", rng, streams=20, block=20) == 0
    assert alarms(world, envelope, "honest", "bad", RANDOM, rng, streams=20, block=20) == 20
