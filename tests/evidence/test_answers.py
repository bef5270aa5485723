"""What graded answers must guarantee, on streams made from formulas (see synthetic)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import ALPHA, THRESHOLD, Answering, Items, Recorded, build, fold

from qcheck.baselines import Answer
from qcheck.evidence.answers import AnswerEvidence, is_right, losses
from qcheck.evidence.envelope import freeze
from qcheck.stats.counted import hit_bounds
from qcheck.tailcounts import FULL

WRONG = Answer(10, (), "I cannot tell.")


def fresh(graded: Recorded) -> AnswerEvidence:
    baseline, suite = graded
    assert baseline.table is not None
    return AnswerEvidence(baseline, freeze(baseline.table, ALPHA), suite)


def stream(graded: Recorded, seed: int, answer: Answering, length: int = 300) -> tuple[AnswerEvidence, float]:
    """One provider's answers, and the largest log e-value on the way."""
    evidence = fresh(graded)
    return evidence, fold(evidence, graded[1], seed, answer, length)


def known(graded: Recorded) -> list[int]:
    """The evaluation items that every reference deployment gets right in all repeats."""
    baseline, suite = graded
    references = {p: baseline.probe(p.id) for p in suite.fold("evaluation")}
    return [
        int(p.id[1:])
        for p, recorded in references.items()
        if recorded and all(is_right(a, p) for i in baseline.references for a in recorded.answers[i])
    ]


def test_honest_streams_are_not_accused_and_become_consistent(graded: Recorded, items: Items) -> None:
    seen = [stream(graded, seed, items.answer) for seed in range(12)]
    assert max(largest for _, largest in seen) < THRESHOLD  # alpha is 0.01; one or more of 12 have probability 0.11
    assert {evidence.resolution for evidence, _ in seen} == {"poor"}
    assert sum(evidence.upper("poor") <= 0.05 for evidence, _ in seen) >= 9


def test_a_mixture_of_honest_deployments_is_not_accused(tmp_path: Path) -> None:
    """Deployments that each get other items wrong, the same each time, mixed at random or by the prompt."""
    world = Items(noise=0.0)

    class Differing(Items):
        def answer(self, probe: int, rng: np.random.Generator, deviation: float = 0.0, kind: int = 0) -> Answer:
            return world.answer(probe, rng, deviation or 0.01, kind if deviation else 20 + int(rng.integers(3)))

    recorded = build(tmp_path / "differing", Differing(), honest=3, variants={"poor": 0.7})

    def by_prompt(probe: int, rng: np.random.Generator) -> Answer:
        return world.answer(probe, rng, 0.01, kind=20 + probe % 3)

    for mixture in (Differing().answer, by_prompt):
        assert all(stream(recorded, s, mixture, 200)[1] < THRESHOLD for s in range(6))


def test_at_the_bound_itself_alarms_stay_below_alpha(graded: Recorded) -> None:
    """Alarms of 60 streams at the bound, 0.6 expected at most: four or more have probability 0.003."""
    rate = min(freeze(graded[0].table, ALPHA).levels[FULL][0].null_bounds.values())  # type: ignore[arg-type]
    right = set(known(graded))
    share = len(right) / len(graded[1].fold("evaluation"))

    def at_the_bound(probe: int, rng: np.random.Generator) -> Answer:
        return WRONG if rng.random() < rate / share else Answer(10, (), str(probe))

    assert sum(stream(graded, s, at_the_bound, 80)[1] >= THRESHOLD for s in range(60)) <= 3


def test_a_worse_model_is_found_and_what_it_lost_is_counted(graded: Recorded, items: Items) -> None:
    evidence, largest = stream(graded, 1, lambda p, r: items.answer(p, r, 0.3, 1), 60)
    assert largest >= THRESHOLD
    finding, accuracy = evidence.snapshot(1.0).findings
    assert "; not shown to be less than 5 points worse" in accuracy.text
    right, of, reference, lost, won = map(int, re.findall(r"\d+", finding.text))
    assert (of, finding.severity) == (60, "info")
    assert right == reference - lost + won
    assert lost == len(evidence.deviating) > 5
    assert set(finding.probes) <= set(evidence.deviating)


def test_a_part_of_the_requests_is_found_and_bounded(graded: Recorded, items: Items) -> None:
    def routed(probe: int, rng: np.random.Generator) -> Answer:
        return items.answer(probe, rng, 0.7 if rng.random() < 0.4 else 0.0)

    evidence, largest = stream(graded, 3, routed)
    low, estimate, high = evidence.fraction()
    assert largest >= THRESHOLD
    assert 0 < low <= 0.4 <= high
    assert low <= estimate <= high


POINTS = re.compile(r"(\S+) points of accuracy on (\d+) items .*, (\S+) to (\S+) at all times")


def accuracy(evidence: AnswerEvidence) -> tuple[float, int, float, float]:
    """The difference in points that a finding states, on how many items, and its bounds."""
    (finding,) = (f for f in evidence.snapshot(1.0).findings if f.kind == "accuracy_difference")
    assert finding.severity == "info"
    match = POINTS.match(finding.text)
    assert match
    mean, items, low, high = map(float, match.groups())
    return mean, int(items), low, high


def test_the_difference_in_accuracy_is_bounded_in_points(graded: Recorded, items: Items) -> None:
    """Item by item against the mean of the reference deployments; what is won makes up for what is lost."""
    baseline, suite = graded
    honest, _ = stream(graded, 2, items.answer)
    mean, number, low, high = accuracy(honest)
    assert number == 300
    assert -5 < low < mean < high < 5
    assert "; shown to be less than 5 points worse" in honest.snapshot(1.0).findings[1].text
    worse, _ = stream(graded, 2, lambda p, r: items.answer(p, r, 0.3, 1))
    mean, _, low, high = accuracy(worse)
    right = [is_right(a, p) for p in suite.fold("evaluation") for i in baseline.references
             for a in baseline.probe(p.id).answers[i]]  # type: ignore[union-attr]  # fmt: skip
    rng = np.random.default_rng(0)
    truth = np.mean([is_right(items.answer(int(p.id[1:]), rng, 0.3, 1), p) for p in suite.fold("evaluation")])
    assert mean == pytest.approx(100 * (truth - np.mean(right)), abs=1.5)
    assert low < mean < high < -5


def test_who_answers_all_items_has_won_what_the_reference_gets_wrong(graded: Recorded) -> None:
    evidence, largest = stream(graded, 1, lambda p, _: Answer(10, (), str(p)))
    mean, *_ = accuracy(evidence)
    assert mean > 10
    assert largest < THRESHOLD
    assert evidence.deviating == []


def test_what_cannot_be_seen_is_said(graded: Recorded, items: Items) -> None:
    evidence, largest = stream(graded, 1, lambda p, r: items.answer(p, r, 0.01, 2))
    assert largest < THRESHOLD
    assert "tiny" in evidence.blind_to(0.05)


def test_items_that_a_reference_gets_wrong_say_nothing(graded: Recorded) -> None:
    right = set(known(graded))
    unknown = [p for p in graded[1].fold("evaluation") if int(p.id[1:]) not in right]
    evidence = fresh(graded)
    for probe in unknown:
        evidence.update(probe.id, WRONG)
    assert len(unknown) > 30
    assert evidence.log_e < 0
    assert evidence.deviating == []


@pytest.mark.parametrize("text", ["<think>It is", "It is"])
def test_an_answer_that_ends_before_it_says_anything_is_a_loss(graded: Recorded, text: str | None) -> None:
    evidence = fresh(graded)
    for item in known(graded)[:20]:
        evidence.update(f"p{item}", Answer(10, (), text))
    assert len(evidence.deviating) == 20
    assert evidence.log_e >= THRESHOLD


@pytest.mark.parametrize("text", ["", None, " \n"])
def test_an_empty_answer_is_neither_a_loss_nor_agreement(graded: Recorded, text: str | None) -> None:
    """Servers give many in a row while they start, and where a filter took away what the model said."""
    evidence = fresh(graded)
    for item in known(graded)[:40]:
        evidence.update(f"p{item}", Answer(10, (), text))
    assert evidence.deviating == []
    assert evidence.log_e < 0
    assert evidence.bound() == 1.0
    said = {f.kind: f.text for f in evidence.snapshot(1.0).findings}
    assert "40 of 40 answers say nothing" in said["answers_empty"]
    assert evidence.mute
    evidence.update(f"p{known(graded)[40]}", Answer(10, (), f"It is {known(graded)[40]}."))
    assert not evidence.mute
    assert said["accuracy_difference"].startswith("-100.0 points")  # what is missing may be missing for that


def test_a_wrong_answer_that_may_be_broken_off_is_neither_a_loss_nor_agreement(graded: Recorded) -> None:
    """A filter may have ended it, or a server that was shut down."""
    evidence, wrong = fresh(graded), known(graded)[:40]
    for item in wrong:
        evidence.update(f"p{item}", replace(WRONG, whole=False))
    for item in known(graded)[40:60]:
        evidence.update(f"p{item}", Answer(10, (), f"It is {item}.", whole=False))
    assert evidence.deviating == []
    assert evidence.log_e < 0
    said = {f.kind: f.text for f in evidence.snapshot(1.0).findings}
    assert "40 of 60 answers are wrong and do not say that they ended" in said["answers_broken_off"]
    assert "right on 20 of 60" in said["answers_graded"]


def test_failed_requests_neither_accuse_nor_reassure(graded: Recorded, items: Items) -> None:
    evidence, _ = stream(graded, 1, items.answer)
    before, log_e = evidence.upper("poor"), evidence.log_e
    for item in range(100):
        evidence.fail(f"p{item}")
    assert evidence.upper("poor") > before + 0.2
    assert evidence.log_e < log_e


def test_items_without_a_recorded_answer_neither_accuse_nor_reassure(graded: Recorded) -> None:
    item = graded[1].probes[-1]  # of the calibration fold, which no provider is asked and nothing recorded answers
    evidence = fresh(graded)
    for _ in range(50):
        evidence.update(item.id, WRONG)
    assert (evidence.deviating, evidence.upper("poor")) == ([], 1.0)
    assert [f.kind for f in evidence.snapshot(1.0).findings] == ["reference_missing"]


def test_null_bounds_are_widened_and_never_exceed_one(graded: Recorded) -> None:
    table = graded[0].table
    assert table is not None
    (event,) = table.events
    each = 0.5 * 0.2 * ALPHA / table.null_probabilities
    (level,) = freeze(table, ALPHA).levels[FULL]
    assert level.null_bounds == pytest.approx({s: 1.5 * event.null_bound(s, each) for s in event.counts}, rel=1e-8)
    for stratum, bounds in level.hit_bounds.items():
        count, price = event.counts[stratum], 1.06 ** (1 / len(event.counts)) - 1
        wide = [min(1.5 * q, level.null_bounds[stratum]) for q in hit_bounds(count.largest, count.clusters, price)]
        assert bounds == pytest.approx(wide, rel=1e-4)
    everywhere = {
        s: c.model_copy(update={"honest": dict.fromkeys(c.honest, c.clusters)}) for s, c in event.counts.items()
    }
    noisy = table.model_copy(update={"events": [event.model_copy(update={"counts": everywhere})]})
    assert set(freeze(noisy, ALPHA).levels[FULL][0].null_bounds.values()) == {1.0}
    assert freeze(noisy, ALPHA).resolution == freeze(table, ALPHA).resolution


def test_a_table_of_losses_says_nothing_of_log_probabilities(graded: Recorded) -> None:
    table = graded[0].table
    assert table is not None
    assert (table.noise_rms, table.envelope_kl, table.variant_kl) == (None, None, {})
    assert table.variants == ("poor", "worse", "tiny")
    counts = table.events[0].counts["odd"]
    assert counts.shown["poor"] > counts.shown["worse"] > counts.shown["tiny"]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1)))
def test_more_references_never_mean_more_losses(rows: list[list[bool]]) -> None:
    """What makes leave-one-out calibration valid for the deployments that stand in the baseline."""
    right = pd.DataFrame(rows)
    all_ = losses(right, list(right))
    for index in right:
        others = [r for r in right if r != index]
        assert list(all_[index]) == [not row[index] and all(row[o] for o in others) for row in rows]
        assert not (all_[index] & ~losses(right, others[:1])[index]).any()


def test_a_probe_without_a_right_answer_is_an_error(graded: Recorded) -> None:
    with pytest.raises(ValueError, match="states no right answer"):
        is_right(WRONG, replace(graded[1].probes[0], answer=None))
