"""What an answer shows of its log-probabilities in narrower views, and what is bet on it there (see synthetic)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from synthetic import ALPHA, THRESHOLD, K, Recorded, World, stream

from qcheck.baselines import Answer
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.views import VIEWS, View
from qcheck.records import Position
from qcheck.stats.bets import TailBets
from qcheck.stats.counted import bound_at
from qcheck.tailcounts import FULL


@pytest.mark.parametrize("k", [1, 4])
def test_lists_shorter_than_any_view_neither_accuse_nor_reassure(recorded: Recorded, world: World, k: int) -> None:
    for seed in range(4):
        evidence, largest = stream(recorded, seed, lambda p, r: world.answer(p, r, 0.3, k=k))
        assert largest <= 0
        assert evidence.resolution is not None
        assert evidence.upper(evidence.resolution) == 1.0
        assert evidence.snapshot(1.0).findings[0].kind == "logprobs_missing"


@pytest.mark.parametrize("noise", [1.0, 1.3])
def test_shorter_lists_and_coarser_values_accuse_no_honest_provider(
    recorded: Recorded, world: World, noise: float
) -> None:
    """Few coordinates make matched filters wild, and a grid adds noise: each view has bounds of its own."""
    louder = World(world.seed, noise * world.noise)
    for view in VIEWS[1:]:
        streams = [stream(recorded, s, lambda p, r, v=view: v.of(louder.answer(p, r)), 120) for s in range(2)]
        assert all(largest < THRESHOLD for _, largest in streams)
        assert "logprobs_coarse" in {f.kind for f in streams[0][0].snapshot(1.0).findings}


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.name)
def test_a_strong_deviation_is_found_in_every_view(recorded: Recorded, world: World, view: View) -> None:
    _, largest = stream(recorded, 1, lambda p, r: view.of(world.answer(p, r, 0.3)), 8)
    assert largest >= THRESHOLD


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.name)
@pytest.mark.parametrize("silent", [0, 2])
def test_a_first_answer_that_chooses_its_view_pays_for_all_of_them(
    recorded: Recorded, world: World, monkeypatch: pytest.MonkeyPatch, view: View, silent: int
) -> None:
    baseline, suite = recorded
    assert baseline.table is not None
    envelope, bets = freeze(baseline.table, ALPHA), []
    monkeypatch.setattr(TailBets, "update", lambda _, hits, at: bets.append((hits, at)))
    evidence = LogprobEvidence(baseline, envelope, suite)
    for number, probe in enumerate(p for p in suite.fold("evaluation")[: 2 * silent + 6] if p.stratum == "odd"):
        answer = world.answer(int(probe.id[1:]), np.random.default_rng(number), 0.3)
        evidence.update(probe.id, Answer(9, ()) if number < silent else view.of(answer))
    hits, at = zip(*bets[silent:], strict=True)
    assert [any(own) for own, _ in bets] == [False] * silent + [True] * 3
    bounds = [level.hit_bounds["odd"] for level in envelope.levels[view.name]]
    times = [2.0 if name == FULL else 8.0 for name in envelope.levels]
    assert sum(1 / t for t in times) == 1  # one bet, whatever view it chooses
    firsts = [[levels[i].hit_bounds["odd"][0] for levels in envelope.levels.values()] for i in range(len(bounds))]
    own = times[list(envelope.levels).index(view.name)]
    for i, of in enumerate(firsts):
        escapes = max(t * q for t, q in zip(times, of, strict=True)) >= 1
        assert at[0][i] == (1.0 if escapes else own * bounds[i][0])
    assert at[1] == [own[hit] for own, hit in zip(bounds, hits[0], strict=True)]


def test_each_hit_is_bet_on_at_what_its_number_in_its_stratum_and_view_says(
    recorded: Recorded, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes between: answers that are honest, silent, lost, or move the provider to another view."""
    baseline, suite = recorded
    assert baseline.table is not None
    envelope, folded = freeze(baseline.table, ALPHA), []
    monkeypatch.setattr(TailBets, "update", lambda _, hits, at: folded.append((hits, at)))
    monkeypatch.setattr(TailBets, "give_back", lambda _: folded.append(None))
    evidence = LogprobEvidence(baseline, envelope, suite)
    full, narrow = "dhd-dld-ddh", "mdhdd-dldddd"
    probes = suite.fold("evaluation")
    for number, kind in enumerate(full + narrow):
        k = 5 if number >= len(full) else K
        answer = world.answer(int(probes[number].id[1:]), np.random.default_rng(number), 0.3 * (kind in "dm"), k=k)
        if kind == "l":
            evidence.fail(probes[number].id)
        else:
            evidence.update(probes[number].id, Answer(9, ()) if kind == "-" else answer)
    given_back = folded.index(None)
    assert [bet for bet in folded if bet is None] == [None]
    assert given_back == len(full) + 1  # with the first hit in the narrower view
    del folded[given_back]
    counts: dict[tuple[str, str], list[int]] = {}
    for number, (kind, (hits, at)) in enumerate(zip(full + narrow, folded, strict=True)):
        assert any(hits) == (kind == "d")
        # The answer that moves it is no bet, and loses at what was known before it.
        view, stratum = FULL if number <= len(full) else "top5", probes[number].stratum
        before = counts.setdefault((view, stratum), [0] * len(hits))
        bounds = [level.hit_bounds[stratum] for level in envelope.levels[view]]
        first = envelope.first_at(view, stratum) if number == 0 else None
        assert at == (first or [bound_at(own, n) for own, n in zip(bounds, before, strict=True)])
        before[:] = [n + hit for n, hit in zip(before, hits, strict=True)]
    most = sorted(max(row) for row in counts.values())
    assert most[0] >= 1
    assert most[-1] >= 3


def test_what_was_won_in_one_view_is_given_back_in_another(recorded: Recorded, world: World) -> None:
    """Views are calibrated on the same answers, so that what counts of two of them may have been lucky alike."""
    shifts = (0.3, 0.3, 0.0, 0.3, 0.3)

    def won(shown: tuple[float, ...], requests: int) -> float:
        def turns(probe: int, rng: np.random.Generator) -> Answer:
            number = len(asked)
            asked.append(probe)
            return world.answer(probe, rng, shown[number], k=5 if number >= 2 else K)

        asked: list[int] = []
        return stream(recorded, 1, turns, requests)[0].log_e

    assert won(shifts, 3) > 3  # the answer that moves it to the narrower view shows nothing
    assert won(shifts, 4) == pytest.approx(won((0.0, 0.0, *shifts[2:]), 4))
    assert won(shifts, 5) == pytest.approx(won((0.0, 0.0, *shifts[2:]), 5))
    assert won(shifts, 5) > won(shifts, 4)


def test_more_tokens_than_a_view_takes_change_nothing(recorded: Recorded, world: World) -> None:
    def shown(k: int) -> float:
        return stream(recorded, 3, lambda p, r: world.answer(p, r, 0.05, 9, k=k), 30)[0].log_e

    assert shown(5) == shown(7) == shown(11)
    assert shown(12) == shown(30) != shown(5)


def test_zero_probabilities_fill_no_list(recorded: Recorded, world: World) -> None:
    """One token and entries of probability zero must not pass for agreement of a deviating provider."""

    def hollow(probe: int, rng: np.random.Generator) -> Answer:
        (position,) = world.answer(probe, rng, 0.3).positions
        top = (position.top[0], *((key, -np.inf) for key, _ in position.top[1:]))
        return Answer(9, (Position(position.token, position.logprob, top),))

    evidence, largest = stream(recorded, 1, hollow, 100)
    assert largest <= 0
    assert evidence.resolution is not None
    assert evidence.upper(evidence.resolution) == 1.0


def test_a_view_that_nobody_calibrated_shows_nothing(recorded: Recorded, world: World) -> None:
    baseline, suite = recorded
    assert baseline.table is not None
    envelope = freeze(baseline.table, ALPHA)
    only = dataclasses.replace(envelope, levels={"full": envelope.levels["full"]})
    evidence = LogprobEvidence(baseline, only, suite)
    evidence.update("p1", world.answer(1, np.random.default_rng(0), 0.3, k=5))
    assert evidence.snapshot(1.0).findings[0].kind == "logprobs_missing"


@pytest.mark.parametrize("rounding", [np.floor, np.ceil], ids=["down", "towards zero"])
def test_values_on_a_coarse_grid_accuse_nobody_however_they_came_there(
    recorded: Recorded, world: World, rounding: Callable[[float], float]
) -> None:
    def coarse(probe: int, rng: np.random.Generator) -> Answer:
        answer = world.answer(probe, rng)
        (position,) = answer.positions
        top = tuple((key, float(rounding(8 * value) / 8) + 0.0) for key, value in position.top)
        return dataclasses.replace(answer, positions=(Position(top[0][0], top[0][1], top),))

    assert all(stream(recorded, seed, coarse, 120)[1] < THRESHOLD for seed in range(4))
    assert stream(recorded, 1, coarse, 150)[0].upper("strong") > 0.05
