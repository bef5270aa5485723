"""Two endpoints and no envelope."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from qcheck.baselines import Answer
from qcheck.evidence.margin import MarginEvidence
from qcheck.records import Position


def answer(lists: list[dict[str, float]]) -> Answer:
    positions = []
    for probabilities in lists:
        top = tuple((k, math.log(p)) for k, p in probabilities.items())
        positions.append(Position(top[0][0], top[0][1], top))
    return Answer(10, tuple(positions))


A = {"=a": 0.6, "=b": 0.3, "=c": 0.05}
MOVED = {"=a": 0.5, "=b": 0.4, "=c": 0.05}
STRANGE = {"=w": 0.6, "=x": 0.3, "=y": 0.05}


def folded(candidate: Answer, peer: Answer, count: int = 300, others: Sequence[Answer] = ()) -> MarginEvidence:
    evidence = MarginEvidence(0.01)
    for i in range(count):
        evidence.update(f"p{i}", candidate, [peer, *others])
    return evidence


def test_equal_answers_agree_and_moved_ones_do_not() -> None:
    assert folded(answer([A, A]), answer([A, A])).bound() <= 0.05
    moved = folded(answer([MOVED, A]), answer([A, A]), 20)
    assert moved.log_e > math.log(100)
    assert len(moved.deviating) == 20
    assert "as published of" in (moved.ladder() or "")
    assert folded(answer([A, A]), answer([A, A]), 20).ladder() is None


def test_what_lacks_lists_is_no_evidence() -> None:
    """A gateway may have lost the first chunk's list, or all but the last one's."""
    whole = [{"=a": 0.6, "=b": 0.3}, {"=c": 0.5, "=d": 0.4}, {"=e": 0.7, "=f": 0.2}]
    for some in (whole[1:], whole[2:]):
        lost = folded(answer(some), answer(whole), 50)
        assert lost.log_e <= 0
        assert lost.mute


def test_who_names_tokens_otherwise_shows_nothing_though_some_names_agree() -> None:
    """A tokenizer's own signs, which punctuation has none of."""
    evidence, named = MarginEvidence(0.01), {"= a": 0.6, "= b": 0.3, "=,": 0.05}
    for i in range(60):
        strange = {key.replace(" ", "Ġ"): p for key, p in named.items()} if i % 5 else named
        evidence.update(f"p{i}", answer([strange]), [answer([named])])
    assert evidence.mute
    assert evidence.log_e <= 0
    (finding,) = evidence.snapshot(1.0).findings
    assert (finding.kind, finding.text[:8]) == ("logprobs_misnamed", "48 of 60")


@pytest.mark.parametrize("whose", ["candidate", "reference"])
def test_lists_after_a_temperature_are_no_evidence(whose: str) -> None:
    cold = {key: p**10 for key, p in {"=a": 0.6, "=b": 0.2, "=c": 0.1, "=d": 0.05, "=e": 0.04}.items()}
    warm = {"=a": 0.6, "=b": 0.2, "=c": 0.1, "=d": 0.05, "=e": 0.04}
    cold = {key: p / sum(cold.values()) for key, p in cold.items()}
    pair = (answer([cold]), answer([warm]))
    evidence = folded(*(pair if whose == "candidate" else pair[::-1]), 40)
    assert evidence.log_e <= 0
    assert evidence.deviating == []


@pytest.mark.parametrize("peers", ["exact", "rounded"])
def test_logits_on_a_lattice_are_allowed_their_rounding(peers: str) -> None:
    """Logits of 34 and more lie on a lattice of 1/4 in bfloat16, which moves divergences by as much as the margin."""
    rng, evidence, other = np.random.default_rng(3), MarginEvidence(0.01), MarginEvidence(0.01)

    def said(logits: np.ndarray, step: float) -> Answer:
        rounded = np.round(logits / step) * step
        logprobs = rounded - np.log(np.exp(rounded).sum())
        best = np.argsort(-logprobs, axis=0)[:20]
        top = tuple((f"={t}", float(logprobs[t])) for t in best)
        return Answer(10, (Position(top[0][0], top[0][1], top),))

    for i in range(120):
        logits = 34 + rng.normal(0, 1.5, 40)
        peer = said(logits + rng.normal(0, 0.018, 40), 1 / 4) if peers == "rounded" else said(logits, 1e-6)
        evidence.update(f"p{i}", said(logits, 1 / 4), [peer])
        other.update(f"p{i}", said(logits + rng.normal(0, 0.4, 40), 1 / 4), [peer])
    assert evidence.log_e < math.log(10)
    assert other.log_e > math.log(1000)


def test_positions_without_a_list_neither_accuse_nor_reassure() -> None:
    """Of either side: what is left over would stand for all of the answer."""
    slightly = {"=a": 0.55, "=b": 0.35, "=c": 0.05}
    full, other = answer([A, A, A]), answer([slightly, A, A])
    strange = answer([A, STRANGE, STRANGE])

    def without(whole: Answer) -> Answer:
        first, *more = whole.positions
        return replace(whole, positions=(first, *(replace(p, top=()) for p in more)))

    assert folded(other, full, 60).log_e < math.log(100)
    for candidate, peer in ((without(other), full), (strange, without(full)), (without(full), without(full))):
        lost = folded(candidate, peer)
        assert lost.log_e <= 0
        assert lost.bound() == 1.0
        assert lost.mute


def test_whoever_rounds_more_is_not_agreed_with_sooner() -> None:
    """A lattice widens the margin for accusing alone."""
    rng, evidence = np.random.default_rng(5), MarginEvidence(0.01)
    for i in range(150):
        logits = rng.normal(0, 2, 40)
        moved = np.round((logits + rng.normal(0, 0.1, 40)) * 2) / 2
        peer, own = (x - np.log(np.exp(x).sum()) for x in (logits, moved))
        said = [tuple((f"={t}", float(x[t])) for t in np.argsort(-x)[:20]) for x in (own, peer)]
        theirs, ours = (Answer(10, (Position(top[0][0], top[0][1], top),)) for top in said)
        evidence.update(f"p{i}", theirs, [ours])
    assert evidence.bound() > 0.5


def test_complete_answers_with_shorter_lists_are_evidence() -> None:
    shorter = folded(answer([{"=a": 0.6, "=b": 0.3}, A]), answer([A, A]), 50)
    assert not shorter.mute


def test_of_several_peers_the_nearest_counts() -> None:
    assert folded(answer([MOVED, A]), answer([A, A]), others=[answer([MOVED, A])]).bound() <= 0.05
    far = folded(answer([MOVED, A]), answer([A, A]), 20, [answer([A, A])])
    assert len(far.deviating) == 20


def test_what_has_nothing_in_common_neither_agrees_nor_accuses() -> None:
    """It may be another model or another way to write tokens."""
    strange = folded(answer([STRANGE, A]), answer([A, A]))
    assert strange.bound() == 1.0
    assert strange.log_e < 0


def test_other_names_for_tokens_neither_agree_nor_accuse() -> None:
    named = {"= a": 0.6, "=b": 0.3, "= c": 0.05}
    evidence = folded(answer([{key.replace("= ", "=Ġ"): p for key, p in named.items()}]), answer([named]))
    assert evidence.deviating == []
    assert evidence.bound() == 1.0


def test_lists_that_were_normalised_after_a_cut_neither_agree_nor_accuse() -> None:
    """On either side: a live reference may be such a server, too."""
    cut = {"=a": 0.6 / 0.9, "=b": 0.3 / 0.9}
    for candidate, peer in ((cut, A), (A, cut)):
        evidence = folded(answer([candidate]), answer([peer]))
        assert evidence.deviating == []
        assert evidence.bound() == 1.0


def test_a_reference_that_is_sure_at_times_is_no_excuse() -> None:
    """Its lists sum to 1 there, as those would that were normalised after a cut."""
    sure, elsewhere = answer([{"=a": 0.9999, "=b": 0.0001}]), answer([{"=a": 0.5, "=c": 0.3}])
    evidence = MarginEvidence(0.01)
    evidence.update("open", answer([A]), [answer([A])])
    for i in range(10):
        evidence.update(f"p{i}", elsewhere, [sure])
    assert len(evidence.deviating) == 10
    assert len(folded(elsewhere, sure, 10).deviating) == 0  # from the first answer on it may be such a server


def test_a_token_that_is_not_the_best_of_its_list_is_no_agreement() -> None:
    """What greedy decoding would have said after it is not seen."""
    drawn = replace(answer([A]), positions=(replace(answer([A]).positions[0], token="=b"),))
    assert folded(drawn, answer([A, A])).bound() == 1.0
    assert folded(drawn, drawn).bound() == 1.0
    assert folded(answer([A, A]), drawn).bound() == 1.0


def test_shorter_answers_do_not_reassure() -> None:
    assert folded(answer([A]), answer([A, A])).bound() == 1.0
    assert folded(answer([{"=a": 0.6}, A]), answer([A, A])).bound() == 1.0
    assert folded(Answer(10, ()), answer([A, A])).bound() == 1.0
    assert folded(Answer(10, ()), answer([A, A])).mute
    assert folded(answer([A]), answer([A, A])).mute
    assert not folded(answer([A, A]), answer([A, A])).mute


def test_values_that_are_rounded_down_neither_accuse_nor_reassure() -> None:
    def floored(lists: list[dict[str, float]]) -> Answer:
        exact = answer(lists)
        return Answer(
            10,
            tuple(
                Position(p.token, p.logprob, tuple((k, math.floor(10 * v) / 10) for k, v in p.top))
                for p in exact.positions
            ),
        )

    wide = {f"={i}": 0.3 * 0.7**i for i in range(20)}
    evidence = folded(floored([wide, wide]), answer([wide, wide]))
    assert evidence.deviating == []
    assert evidence.bound() == 1.0


@pytest.mark.parametrize("way", [np.floor, np.ceil, np.round])
@pytest.mark.parametrize("step", [0.01, 1 / 32, 0.05])
@pytest.mark.parametrize("whose", ["candidate", "reference", "both"])
def test_where_first_tokens_are_sure_rounded_values_accuse_nobody_but_who_deviates_by_more(
    way: Callable[[np.ndarray], np.ndarray], step: float, whose: str
) -> None:
    """Half a step of the likeliest token's value is then more than all that is left to the others."""
    rng, honest, other = np.random.default_rng(4), MarginEvidence(0.01), MarginEvidence(0.01)

    def said(logits: np.ndarray, *, rounded: bool) -> Answer:
        values = logits - np.logaddexp.reduce(logits)
        best = np.argsort(-values)[:20]
        shown = way(values / step) * step if rounded else values
        top = tuple((f"={t}", float(shown[t])) for t in best)
        return Answer(10, (Position(top[0][0], top[0][1], top),))

    for i in range(80):
        logits = rng.normal(size=400)
        logits[:40] += np.sort(rng.exponential(3.0, 40))
        peer = said(logits + rng.normal(0, 0.018, 400), rounded=whose != "candidate")
        honest.update(f"p{i}", said(logits, rounded=whose != "reference"), [peer])
        other.update(f"p{i}", said(logits + rng.normal(0, 0.8, 400), rounded=whose != "reference"), [peer])
    assert honest.log_e < math.log(10)
    assert other.log_e > math.log(1000)


def test_failed_requests_neither_accuse_nor_reassure() -> None:
    evidence = folded(answer([MOVED]), answer([A]), 12)
    before, (low, estimate, _) = evidence.log_e, evidence.fraction()
    assert low > 0
    for i in range(12):
        evidence.fail(f"q{i}")
    assert evidence.log_e < before
    assert evidence.fraction()[0] < low / 2
    assert evidence.fraction()[1] == pytest.approx(estimate / 2)


def test_whoever_answers_the_same_when_asked_again_stands() -> None:
    """Beside a live reference that does so, too: one whose tail is raised by little more than the margin allows."""
    rng, deviating = np.random.default_rng(3), 0

    def answer(values: np.ndarray) -> Answer:
        top = sorted(((f"=t{i}", float(v)) for i, v in enumerate(values)), key=lambda pair: -pair[1])[:20]
        return Answer("t0", (Position(top[0][0], top[0][1], tuple(top)),))

    for _ in range(60):
        truth = np.log(rng.dirichlet(np.ones(60)))
        moved = truth + 0.13 * (np.argsort(np.argsort(-truth)) >= 8)
        own, peer = answer(moved - np.log(np.exp(moved).sum())), answer(truth)
        evidence = MarginEvidence(0.01)
        evidence.update("p", own, [peer])
        if evidence.deviating:
            deviating += 1
            evidence.settle_again("p", own, [peer])
            assert evidence.repeats.stands is True
    assert deviating > 10
