"""What the envelope test must guarantee, on streams made from formulas (see synthetic)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from synthetic import World, build

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.scoring import align, score
from qcheck.records import Position
from qcheck.suites import Suite
from qcheck.verdict import Rules

ALPHA = 0.01
Recorded = tuple[Baseline, Suite]


def stream(
    recorded: Recorded, seed: int, answer: Callable[[int, np.random.Generator], Answer], length: int = 250
) -> tuple[LogprobEvidence, float]:
    """Fold `length` random evaluation probes; returns the evidence and the largest log e-value on the way."""
    baseline, suite = recorded
    assert baseline.table is not None
    evidence = LogprobEvidence(baseline, freeze(baseline.table, ALPHA), suite)
    rng, largest = np.random.default_rng(seed), 0.0
    probes = suite.fold("evaluation")
    for i in rng.permutation(len(probes))[:length]:
        evidence.update(probes[i].id, answer(int(probes[i].id[1:]), rng))
        largest = max(largest, evidence.log_e)
    return evidence, largest


def threshold(recorded: Recorded) -> float:
    return Rules(ALPHA, 0.2 * ALPHA, family=1, tolerance=0.05).log_threshold


def test_honest_streams_are_not_accused_and_become_consistent(recorded: Recorded, world: World) -> None:
    alarms, consistent = 0, 0
    for seed in range(60):
        evidence, largest = stream(recorded, seed, world.answer, 150)
        alarms += largest >= threshold(recorded)
        assert evidence.resolution is not None
        consistent += evidence.upper(evidence.resolution) <= 0.05
    assert alarms == 0  # alpha is 0.01; two or more of 60 have probability 0.12
    assert consistent >= 57


def test_noisier_kernels_within_the_noise_factor_are_not_accused(recorded: Recorded, world: World) -> None:
    louder = World(world.seed, 1.2 * world.noise)
    assert all(stream(recorded, s, louder.answer, 150)[1] < threshold(recorded) for s in range(30))


def test_a_mixture_of_two_honest_deployments_is_not_accused(recorded: Recorded, world: World) -> None:
    """Two kernels with systematic differences of their own, mixed at random or by the prompt."""
    honest = World(world.seed, 0.7 * world.noise)

    def at_random(probe: int, rng: np.random.Generator) -> Answer:
        return honest.answer(probe, rng, 0.6 * world.noise, kind=20 + int(rng.integers(2)))

    def by_prompt(probe: int, rng: np.random.Generator) -> Answer:
        return honest.answer(probe, rng, 0.6 * world.noise, kind=20 + probe % 2)

    for mixture in (at_random, by_prompt):
        assert all(stream(recorded, s, mixture)[1] < threshold(recorded) for s in range(15))


@pytest.mark.parametrize(("size", "kind", "most"), [(0.3, 0, 6), (0.03, 1, 12)])
def test_recorded_variants_are_found_soon_and_named(
    recorded: Recorded, world: World, size: float, kind: int, most: int
) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, size, kind), most)
    assert largest >= threshold(recorded)
    assert next(iter(evidence.posterior())) == ("strong", "weak")[kind]


def test_an_unrecorded_deviation_is_found_by_its_size_and_not_named(recorded: Recorded, world: World) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, 0.3, 17), 8)
    assert largest >= threshold(recorded)
    assert next(iter(evidence.posterior())) == "none of these"


def test_a_tenth_of_the_requests_is_found_and_bounded(recorded: Recorded, world: World) -> None:
    def routed(probe: int, rng: np.random.Generator) -> Answer:
        return world.answer(probe, rng, 0.3 if rng.random() < 0.1 else 0.0)

    evidence, largest = stream(recorded, 3, routed)
    low, estimate, high = evidence.fraction()
    assert largest >= threshold(recorded)
    assert 0 < low <= 0.1 <= high
    assert low <= estimate <= high


def test_what_cannot_be_seen_is_said(recorded: Recorded, world: World) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, 0.001, 2))
    assert largest < threshold(recorded)
    assert evidence.blind_to(0.05) == ("tiny",)


def test_silence_neither_accuses_nor_reassures(recorded: Recorded) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: Answer(None, ()))
    assert largest == 0
    assert evidence.resolution is not None
    assert evidence.upper(evidence.resolution) == 1.0
    assert evidence.snapshot(1.0).findings[0].kind == "logprobs_missing"


def test_withholding_some_answers_never_raises_evidence(recorded: Recorded, world: World) -> None:
    def withheld(probe: int, rng: np.random.Generator) -> Answer:
        answer = world.answer(probe, rng, 0.3)
        return answer if probe % 3 else Answer(None, ())

    assert (
        stream(recorded, 2, withheld, 30)[0].log_e
        < stream(recorded, 2, lambda p, r: world.answer(p, r, 0.3), 30)[0].log_e
    )


@pytest.mark.parametrize("k", [1, 5])
def test_shorter_lists_neither_accuse_nor_reassure(recorded: Recorded, world: World, k: int) -> None:
    for seed in range(8):
        evidence, largest = stream(recorded, seed, lambda p, r: world.answer(p, r, k=k))
        assert largest < threshold(recorded)
        assert evidence.resolution is not None
        assert evidence.upper(evidence.resolution) == 1.0
        assert evidence.snapshot(1.0).findings[0].kind == "logprobs_short"


@pytest.mark.parametrize("k", [2, 3, 5])
def test_shorter_lists_of_a_noisier_kernel_accuse_nobody(recorded: Recorded, world: World, k: int) -> None:
    """Few coordinates make projections wild; calibration saw twelve."""
    louder = World(world.seed, 1.4 * world.noise)
    assert all(stream(recorded, s, lambda p, r: louder.answer(p, r, k=k))[1] < threshold(recorded) for s in range(6))


def test_a_first_list_followed_by_empty_ones_is_not_a_full_answer(recorded: Recorded, world: World) -> None:
    baseline, _ = recorded
    reference = baseline.probe("p0")
    assert reference is not None
    answer = world.answer(0, np.random.default_rng(0))
    (first,) = answer.positions
    assert align(answer, reference, baseline.references).full  # type: ignore[union-attr]
    longer = ProbeReference(tuple((Answer(1, (first, first)),) for _ in baseline.manifest.deployments))
    hollow = Answer(1, (first, Position(first.token, None, ())))
    assert not align(hollow, longer, baseline.references).full  # type: ignore[union-attr]


def test_failed_requests_do_not_reassure(recorded: Recorded, world: World) -> None:
    evidence, _ = stream(recorded, 1, world.answer, 150)
    assert evidence.resolution is not None
    assert evidence.upper(evidence.resolution) <= 0.05
    before = evidence.log_e
    for _ in range(100):
        evidence.fail()
    assert evidence.upper(evidence.resolution) > 0.3
    assert evidence.log_e == before


def test_two_honest_deployments_give_no_directions_and_accuse_nobody(tmp_path: Path, world: World) -> None:
    """Left out of two, a deployment has one reference to be scored with, which gives no direction to bound."""
    two = build(tmp_path / "two", world, honest=2, variants={"weak": 0.03})
    assert two[0].table is not None
    assert {e.score for e in two[0].table.events} == {"size"}
    assert all(stream(two, s, world.answer, 150)[1] < threshold(two) for s in range(20))


def test_deterministic_deployments_do_not_make_rounding_a_deviation(tmp_path: Path) -> None:
    still = World(noise=0.0)
    baseline = build(tmp_path / "still", still, honest=3, variants={"weak": 0.03})
    assert all(stream(baseline, s, still.answer, 150)[1] < threshold(baseline) for s in range(5))


def test_adding_references_never_raises_a_score(recorded: Recorded, world: World) -> None:
    """What makes leave-one-out calibration valid for the deployments that stand in the baseline."""
    baseline, suite = recorded
    rng = np.random.default_rng(0)
    for probe in suite.fold("evaluation")[:40]:
        reference = baseline.probe(probe.id)
        assert reference is not None
        alignment = align(world.answer(int(probe.id[1:]), rng, 0.05, 9), reference, baseline.references)
        assert alignment is not None
        few, all_ = (score(alignment, refs, baseline.variants) for refs in ([0, 1], [0, 1, 2, 3]))
        assert all_.size <= few.size + 1e-12
        assert (all_.directions <= few.directions + 1e-12).all()


def test_a_shared_reference_would_accuse_and_is_not_used(tmp_path: Path) -> None:
    """The trap: with one noisy reference, its own noise correlates every answer with every recorded deviation.

    With one honest deployment there is neither a table nor a direction; with two the smallest projection over
    independent pairs stays near zero for honest answers although the naive one is large.
    """
    world = World(noise=0.02)
    lone, _ = build(tmp_path / "one", world, honest=1, variants={"faint": 0.004})
    assert lone.table is None
    reference = lone.probe("p0")
    assert isinstance(reference, ProbeReference)
    alignment = align(world.answer(0, np.random.default_rng(1)), reference, [0])
    assert alignment is not None
    assert (score(alignment, [0], [1]).directions == 0).all()

    several, suite = build(tmp_path / "three", world, honest=3, variants={"faint": 0.004})
    rng = np.random.default_rng(1)
    naive, used = [], []
    for probe in suite.fold("evaluation")[:100]:
        recorded = several.probe(probe.id)
        assert recorded is not None
        aligned = align(world.answer(int(probe.id[1:]), rng), recorded, several.references)
        assert aligned is not None
        common = ~np.isnan(np.vstack([aligned.candidate[0], aligned.recorded])).any(axis=0)
        c, v = (
            aligned.candidate[0][common] - aligned.recorded[0][common],
            (aligned.recorded[3] - aligned.recorded[0])[common],
        )
        naive.append(float(c @ v / (v @ v)))
        used.append(float(score(aligned, [0, 1, 2], [3]).directions[0]))
    assert np.median(naive) > 0.3
    assert np.median(used) < 0.1


def test_more_honest_tail_events_in_calibration_mean_weaker_evidence(recorded: Recorded) -> None:
    baseline, _ = recorded
    assert baseline.table is not None
    event = baseline.table.events[0]
    count = event.counts["odd"]
    worse = count.model_copy(update={"honest_any": count.honest_any + 20})
    weaker = event.model_copy(update={"counts": event.counts | {"odd": worse}})
    assert weaker.null_bound("odd", 1e-4) > event.null_bound("odd", 1e-4)
    assert weaker.null_bound("even", 1e-4) == event.null_bound("even", 1e-4)
    counts = [c for e in baseline.table.events for c in e.counts.values()]
    assert all(c.honest_any >= max(c.honest.values()) for c in counts)
    assert {c.clusters for c in counts} == {450}
