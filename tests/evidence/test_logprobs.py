"""What the envelope test must guarantee, on streams made from formulas (see synthetic)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import ALPHA, THRESHOLD, K, Recorded, World, build, stream

from qcheck.baselines import Answer, ProbeReference
from qcheck.errors import BaselineError
from qcheck.evidence.alignment import align
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.scoring import EXPECTED_SHARE, Yardstick, score
from qcheck.evidence.views import VIEWS, View
from qcheck.records import Position
from qcheck.stats.deviation import matched_filters

UNIT = 0.004  # of the noise, nats
FEW = {"evaluation": 150, "selection": 50, "calibration": 220}  # probes


def test_honest_streams_are_not_accused_and_become_consistent(recorded: Recorded, world: World) -> None:
    alarms, consistent = 0, 0
    for seed in range(12):
        evidence, largest = stream(recorded, seed, world.answer, 130)
        alarms += largest >= THRESHOLD
        assert evidence.resolution is not None
        consistent += evidence.upper(evidence.resolution) <= 0.05
    assert alarms == 0  # alpha is 0.01; the benchmarks count far more streams
    assert consistent >= 11


def test_noisier_kernels_within_the_noise_factor_are_not_accused(recorded: Recorded, world: World) -> None:
    louder = World(world.seed, 1.2 * world.noise)
    assert all(stream(recorded, s, louder.answer, 120)[1] < THRESHOLD for s in range(8))


def test_a_mixture_of_two_honest_deployments_is_not_accused(recorded: Recorded, world: World) -> None:
    """Two kernels with systematic differences of their own, mixed at random or by the prompt."""
    honest = World(world.seed, 0.7 * world.noise)

    def at_random(probe: int, rng: np.random.Generator) -> Answer:
        return honest.answer(probe, rng, 0.6 * world.noise, kind=20 + int(rng.integers(2)))

    def by_prompt(probe: int, rng: np.random.Generator) -> Answer:
        return honest.answer(probe, rng, 0.6 * world.noise, kind=20 + probe % 2)

    for mixture in (at_random, by_prompt):
        assert all(stream(recorded, s, mixture, 120)[1] < THRESHOLD for s in range(5))


@pytest.mark.parametrize(("size", "kind", "most"), [(0.3, 0, 6), (0.03, 1, 12)])
def test_recorded_variants_are_found_soon_and_named(
    recorded: Recorded, world: World, size: float, kind: int, most: int
) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, size, kind), most)
    assert largest >= THRESHOLD
    assert next(iter(evidence.posterior())) == ("strong", "weak")[kind]


def test_an_unrecorded_deviation_is_found_by_its_size_and_not_named(recorded: Recorded, world: World) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, 0.3, 17), 8)
    assert largest >= THRESHOLD
    assert next(iter(evidence.posterior())) == "none of these"


@pytest.mark.parametrize(
    ("size", "where"), [(0.15, r"between weak \(0.\d+\) and strong \(0.\d+\)"), (0.9, r"beyond strong \(0.\d+\)")]
)
def test_what_is_not_named_is_placed_between_the_variants(
    recorded: Recorded, world: World, size: float, where: str
) -> None:
    evidence, _ = stream(recorded, 1, lambda p, r: world.answer(p, r, size, 17), 8)
    assert re.search(where, evidence.ladder() or "")
    assert stream(recorded, 1, world.answer, 8)[0].ladder() is None


def test_a_tenth_of_the_requests_is_found_and_bounded(recorded: Recorded, world: World) -> None:
    def routed(probe: int, rng: np.random.Generator) -> Answer:
        return world.answer(probe, rng, 0.3 if rng.random() < 0.1 else 0.0)

    evidence, largest = stream(recorded, 3, routed)
    low, estimate, high = evidence.fraction()
    assert largest >= THRESHOLD
    assert 0 < low <= 0.1 <= high
    assert low <= estimate <= high


def test_what_cannot_be_seen_is_said(recorded: Recorded, world: World) -> None:
    evidence, largest = stream(recorded, 1, lambda p, r: world.answer(p, r, 0.001, 2))
    assert largest < THRESHOLD
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


def test_a_short_deployment_is_calibrated_as_it_will_be_judged(world: World) -> None:
    """What an answer shows must not depend on whether its deployment is left out of the references."""
    rng = np.random.default_rng(2)
    reference = ProbeReference(tuple((world.answer(0, rng, k=k),) for k in (K, K, 8, K)))
    answer = world.answer(0, rng, 0.1, 3, k=8)
    alignment = align(answer, reference, [0, 1, 2])
    assert alignment is not None
    assert alignment.full
    left_out, among = (score(alignment, refs, [3], Yardstick(UNIT)) for refs in ([0, 1], [0, 1, 2]))
    assert max(among.direction, 0.0) <= max(left_out.direction, 0.0) + 1e-12


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


@pytest.mark.parametrize("first", VIEWS[:3], ids=lambda v: v.name)
def test_values_normalised_over_what_is_listed_neither_accuse_nor_reassure(
    recorded: Recorded, world: World, first: View
) -> None:
    """In whichever view an earlier answer has put the provider: rounding would hide that they sum to 1."""

    def normalised(probe: int, rng: np.random.Generator) -> Answer:
        answer = world.answer(probe, rng)
        (position,) = answer.positions
        whole = np.log(sum(np.exp(v) for _, v in position.top))
        top = tuple((key, v - whole) for key, v in position.top)
        return dataclasses.replace(answer, positions=(Position(top[0][0], top[0][1], top),))

    def said(probe: int, rng: np.random.Generator) -> Answer:
        return normalised(probe, rng) if moved else moved.append(True) or first.of(world.answer(probe, rng))

    moved: list[bool] = []
    evidence, largest = stream(recorded, 1, said)
    assert largest < THRESHOLD
    assert evidence.deviating == []
    assert evidence.upper("strong") > 0.05
    assert "logprobs_only_listed" in {finding.kind for finding in evidence.snapshot(1.0).findings}


def renamed(answer: Answer, name: Callable[[str], str]) -> Answer:
    """The answer with other names for its tokens; of those that get the same one the most probable stays."""
    (position,) = answer.positions
    best: dict[str, float] = {}
    for key, value in position.top:
        best.setdefault("=" + name(key[1:]), value)
    top = tuple(best.items())
    return dataclasses.replace(answer, positions=(Position(top[0][0], top[0][1], top),))


class Spaced(World):
    """Of each two tokens of this world one is the other with a space before it."""

    def answer(self, *of: Any) -> Answer:
        return renamed(super().answer(*of), lambda name: " " * (int(name) % 2) + str(int(name) // 2))


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("spaced")
    return build(folder, Spaced(), honest=3, variants={"strong": 0.3}, probes=FEW, views=VIEWS[:1])


@pytest.mark.parametrize(
    "name",
    [
        lambda name: name.replace(" ", "Ġ"),
        lambda name: name.replace(" ", "▁"),
        lambda name: name.strip(),
        lambda name: f"token_id:{len(name) % 2}{name.strip()}",
        lambda name: f"§{name}",
    ],
    ids=["bytes as signs", "a sign for spaces", "without spaces", "numbers", "unknown"],
)
def test_other_names_for_tokens_neither_accuse_nor_reassure(spaced: Recorded, name: Callable[[str], str]) -> None:
    for seed in range(5):
        evidence, largest = stream(spaced, seed, lambda p, r: renamed(Spaced().answer(p, r), name), 60)
        assert largest < THRESHOLD
        assert evidence.upper("strong") == 1.0
    assert "logprobs_misnamed" in {finding.kind for finding in evidence.snapshot(1.0).findings}


def test_where_many_answers_name_tokens_otherwise_none_is_compared(spaced: Recorded) -> None:
    """Some of those that do may not show it."""

    def folded(first: int) -> LogprobEvidence:
        evidence, rng = stream(spaced, 0, Spaced().answer, 0)[0], np.random.default_rng(1)
        for number, probe in enumerate(spaced[1].fold("evaluation")[:12]):
            answer = Spaced().answer(int(probe.id[1:]), rng, 0.0 if number < first else 0.3)
            name = (lambda n: f"token_id:{n}") if number < first else str
            evidence.update(probe.id, renamed(answer, name))
        return evidence

    assert folded(6).log_e < 0
    assert folded(0).log_e > THRESHOLD


def test_tokens_that_are_named_alike_are_compared(spaced: Recorded) -> None:
    assert stream(spaced, 1, lambda p, r: Spaced().answer(p, r, 0.3), 20)[1] >= THRESHOLD
    assert stream(spaced, 1, Spaced().answer, 60)[0].upper("strong") < 0.2


def test_a_token_that_its_own_list_does_not_put_first_is_no_agreement(recorded: Recorded, world: World) -> None:
    def second_best(probe: int, rng: np.random.Generator) -> Answer:
        answer = world.answer(probe, rng)
        (position,) = answer.positions
        return dataclasses.replace(answer, positions=(Position(*position.top[1], position.top),))

    evidence, largest = stream(recorded, 1, second_best)
    assert largest < THRESHOLD
    assert evidence.upper("strong") > 0.5
    kinds = {finding.kind for finding in evidence.snapshot(1.0).findings}
    assert "logprobs_drawn" in kinds
    assert "logprobs_short" not in kinds


def test_failed_requests_do_not_reassure(recorded: Recorded, world: World) -> None:
    evidence, _ = stream(recorded, 1, world.answer, 150)
    assert evidence.resolution is not None
    assert evidence.upper(evidence.resolution) <= 0.05
    before = evidence.log_e
    for probe in recorded[1].fold("evaluation")[:100]:
        evidence.fail(probe.id)
    assert evidence.upper(evidence.resolution) > 0.3
    assert evidence.log_e < before  # what is bet on a request that fails is lost


def test_two_honest_deployments_give_no_directions_and_accuse_nobody(tmp_path: Path, world: World) -> None:
    """Left out of two, a deployment has one reference to be scored with, which gives no direction to bound."""
    two = build(tmp_path / "two", world, honest=2, variants={"weak": 0.03}, probes=FEW, views=VIEWS[:1])
    assert two[0].table is not None
    assert {e.score for e in two[0].table.events} == {"size"}
    assert all(stream(two, s, world.answer, 120)[1] < THRESHOLD for s in range(5))


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.002])
def test_deployments_that_hardly_differ_are_no_envelope(tmp_path: Path, noise: float) -> None:
    with pytest.raises(BaselineError, match=r"honest0, honest1, honest2 differ by 0\.00.* takes 0\.005"):
        build(tmp_path / "near", World(noise=noise), honest=3, variants={"weak": 0.03}, probes=FEW, views=VIEWS[:1])


def test_adding_references_never_raises_a_score(recorded: Recorded, world: World) -> None:
    """What makes leave-one-out calibration valid for the deployments that stand in the baseline."""
    baseline, suite = recorded
    rng = np.random.default_rng(0)
    for probe in suite.fold("evaluation")[:40]:
        reference = baseline.probe(probe.id)
        assert reference is not None
        alignment = align(world.answer(int(probe.id[1:]), rng, 0.05, 9), reference, baseline.references)
        assert alignment is not None
        near = dict.fromkeys(baseline.variants, 0.005)
        few, all_ = (
            score(alignment, refs, baseline.variants, Yardstick(UNIT, near)) for refs in ([0, 1], [0, 1, 2, 3])
        )
        assert all_.size <= few.size + 1e-12
        assert (all_.directions <= few.directions + 1e-12).all()


def test_a_shared_reference_would_accuse_and_is_not_used(tmp_path: Path) -> None:
    """The trap: with one noisy reference, its own noise correlates every answer with every recorded deviation.

    With one honest deployment there is neither a table nor a direction; with three the smallest matched filter over
    pairs of different references finds nothing in honest answers, although the naive one does.
    """
    world = World(noise=0.02)
    lone, _ = build(tmp_path / "one", world, honest=1, variants={"faint": 0.004}, probes=FEW, views=VIEWS[:1])
    assert lone.table is None
    reference = lone.probe("p0")
    assert isinstance(reference, ProbeReference)
    alignment = align(world.answer(0, np.random.default_rng(1)), reference, [0])
    assert alignment is not None
    assert score(alignment, [0], [1], Yardstick(UNIT)).direction == 0

    several, suite = build(tmp_path / "three", world, honest=3, variants={"faint": 0.004}, probes=FEW, views=VIEWS[:1])
    rng = np.random.default_rng(1)
    naive, used = [], []
    for probe in suite.fold("evaluation")[:100]:
        recorded = several.probe(probe.id)
        assert recorded is not None
        aligned = align(world.answer(int(probe.id[1:]), rng), recorded, several.references)
        assert aligned is not None
        lists = aligned.candidate[:3], aligned.recorded[:3], aligned.recorded[3:], aligned.positions
        gains = matched_filters(*lists, share=EXPECTED_SHARE)
        naive.append(float(gains.sum(axis=0)[0, 0, 0]))
        used.append(score(aligned, [0, 1, 2], [3], Yardstick(UNIT)).direction)
    assert np.mean(np.array(naive) > 0) > 0.4
    assert np.mean(np.array(used) > 0) < np.mean(np.array(naive) > 0) / 3


def test_more_honest_tail_events_in_calibration_mean_weaker_evidence(recorded: Recorded) -> None:
    baseline, _ = recorded
    assert baseline.table is not None
    event = baseline.table.events[0]
    count = event.counts["odd"]
    worse = count.model_copy(update={"honest": count.honest | {"honest0": max(count.honest.values()) + 20}})
    weaker = event.model_copy(update={"counts": event.counts | {"odd": worse}})
    assert weaker.null_bound("odd", 1e-4) > event.null_bound("odd", 1e-4)
    assert weaker.null_bound("even", 1e-4) == event.null_bound("even", 1e-4)
    counts = [c for e in baseline.table.events for c in e.counts.values()]
    assert all(c.honest_any >= max(c.honest.values()) for c in counts)
    assert {c.clusters for c in counts} == {300}


def test_recorded_answers_that_come_again_are_counted_and_no_evidence(recorded: Recorded, world: World) -> None:
    """Every other answer is one that the first reference deployment gave."""
    baseline, suite = recorded
    first = baseline.references[0]

    def replayed(probe: int, rng: np.random.Generator) -> Answer:
        reference = baseline.probe(f"p{probe}")
        assert reference is not None
        return reference.answers[first][1] if probe % 2 else world.answer(probe, rng)

    evidence, largest = stream(recorded, 1, replayed, 100)
    odd = sum(int(p.id[1:]) % 2 for p in suite.fold("evaluation") if p.id in evidence._kl)
    repeated, spread = evidence.snapshot(1.0).findings
    assert (repeated.kind, repeated.severity) == ("answers_repeated", "info")
    assert repeated.text.startswith(f"{odd} of 100 answers")
    assert repeated.text.endswith(f": {odd} of {baseline.names([first])[0]}")
    low, high, most = (float(x) for x in re.findall(r"(?:from|to|most) ([\d.e-]+)", spread.text))
    assert 0 <= low <= high <= most
    assert largest < THRESHOLD


@pytest.mark.parametrize(("of_it", "stands"), [(1.0, True), (0.7, None)])
def test_a_second_answer_as_far_off_stands_only_if_it_deviates_itself(
    recorded: Recorded, world: World, of_it: float, stands: bool | None
) -> None:
    """Both lie off in one direction, the first by hardly more than is needed."""
    baseline, suite = recorded
    assert baseline.table is not None
    probe, tried = suite.fold("evaluation")[0], 0

    def answer(shift: float) -> Answer:
        return world.answer(int(probe.id[1:]), np.random.default_rng(0), shift, 7)

    for shift in np.arange(0.005, 0.05, 0.001):
        first, second = (LogprobEvidence(baseline, freeze(baseline.table, ALPHA), suite) for _ in range(2))
        first.update(probe.id, answer(shift))
        second.update(probe.id, answer(of_it * shift))
        if first.deviating and bool(second.deviating) == (of_it == 1.0):
            tried += 1
            first.settle_again(probe.id, answer(of_it * shift))
            assert first.repeats.stands is stands
    assert tried
