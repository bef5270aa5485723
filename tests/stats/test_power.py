import math

import numpy as np

from qcheck.stats.bets import TailBets
from qcheck.stats.power import could_reject, median_requests


def test_could_reject_agrees_with_the_bets() -> None:
    bounds, weights, threshold = [0.02, 0.005], [0.5, 0.5], math.log(100)
    for requests in range(1, 5):
        bets = TailBets(bounds, weights)
        for _ in range(requests):
            bets.update([True, True])
        assert could_reject(bounds, weights, threshold, requests) == (bets.log_e >= threshold)


def test_median_falls_with_the_fraction_and_is_none_when_out_of_reach() -> None:
    rng = np.random.default_rng(0)
    args = ([0.01], [1.0], [0.95], math.log(100), 300)
    full = median_requests(*args, 1.0, rng)
    tenth = median_requests(*args, 0.1, rng)
    assert full is not None
    assert tenth is not None
    assert 2 <= full < tenth <= 60
    assert median_requests(*args, 0.0, rng) is None
