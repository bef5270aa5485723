"""What the benchmark makes of deployments that are left out of a baseline, on answers made from formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import calibrated
from benchmarks.detection import false_alarms
from benchmarks.detection.draws import BLOCK
from benchmarks.detection.false_alarms import OBSERVABLES, FalseAlarms, cases, together
from benchmarks.detection.left_out import Case, Streams
from benchmarks.detection.pairwise import Pairwise
from benchmarks.detection.table import false_alarm_table
from qcheck.baselines import Baseline
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS, View
from qcheck.suites import Suite
from qcheck.tailcounts import DIRECTION, SIZE, STEADY
from qcheck.verdict import Rules
from tests.evidence import synthetic

RULES = Rules(0.01, 0.002, 1, 0.05)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Baseline, Suite]:
    """Four honest deployments and two variants, without a table; a fifth of the probes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrated, "recalibrate", lambda *_: True)
        baseline, suite = synthetic.build(
            tmp_path_factory.mktemp("world"), synthetic.World(), 4, {"crude": 0.5, "near": 0.02}
        )
    return baseline, replace(suite, probes=suite.probes[::5])


@pytest.mark.parametrize("view", [VIEWS[0], VIEWS[-1]])
@pytest.mark.parametrize("absent", [("honest1",), ("honest0", "honest2")])
def test_one_pass_says_what_each_choice_of_references_does(
    world: tuple[Baseline, Suite], view: View, absent: tuple[str, ...]
) -> None:
    baseline, suite = world
    probes = [p for p in suite.probes if p.fold != "evaluation"][:20]
    everyone = {i: baseline.calibration_answers(i) or {} for i in range(len(baseline.manifest.deployments))}
    kept = {i: d for i, d in enumerate(baseline.manifest.deployments) if d.name not in absent}
    manifest = baseline.manifest.model_copy(update={"deployments": list(kept.values())})
    others = Baseline("others", baseline.folder, manifest, "", None)
    yardstick = Yardstick(0.003, {others.variants[-1]: 0.01})
    answers = {position: everyone[i] for position, i in enumerate(kept)}
    expected = LeaveOneOut(others, suite, yardstick)(answers, probes, others.variants, view, others.references)
    found = Pairwise.of(baseline, everyone, probes, view).beside(
        absent, Yardstick(0.003, {len(others.variants) - 1: 0.01}).on_grid(view.step)
    )
    assert list(found) == list(expected)
    for name, scores in found.items():
        assert np.allclose(scores, expected[name][[SIZE, STEADY, DIRECTION]], rtol=1e-9, atol=1e-9)
        assert (scores[SIZE] > 0).any()


def test_a_deviation_is_accused_in_every_observable_and_an_honest_deployment_in_none(
    world: tuple[Baseline, Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(false_alarms, "BLOCKS", 1)
    alarms = FalseAlarms(*world, 0.01)
    header, _, line = false_alarm_table(alarms, ["honest1"]).splitlines()
    of = dict(zip(header.split(" | "), line.split(" | "), strict=True))
    assert [of[name] for name in OBSERVABLES] == ["0"] * len(OBSERVABLES)
    size, noisiest = (float(of[column].split()[0]) for column in ("mean size", "of the noisiest reference"))
    assert size == pytest.approx(noisiest, rel=0.5)
    crude = alarms.of(Case("crude", ()))
    assert crude.streams == BLOCK
    assert {name: crude.alarms[name] for name in ("full", "in one run")} == {"full": BLOCK, "in one run": BLOCK}
    assert crude.size > 10 * crude.noisiest


def test_bfloat16_is_also_judged_by_the_finer_ones_alone_and_f32_by_bfloat16() -> None:
    honest = ("honest", "honest-f32", "honest-bf16", "honest-torch-bf16")
    both = cases(honest)
    assert [case.provider for case in both[:4]] == list(honest)
    assert all(case.absent == (case.provider,) for case in both[:4])
    assert both[4:] == [
        Case("honest-bf16", ("honest-bf16", "honest-torch-bf16")),
        Case("honest-torch-bf16", ("honest-bf16", "honest-torch-bf16")),
        Case("honest-f32", ("honest", "honest-f32")),
    ]


def test_configurations_of_one_arithmetic_are_left_out_together_too() -> None:
    pair = ("honest-torch-bf16", "honest-torch-bf16-batch")
    assert cases(("honest", "honest-flash", "honest-bf16", *pair))[5:7] == [Case(name, pair) for name in pair]


def streams(log_e: list[float], deviating: list[int]) -> Streams:
    return Streams(np.array([log_e]), np.array([deviating]))


def test_a_run_asks_one_suite_after_the_other_and_averages_those_that_rest_on_two_answers() -> None:
    first, second = streams([1.0, 9.0, 12.0], [1, 2, 2]), streams([3.0, 8.0], [1, 2])
    run = together([first, second], first_turn=2)
    half = -np.log(2)
    expected = [-np.inf, 9 + half, 9 + half, np.logaddexp(9, 8) + half, np.logaddexp(12, 8) + half]
    assert run.log_e[0] == pytest.approx(expected)
    assert run.deviating[0].tolist() == [1, 2, 2, 2, 2]
    assert run.alarms(RULES) == 1
    assert together([first, streams([9.0], [1])], first_turn=1).alarms(RULES) == 1
    assert together([streams([9.0], [1]), streams([9.0], [1])], first_turn=1).alarms(RULES) == 0
