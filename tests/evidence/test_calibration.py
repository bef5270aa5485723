"""Tail counts, on answers made from formulas (see synthetic)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from synthetic import Items, World, build

from qcheck.baselines import Answer, Baseline
from qcheck.errors import BaselineError
from qcheck.evidence import leave_one_out
from qcheck.evidence.calibration import Block, _thresholds, calibrate
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.scoring import Yardstick, most_of
from qcheck.evidence.views import VIEWS
from qcheck.expected import IntegerAnswer
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import DIRECTION, FLIP, FULL, SIZE, CalibrationTable, TailEvent

OWN = 100  # clusters of each stratum that the suite has to count on
FURTHER = 200


@pytest.fixture(autouse=True)
def full_view_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The views are counted alike, and each takes its time."""
    monkeypatch.setattr(leave_one_out, "VIEWS", VIEWS[:1])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Baseline, Suite]:
    return build(
        tmp_path_factory.mktemp("few"),
        world,
        honest=4,
        variants={"strong": 0.3, "weak": 0.03},
        probes={"evaluation": 60, "selection": 100, "calibration": 2 * OWN},
        views=VIEWS[:1],
    )


@pytest.fixture(scope="module")
def block(recorded: tuple[Baseline, Suite], world: World) -> Block:
    """Further prompts of the stratum `odd` with the honest deployments' answers."""
    baseline, suite = recorded
    example = suite.probes[1]
    probes = [
        Probe(f"p{i}", f"c{i}", "calibration", example.messages, stratum="odd") for i in range(5000, 5000 + FURTHER)
    ]
    rng = np.random.default_rng(9)
    answers = {r: {p.id: world.answer(int(p.id[1:]), rng) for p in probes} for r in baseline.references}
    return Block(probes, answers)


@pytest.fixture(scope="module")
def deep(recorded: tuple[Baseline, Suite], block: Block) -> CalibrationTable:
    """The table with the block counted, in the full view alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out, "VIEWS", VIEWS[:1])
        table = calibrate(*recorded, further=[block])
    assert table is not None
    return table


def sizes(events: list[TailEvent]) -> list[TailEvent]:
    return [e for e in events if e.score == SIZE and e.view == FULL]


def test_a_deep_calibration_counts_size_in_its_own_stratum(
    recorded: tuple[Baseline, Suite], deep: CalibrationTable
) -> None:
    baseline, _ = recorded
    assert baseline.table is not None
    assert deep.clusters == {"even": OWN, "odd": OWN + FURTHER}
    for old, new in zip(sizes(baseline.table.events), sizes(deep.events), strict=True):
        assert new.threshold == old.threshold
        assert new.counts["even"] == old.counts["even"]
        assert new.counts["odd"].shown == old.counts["odd"].shown
        assert new.counts["odd"].variant_clusters == OWN
        # The same formulas made both, so the shares agree within five standard errors.
        p, n = old.counts["odd"].honest_any / OWN, FURTHER
        added = new.counts["odd"].honest_any - old.counts["odd"].honest_any
        assert abs(added - n * p) <= 5 * np.sqrt(max(p, 1 / OWN) * n * (1 + n / OWN))
    assert deep.seen(FULL)[len(sizes(deep.events)) :] == baseline.table.seen(FULL)[len(sizes(deep.events)) :]


def test_a_rare_event_is_bounded_below_the_suite_s_own_floor(deep: CalibrationTable) -> None:
    rarest = sizes(deep.events)[-1]
    assert rarest.counts["odd"].honest_any == 0
    assert rarest.null_bound("odd", 1e-4) < rarest.null_bound("even", 1e-4) / 2.5


def test_every_view_is_counted_deeply(
    recorded: tuple[Baseline, Suite], block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave_one_out, "VIEWS", (VIEWS[0], VIEWS[2]))
    few = dataclasses.replace(block, probes=block.probes[:50])
    usual, deep = (calibrate(*recorded, further=blocks) for blocks in ([], [few]))
    assert usual is not None
    assert deep is not None
    assert recorded[0].table is not None
    scorer = LeaveOneOut(recorded[0], recorded[1], Yardstick.of(recorded[0]))
    scores = scorer(few.answers, few.probes, (), VIEWS[2], recorded[0].references)
    for before, event in zip(usual.seen("step8"), deep.seen("step8"), strict=True):
        if event.score == SIZE:
            counted = event.counts["odd"]
            assert counted.clusters == OWN + 50
            added = {n: c - before.counts["odd"].honest[n] for n, c in counted.honest.items()}
            assert added == {n: int((frame[SIZE] > event.threshold).sum()) for n, frame in scores.items()}


def test_directions_are_counted_deeply_where_their_variants_answered(
    recorded: tuple[Baseline, Suite], block: Block, world: World
) -> None:
    baseline, suite = recorded
    weak, rng = baseline.variants[1], np.random.default_rng(4)
    theirs = {p.id: world.answer(int(p.id[1:]), rng, 0.03, 1) for p in block.probes}
    told = dataclasses.replace(block, answers={**block.answers, weak: theirs})
    usual, deep = (calibrate(baseline, suite, further=[b], directed=["weak"]) for b in (block, told))
    assert usual is not None
    assert deep is not None
    assert deep.directed == ["weak"]
    own, counted = ([e.counts["odd"] for e in table.events if e.score == DIRECTION] for table in (usual, deep))
    assert {c.clusters for c in own} == {OWN}
    assert {c.clusters for c in counted} == {OWN + FURTHER}
    for before, after in zip(own, counted, strict=True):
        p, n = before.honest_any / OWN, FURTHER
        assert abs(after.honest_any - before.honest_any - n * p) <= 5 * np.sqrt(max(p, 1 / OWN) * n * (1 + n / OWN))
    # Where the variant has answered its jumps are known, and count as noise of the honest deployments.
    for before, after in zip(sizes(usual.events), sizes(deep.events), strict=True):
        assert after.counts["even"] == before.counts["even"]
        assert after.counts["odd"].honest_any <= before.counts["odd"].honest_any


def test_prompts_that_a_deployment_did_not_answer_are_left_out(
    recorded: tuple[Baseline, Suite], block: Block, world: World
) -> None:
    baseline, suite = recorded
    first = baseline.references[0]
    kept = dict(list(block.answers[first].items())[100:])
    deep = calibrate(baseline, suite, further=[dataclasses.replace(block, answers={**block.answers, first: kept})])
    assert deep is not None
    assert deep.clusters["odd"] == OWN + FURTHER - 100


def test_a_cluster_of_several_further_prompts_counts_once(
    recorded: tuple[Baseline, Suite], block: Block, deep: CalibrationTable
) -> None:
    pairs = [dataclasses.replace(p, cluster=f"pair{i // 2}") for i, p in enumerate(block.probes)]
    paired = calibrate(*recorded, further=[Block(pairs, block.answers)])
    assert paired is not None
    assert paired.clusters["odd"] == OWN + FURTHER // 2
    for one, two in zip(sizes(deep.events), sizes(paired.events), strict=True):
        assert two.counts["odd"].honest_any <= one.counts["odd"].honest_any


def test_clusters_that_were_counted_before_are_refused(recorded: tuple[Baseline, Suite], block: Block) -> None:
    baseline, suite = recorded
    asked = suite.fold("evaluation")[1].cluster
    known = dataclasses.replace(block, probes=[dataclasses.replace(block.probes[0], cluster=asked), *block.probes[1:]])
    for blocks, number in (([known], 1), ([block, block], 2)):
        with pytest.raises(BaselineError, match=f"block {number} .* repeats"):
            calibrate(baseline, suite, further=blocks)


def test_every_stratum_that_is_asked_needs_its_own_clusters(recorded: tuple[Baseline, Suite]) -> None:
    baseline, suite = recorded
    few = {p.id for p in suite.fold("calibration") if p.stratum == "odd"} - {f"p{i}" for i in range(201, 301)}
    moved = tuple(dataclasses.replace(p, stratum="even") if p.id in few else p for p in suite.probes)
    with pytest.raises(BaselineError, match="only 50 calibration clusters of the stratum odd"):
        calibrate(baseline, dataclasses.replace(suite, probes=moved))


def test_noise_beyond_the_envelope_is_counted(
    recorded: tuple[Baseline, Suite], block: Block, deep: CalibrationTable, world: World
) -> None:
    """A deployment that is louder on the further prompts raises the bound for everyone."""
    baseline, suite = recorded
    loud, rng = World(world.seed, 5 * world.noise), np.random.default_rng(3)
    answer: Callable[[str], Answer] = lambda i: loud.answer(int(i[1:]), rng)  # noqa: E731
    noisy = {**block.answers, baseline.references[0]: {p.id: answer(p.id) for p in block.probes}}
    louder = calibrate(baseline, suite, further=[dataclasses.replace(block, answers=noisy)])
    assert louder is not None
    assert sizes(louder.events)[0].null_bound("odd", 1e-4) > 2 * sizes(deep.events)[0].null_bound("odd", 1e-4)


def test_losses_on_further_items_are_counted_too(graded: tuple[Baseline, Suite], items: Items) -> None:
    """One deployment loses a tenth of the further items; the others answer as they always do."""
    baseline, suite = graded
    assert baseline.table is not None
    example, clumsy = suite.probes[1], baseline.references[0]
    probes = [
        Probe(f"p{i}", f"c{i}", "calibration", example.messages, (), "odd", IntegerAnswer(i), 1)
        for i in range(5000, 5500)
    ]
    rng = np.random.default_rng(9)
    answers = {
        r: {p.id: items.answer(int(p.id[1:]), rng, 0.1 if r == clumsy else 0.0, 9) for p in probes}
        for r in baseline.references
    }
    deep = calibrate(baseline, suite, further=[Block(probes, answers)])
    assert deep is not None
    (old,), (new,) = baseline.table.events, deep.events
    assert new.counts["even"] == old.counts["even"]
    assert new.counts["odd"].clusters == 300 + len(probes)
    name = baseline.manifest.deployments[clumsy].name
    added = new.counts["odd"].honest[name] - old.counts["odd"].honest[name]
    # Of the known four fifths it loses a tenth: 40, within five standard errors.
    assert abs(added - 40) <= 5 * np.sqrt(40)


def test_further_prompts_of_an_unknown_stratum_are_refused(recorded: tuple[Baseline, Suite], block: Block) -> None:
    baseline, suite = recorded
    strange = [dataclasses.replace(p, stratum="strange") for p in block.probes[:10]]
    with pytest.raises(BaselineError, match="stratum strange"):
        calibrate(baseline, suite, further=[Block(strange, block.answers)])


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 8])
def test_thresholds_on_direction_can_be_passed_however_many_tokens_answers_have(tokens: int) -> None:
    most, quiet = tokens * most_of(tokens), pd.Series(np.zeros(100))
    assert most >= 4
    assert _thresholds(DIRECTION, [quiet, quiet], tokens) == [0.05, 0.5, 1.25, 2.25]
    noisy = _thresholds(DIRECTION, [quiet, pd.Series(np.full(100, most))], tokens)
    assert 2.25 < min(noisy) <= max(noisy) < most
    some = _thresholds(DIRECTION, [quiet, pd.Series(np.full(100, most / 2))], tokens)
    assert some[0] == some[1] == pytest.approx(most / 2)
    assert some[1] < some[2] < some[3] < most


def test_thresholds_on_flips_coincide_where_no_honest_deployment_flips() -> None:
    never, once = pd.Series(np.zeros(100)), pd.Series([*np.zeros(99), 0.5])
    assert len(set(_thresholds(FLIP, [never, never], 1))) == 1
    assert _thresholds(FLIP, [never, once], 1)[-2:] == [0.5, 0.7]
    tied = pd.Series([*np.zeros(90), *[0.5] * 10])
    assert _thresholds(FLIP, [never, tied], 1) == [0.5, 0.5, 0.5, 0.7]
    assert _thresholds(SIZE, [never, never], 1) == [0.2, 0.2, 0.2, 0.28]
