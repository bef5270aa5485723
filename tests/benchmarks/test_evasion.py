"""The arms of the evasion benchmark, on recorded answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evasion import ARMS, PRIVATE, PUBLISHED, Answers, StreamFold, retuned, table
from qcheck.baselines import Baseline, load_baseline, read_answers
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.jobs.panel import Panel
from qcheck.suites import Suite, load_suite, shipped_folder

Recorded = tuple[Baseline, Suite, dict[str, Answers]]
ARM = {arm.what: arm for arm in ARMS}


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """The shipped baseline, and some answers of an honest deployment and of the variants under the twins' names."""
    baseline, suite = load_baseline(shipped_folder("baselines") / "lab-tiny"), load_suite("logprobs")
    entries = {d.name: d for d in baseline.manifest.deployments}
    ids = [p.id for p in suite.fold("evaluation")][::20]
    answers = {}
    for name, of in (("honest", "honest-bf16"), ("q4_k_m-torch", "q4_k_m"), ("fp8-bf16", "fp8")):
        kept = read_answers(baseline.folder, entries[of].answers)
        answers[name] = {i: kept[i][0] for i in ids}
    return baseline, suite, answers


def values(answers: Answers) -> list[list[float]]:
    return [[value for _, value in answer.positions[0].top] for answer in answers.values()]


@pytest.mark.parametrize("what", ["rounded to 1/8", "noise of 0.05 nats", "temperature retuned"])
def test_lists_stay_lists(recorded: Recorded, what: str) -> None:
    own, honest = recorded[2]["q4_k_m-torch"], recorded[2]["honest"]
    changed = ARM[what].change(own, honest, np.random.default_rng(0))
    assert values(changed) != values(own)
    for before, after in zip(own.values(), changed.values(), strict=True):
        top = [value for _, value in after.positions[0].top]
        assert top == sorted(top, reverse=True)
        assert {key for key, _ in after.positions[0].top} == {key for key, _ in before.positions[0].top}
        if "rounded" in what:
            assert all(8 * value == round(8 * value) for value in top)
        else:
            kept = [np.exp([v for _, v in a.positions[0].top]).sum() for a in (before, after)]
            assert kept[0] == pytest.approx(kept[1])


def test_a_temperature_is_found_again(recorded: Recorded) -> None:
    honest = recorded[2]["honest"]
    cooled = retuned(honest, recorded[2]["fp8-bf16"], np.random.default_rng(0))
    back = retuned(cooled, honest, np.random.default_rng(0))
    for one, other in zip(values(honest), values(back), strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_what_is_recognised_is_answered_honestly(recorded: Recorded) -> None:
    own, honest = recorded[2]["q4_k_m-torch"], recorded[2]["honest"]
    arm = ARM["published probes, recognised"]
    served = list(arm.change(own, honest, np.random.default_rng(0)).values())
    assert (arm.probes, ARM["private probes of the same suite"].probes) == (PUBLISHED, PRIVATE)
    assert served[0::2] == list(honest.values())[0::2]
    assert served[1::2] == list(own.values())[1::2]


def test_the_remembered_fold_is_the_evidences_own(recorded: Recorded) -> None:
    """Through a change of views, twice, so that the second time everything is remembered."""
    baseline, suite, answers = recorded
    assert baseline.table is not None
    envelope, rng = freeze(baseline.table, 0.01), np.random.default_rng(0)
    coarse = ARM["rounded to 1/8"].change(answers["honest"], answers["honest"], rng)
    stream = [(i, (answers["honest"] if n < 20 else coarse)[i]) for n, i in enumerate(coarse)]
    plain = LogprobEvidence(baseline, envelope, suite)
    for probe_id, answer in stream:
        plain.update(probe_id, answer)
    fold = StreamFold(Panel(suite, baseline, envelope, 1.0))
    for _ in range(2):
        alarm, evidence = fold(stream, dict(stream))
        assert alarm is None
        assert (evidence.log_e, evidence.fraction(), evidence.deviating) == (
            plain.log_e, plain.fraction(), plain.deviating
        )  # fmt: skip


def test_rows_say_who_is_accused(recorded: Recorded) -> None:
    baseline, suite, answers = recorded
    whats = ("nothing", "published probes, recognised", "honest answers to other probes", "noise of 0.1 nats")
    rows = table(baseline, suite, answers, ["honest"], [ARM[what] for what in whats], streams=3).splitlines()[2:6]
    plain, published, replayed, noised = ([cell.strip() for cell in row.split("|")[2:-1]] for row in rows)
    assert plain[0].startswith("0, ")
    assert plain[1] == "3 / 3; 0"
    assert published[1].startswith("– / –")
    assert replayed[0] == "not done"
    assert replayed[1] == "3 / 3; 0"
    assert noised[0].startswith("0, ")
    assert noised[0].endswith(" of 6")  # a draw of the noise for each
