"""The streams of the benchmark of scored text, on ratios made by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.scored import LIMIT, RULES, STREAMS, alarms, oracle, stops
from qcheck.evidence.sampled_text import UNRECORDED, weights
from qcheck.stats.likelihood import LikelihoodBets

NOTHING = np.ones((5, 1 + len(UNRECORDED)))
LIKELY = np.tile([9.0, 1.0, 1.0, 1.0], (5, 1))


def test_streams_are_what_the_evidence_says() -> None:
    bets, needed = LikelihoodBets(weights(1)), 0
    while bets.log_e[0] < RULES.log_threshold:
        bets.update(LIKELY[:1])
        needed += 1
    assert set(stops(LIKELY, NOTHING, 1.0, np.random.default_rng(0)).requests.tolist()) == {needed}


def test_smaller_shares_take_longer_and_the_oracle_less() -> None:
    few, all_of_them = (stops(LIKELY, NOTHING, share, np.random.default_rng(0)).requests for share in (0.3, 1.0))
    best = oracle(LIKELY[:, 0], NOTHING[:, 0], 1.0, np.random.default_rng(0)).requests
    assert best.mean() <= all_of_them.mean() < few.mean()


def test_where_nothing_is_shown_nobody_is_accused() -> None:
    assert alarms(NOTHING, np.random.default_rng(0)) == 0
    assert stops(NOTHING, NOTHING, 1.0, np.random.default_rng(0)).limit == LIMIT
    assert stops(NOTHING, NOTHING, 1.0, np.random.default_rng(0)).share == 0.0
    assert alarms(np.tile(LIKELY, (20, 1)), np.random.default_rng(0)) == STREAMS
