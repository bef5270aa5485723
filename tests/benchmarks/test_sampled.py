"""The streams of the benchmark of sampled text, on ratios made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.detection.samples import Sampled
from benchmarks.sampled import oracle, stops
from qcheck.evidence.sampled_text import UNRECORDED, weights
from qcheck.stats.likelihood import LikelihoodBets

PROBES = 200
HONEST, VARIANT = np.array([0.9, 0.0, 0.1]), np.array([0.1, 0.0, 0.9])


@pytest.fixture
def sampled() -> Sampled:
    """One variant, nine times as likely to say what is not told apart; nothing else can be seen."""
    ratios = np.ones((PROBES, 1 + len(UNRECORDED), 3))
    ratios[:, 0] = [1 / 9, 0.0, 9.0]
    drawn = {name: np.tile(p, (PROBES, 1)) for name, p in (("honest", HONEST), ("variant", VARIANT))}
    return Sampled(ratios, drawn, ("variant",))


def test_streams_are_what_the_evidence_says(sampled: Sampled) -> None:
    sure = Sampled(
        sampled.ratios, {"honest": sampled.drawn["honest"], "variant": np.eye(3)[[2] * PROBES]}, ("variant",)
    )
    bets, needed = LikelihoodBets(weights(1)), 0
    while bets.log_e[0] < np.log(1 / 0.008):
        bets.update([[9.0, 1.0, 1.0, 1.0]])
        needed += 1
    found = stops(sure, ["honest"], "variant", 1.0, ["variant"], np.random.default_rng(0), 20)
    assert set(found.requests.tolist()) == {needed}


def test_smaller_shares_take_longer_and_the_oracle_less(sampled: Sampled) -> None:
    def mean(fraction: float) -> float:
        rng = np.random.default_rng(1)
        return float(stops(sampled, ["honest"], "variant", fraction, ["variant"], rng, 60).requests.mean())

    best = oracle(sampled, ["honest"], "variant", 1.0, np.random.default_rng(1), 60).requests.mean()
    assert best <= mean(1.0) < mean(0.3)


def test_who_has_not_recorded_it_sees_nothing_where_it_alone_would(sampled: Sampled) -> None:
    found = stops(sampled, ["honest"], "variant", 1.0, [], np.random.default_rng(2), 10)
    assert found.share == 0.0
    assert found.limit == PROBES


def test_honest_streams_are_rarely_accused(sampled: Sampled) -> None:
    """The chance is at most 0.008 each: of 200 streams 1.6, standard deviation 1.3."""
    found = stops(sampled, ["honest"], "variant", 0.0, ["variant"], np.random.default_rng(3), 200)
    assert (found.requests <= found.limit).sum() <= 5
