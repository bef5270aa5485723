"""Streams are index arithmetic over recorded answers; those are tested on real engines in test_bank."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from qcheck.baselines import Answer
from qcheck.errors import LabError
from qcheck.lab.streams import Source, draw, load_streams, save_streams

PROBES = tuple(f"p{i}" for i in range(300))
SHARES = {"honest": 0.9, "q4_k_m": 0.1}


@pytest.fixture(scope="module")
def source() -> Source:
    """Answers that say where they come from in their token count."""
    answers = {
        name: {p: tuple(Answer(1000 * d + 10 * i + r, ()) for r in range(2)) for i, p in enumerate(PROBES)}
        for d, name in enumerate(SHARES)
    }
    return Source(answers, PROBES, 2, "these")


def test_replay_gives_the_answer_of_the_deployment_that_the_truth_names(source: Source) -> None:
    streams = draw(source, SHARES, 3, 200, np.random.default_rng(0))
    for s in range(3):
        rows = list(streams.replay(source, s))
        assert len({probe for probe, _, _ in rows}) == 200
        for i, (probe, name, answer) in enumerate(rows):
            assert answer == source.answers[name][probe][streams.repeat[s, i]]
    assert {name for _, name, _ in rows} == set(SHARES)


@pytest.mark.parametrize("burst", [1.0, 8.0])
def test_shares_hold_in_the_long_run_and_bursts_have_their_length(source: Source, burst: float) -> None:
    """400 streams of 300: standard error of the share is 0.0009 times the root of twice the burst."""
    streams = draw(source, SHARES, 400, 300, np.random.default_rng(1), burst)
    share = float((streams.deployment == 1).mean())
    assert abs(share - 0.1) < 5 * 0.0009 * (2 * burst) ** 0.5
    switches = float((np.diff(streams.deployment.astype(int), axis=1) != 0).mean())
    assert switches == pytest.approx(2 * 0.1 * 0.9 / burst, rel=0.1)


def test_a_file_brings_back_the_same_streams(source: Source, tmp_path: Path) -> None:
    streams = draw(source, SHARES, 5, 50, np.random.default_rng(2))
    save_streams(tmp_path / "streams.npz", streams)
    back = load_streams(tmp_path / "streams.npz")
    assert (back.source, back.probes, back.deployments) == (streams.source, streams.probes, streams.deployments)
    for name in ("probe", "deployment", "repeat"):
        assert np.array_equal(getattr(back, name), getattr(streams, name))
        assert getattr(back, name).dtype == getattr(streams, name).dtype


def test_the_same_seed_draws_the_same_streams(source: Source) -> None:
    first, again, other = (draw(source, SHARES, 2, 100, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.probe, again.probe)
    assert not np.array_equal(first.probe, other.probe)


def test_impossible_streams_are_refused(source: Source) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="probes"):
        draw(source, SHARES, 1, 301, rng)
    with pytest.raises(ValueError, match="sum to 1"):
        draw(source, {"honest": 0.5}, 1, 10, rng)
    with pytest.raises(ValueError, match="burst"):
        draw(source, SHARES, 1, 10, rng, burst=0.5)


def test_streams_are_not_replayed_over_other_answers(source: Source) -> None:
    streams = draw(source, SHARES, 1, 10, np.random.default_rng(0))
    with pytest.raises(LabError, match="draw them anew"):
        next(streams.replay(dataclasses.replace(source, identity="others"), 0))
