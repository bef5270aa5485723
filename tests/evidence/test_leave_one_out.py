"""How honest answers are widened for kernels that nobody recorded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import World

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.evidence.alignment import align, widened
from qcheck.evidence.leave_one_out import LeaveOneOut, widenings
from qcheck.evidence.scoring import NOISE_FACTOR, Yardstick, score
from qcheck.evidence.views import VIEWS, View
from qcheck.suites import Suite
from qcheck.tailcounts import SIZE

STEPPED = [view for view in VIEWS if view.step]
UNIT = 0.01


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def laid(world: World, rng: np.random.Generator, probe: int) -> tuple[Answer, ProbeReference]:
    return world.answer(probe, rng), ProbeReference(tuple((world.answer(probe, rng),) for _ in range(3)))


@pytest.mark.parametrize("view", STEPPED, ids=lambda v: v.name)
def test_an_answer_that_is_not_widened_is_merely_rounded(world: World, rng: np.random.Generator, view: View) -> None:
    for probe in range(20):
        answer, reference = laid(world, rng, probe)
        plain = align(view.of(answer), reference, range(3), view.tokens)
        whole = align(view.unrounded.of(answer), reference, range(3), view.tokens)
        assert plain is not None
        assert whole is not None
        same = widened(whole, 1.0, view.step)
        assert np.allclose(same.candidate, plain.candidate, equal_nan=True)
        assert np.allclose(same.candidate_floor, plain.candidate_floor, equal_nan=True)


def test_deviations_are_multiplied_before_they_are_rounded(rng: np.random.Generator) -> None:
    """So are those of tokens that only one side lists, as far as they are known."""
    world, step = World(noise=0.05), 1e-9
    for probe in range(20):
        answer, reference = laid(world, rng, probe)
        whole = align(answer, reference, range(3))
        assert whole is not None
        for one in range(3):
            before, after = (score(a, [one], (), Yardstick(UNIT)).size for a in (whole, widened(whole, 1.5, step)))
            assert after == pytest.approx(1.5 * before, rel=1e-6)


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.name)
def test_what_an_answer_shows_by_itself_is_counted_too(world: World, rng: np.random.Generator, view: View) -> None:
    for probe in range(20):
        answer, reference = laid(world, rng, probe)
        ways = widenings(answer, reference, range(3), view)
        plain = align(view.of(answer), reference, range(3), view.tokens)
        assert plain is not None
        assert [factor for _, factor in ways] == ([1.0, 1.0] if view.step else [NOISE_FACTOR])
        assert np.array_equal(ways[0][0].candidate, plain.candidate, equal_nan=True)


def test_a_list_that_lies_on_a_coarse_grid_already_is_widened_as_it_is(world: World, rng: np.random.Generator) -> None:
    answer, reference = laid(world, rng, 0)
    coarse = VIEWS[2].of(answer)
    ((_, factor),) = widenings(coarse, reference, range(3), VIEWS[2])
    assert factor == NOISE_FACTOR
    assert widenings(replace(answer, positions=()), reference, range(3), VIEWS[2]) == []


def test_what_rounding_does_is_not_multiplied(recorded: tuple[Baseline, Suite]) -> None:
    """Of kernels that hardly differ, seen on a grid much coarser than that."""
    baseline, suite = recorded
    answers = {i: baseline.calibration_answers(i) or {} for i in (*baseline.references, *baseline.variants)}
    probes = suite.fold("calibration")[:60]
    view = next(v for v in VIEWS if v.name == "step8")
    scored = LeaveOneOut(baseline, suite, Yardstick.of(baseline))(answers, probes, (), view, baseline.references)
    for name, frame in scored.items():
        index = baseline.names(baseline.references).index(name)
        own = []
        for probe in probes:
            reference = ProbeReference(tuple((kept[probe.id],) for kept in answers.values()))
            alignment = align(view.of(answers[baseline.references[index]][probe.id]), reference, baseline.references)
            assert alignment is not None
            others = [i for i in baseline.references if i != baseline.references[index]]
            own.append(score(alignment, others, (), Yardstick.of(baseline).on_grid(view.step)).size)
        assert (frame[SIZE] >= np.array(own) - 1e-9).all()
        assert frame[SIZE].mean() < 1.2 * np.mean(own)
