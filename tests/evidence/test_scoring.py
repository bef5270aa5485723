"""Scores of single answers, written out by hand or drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import World

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.alignment import align
from qcheck.evidence.scoring import ALONE, MOST, Scores, Yardstick, resemblance, score, score_each
from qcheck.records import Position

K = 12
REFERENCES, VARIANTS = (0, 1, 2), (3,)
UNIT = 0.004  # of the noise, nats


def recorded(world: World, seed: int, lengths: tuple[int, ...] = (K, K, K, K)) -> ProbeReference:
    """Three honest deployments and a variant that answer the probe 0 with lists of these lengths."""
    rng = np.random.default_rng(seed)
    sizes = (0.0, 0.0, 0.0, 0.05)
    return ProbeReference(tuple((world.answer(0, rng, s, 1, k),) for s, k in zip(sizes, lengths, strict=True)))


def answer(*tokens: str) -> Answer:
    """One that takes these tokens and lists three others at each position."""
    return Answer(
        9,
        tuple(
            Position(t, -0.5, ((t, -0.5), ("=x", -2.0), ("=y", -2.5), ("=z", -3.0))) for t in map("=".__add__, tokens)
        ),
    )


@pytest.mark.parametrize("size", [0.0, 0.05, 0.3])
def test_a_longer_list_scores_what_its_beginning_does(world: World, size: float) -> None:
    """Whoever lists all forty tokens would else hide a deviation of a dozen among undetermined coordinates."""
    for seed in range(5):
        reference = recorded(world, seed)
        usual, longer = (
            align(world.answer(0, np.random.default_rng(seed + 50), size, 2, k), reference, REFERENCES) for k in (K, 40)
        )
        assert usual is not None
        assert longer is not None
        assert usual.full
        assert longer.full
        one, other = (score(a, REFERENCES, VARIANTS, Yardstick(UNIT)) for a in (usual, longer))
        assert (other.size, other.distance, other.kl) == (one.size, one.distance, one.kl)
        assert other.direction == pytest.approx(one.direction)


def listing(*top: tuple[str, float]) -> Answer:
    """One that takes `=a` and lists these."""
    return Answer(9, (Position("=a", top[0][1], top),))


@pytest.mark.parametrize("control", ["?</s>", "?\ufffd"])
@pytest.mark.parametrize("known_as", ["#2", "xe4bd", "?<|end|>"])
def test_a_token_by_another_name_is_no_deviation(control: str, known_as: str) -> None:
    """Honest servers of one model name control tokens and parts of characters in their own ways."""
    likely, rest = -1.0, (("=b", -2.0), ("=c", -5.0))
    reference = ProbeReference(((listing(("=a", -0.7), (known_as, likely), *rest),),) * 2)
    alignment = align(listing(("=a", -0.7), (control, likely), *rest), reference, (0, 1))
    assert alignment is not None
    assert alignment.full
    assert score(alignment, (0, 1), (), Yardstick(UNIT)).distance == 0
    other = align(listing(("=a", -0.7), (control, likely), ("=b", -1.5), ("=c", -5.0)), reference, (0, 1))
    assert other is not None
    assert score(other, (0, 1), (), Yardstick(UNIT)).distance > 0.2


def test_a_token_that_shows_its_text_has_no_other_name() -> None:
    reference = ProbeReference(((listing(("=a", -0.7), ("=b", -1.0), ("#2", -5.0)),),) * 2)
    alignment = align(listing(("=a", -0.7), ("=c", -1.0), ("?</s>", -5.0)), reference, (0, 1))
    assert alignment is not None
    assert score(alignment, (0, 1), (), Yardstick(UNIT)).distance > 1


def test_nothing_is_seen_where_all_tokens_have_other_names() -> None:
    reference = ProbeReference(((Answer(9, (Position("#2", -0.1, (("#2", -0.1),)),)),),) * 2)
    assert align(Answer(9, (Position("?</s>", -0.1, (("?</s>", -0.1),)),)), reference, (0, 1)) is None


def test_a_taken_token_beyond_the_best_is_compared(world: World) -> None:
    reference = recorded(world, 0)
    long = world.answer(0, np.random.default_rng(9), k=40).positions[0]
    key, logprob = long.top[-1]
    unlikely = Answer(9, (Position(key, logprob, long.top),))
    alignment = align(unlikely, reference, REFERENCES)
    assert alignment is not None
    assert (~np.isnan(alignment.candidate)).sum(axis=1).tolist() == [K + 1] * 4


def test_answers_are_full_beside_the_honest_deployments_whatever_a_variant_lists(world: World) -> None:
    reference = recorded(world, 0, (K, K, K, 3))
    short, usual = (align(world.answer(0, np.random.default_rng(1), k=k), reference, REFERENCES) for k in (3, K))
    assert short is not None
    assert usual is not None
    assert (short.full, usual.full) == (False, True)
    two = ProbeReference((*((answer("a", "b"),) for _ in REFERENCES), (answer("a"),)))
    assert not align(answer("a"), two, REFERENCES).full  # type: ignore[union-attr]
    assert align(answer("a", "b"), two, REFERENCES).full  # type: ignore[union-attr]


END = Position("#2", -0.1, (("#2", -0.1), ("=x", -2.0), ("=y", -2.5), ("=z", -3.0)))


def said(text: str, *positions: Position) -> Answer:
    return Answer(9, positions, text)


def test_an_answer_that_lists_nothing_at_its_end_alone_is_unended() -> None:
    begun = answer("a", "b").positions
    reference = ProbeReference(tuple((Answer(9, (*begun, END)),) for _ in REFERENCES))

    def shown(one: Answer) -> tuple[bool, bool]:
        alignment = align(one, reference, REFERENCES)
        assert alignment is not None
        return alignment.full, alignment.unended

    assert shown(said("ab", *begun, END)) == (True, False)
    assert shown(said("ab", *begun)) == (False, True)
    assert shown(said("a", *begun[:1])) == (False, False)  # it ended where no honest one did
    assert shown(said("abc", *begun)) == (False, False)  # it went on, and says not how
    assert shown(Answer(9, begun)) == (False, False)
    assert shown(said("ac", *answer("a", "c").positions)) == (True, False)  # off the path nothing is compared


def test_an_end_is_no_end_where_honest_answers_go_on() -> None:
    longer = answer("a", "b", "c").positions
    some_ended = ProbeReference(((Answer(9, longer),), (Answer(9, (*longer[:2], END)),), (Answer(9, longer),)))
    all_went_on = ProbeReference(((Answer(9, longer),),) * 3)
    unended = [align(said("ab", *longer[:2]), r, REFERENCES).unended for r in (some_ended, all_went_on)]  # type: ignore[union-attr]
    assert unended == [True, False]


@pytest.mark.parametrize(("key", "full"), [("?", True), ("?</s>", False), ("=", False)])
def test_several_tokens_without_a_text_may_stand_under_the_empty_string(key: str, full: bool) -> None:
    recorded_list = (("=a", -0.7), ("#2", -1.5), ("=b", -2.0), ("xe4bd", -3.0), ("=c", -5.0))
    reference = ProbeReference(((listing(*recorded_list),),) * 2)
    alignment = align(listing(("=a", -0.7), ("=b", -2.0), (key, -3.0), ("=c", -5.0)), reference, (0, 1))
    assert alignment is not None
    assert alignment.full == full
    fewer = align(listing(("=a", -0.7), ("=b", -2.0), (key, -3.0)), reference, (0, 1))
    assert fewer is not None
    assert not fewer.full


def test_a_cause_needs_a_second_reference_on_the_path() -> None:
    """Else the one reference's noise would stand in the answer's deviation and in the variant's."""
    elsewhere, same = answer("c", "b"), answer("a", "b")
    for others, tokens in ((elsewhere, 3), (same, 8)):  # of the first list three are common to both
        alignment = align(same, ProbeReference(((same,), (others,), (others,), (same,))), REFERENCES)
        assert alignment is not None
        own, recorded_deviations, positions = resemblance(alignment, REFERENCES, VARIANTS)
        assert own.tolist() == [0.0] * tokens
        assert recorded_deviations.shape == (1, tokens)
        assert positions.tolist() == [0] * min(tokens, 4) + [1] * max(0, tokens - 4)


def test_a_cause_rests_on_deviations_from_the_mean_of_the_references() -> None:
    lists = ({"=a": -1.0, "=b": -2.0}, {"=a": -1.2, "=b": -2.0}, {"=a": -1.1}, {"=b": -3.0})
    reference = ProbeReference(tuple((listing(*top.items()),) for top in lists))
    alignment = align(listing(("=a", -0.6), ("=b", -2.5), ("=c", -4.0)), reference, REFERENCES)
    assert alignment is not None
    own, variants, _ = resemblance(alignment, REFERENCES, VARIANTS)
    np.testing.assert_allclose(own, [0.5, -0.5])
    np.testing.assert_allclose(variants, [[np.nan, -1.0]])


@pytest.mark.parametrize(("variant", "size"), [(-2.03, 0.5 / 0.05), (-2.1, 0.5 / 0.1), (-2.5, 0.5 / 0.5)])
def test_where_a_variant_jumps_an_answer_may_lie_as_far_away(variant: float, size: float) -> None:
    """The trap of routers: what turns them for one honest kernel, and for no recorded one, turns them for variants."""
    lists = ({"=a": -1.0, "=b": -2.0},) * 3 + ({"=a": -1.0 - (variant + 2), "=b": variant},)
    reference = ProbeReference(tuple((listing(*top.items()),) for top in lists))
    alignment = align(listing(("=a", -0.5), ("=b", -2.5)), reference, REFERENCES)
    assert alignment is not None
    assert score(alignment, REFERENCES, VARIANTS, Yardstick(0.05)).size == pytest.approx(0.5 / 0.05)
    assert score(alignment, REFERENCES, VARIANTS, Yardstick(0.05, {3: 0.025})).size == pytest.approx(size)


PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3)


@given(st.lists(PATHS, min_size=3, max_size=4), PATHS, st.lists(PATHS, max_size=2), st.integers(0, 2**32))
def test_more_references_and_repeats_never_raise_a_size(
    paths: list[list[str]], taken: list[str], repeats: list[list[str]], seed: int
) -> None:
    """Calibration sees the first answers of all others only; what is judged is judged by all of them."""
    rng = np.random.default_rng(seed)

    def noisy(path: list[str]) -> Answer:
        positions = [
            Position(
                f"={token}",
                None,
                tuple((f"={t}", v) for t, v in zip("abcd", sorted(-rng.random(4))[::-1], strict=True)),
            )
            for token in path
        ]
        return Answer(9, tuple(positions))

    firsts, candidate = [noisy(path) for path in paths], noisy(taken)
    once = ProbeReference(tuple((first,) for first in firsts))
    again = ProbeReference(tuple((first, *map(noisy, repeats)) for first in firsts))
    some = list(range(1, len(firsts)))
    few, many = align(candidate, once, some), align(candidate, again, [0, *some])
    assert few is not None
    assert many is not None
    assert score(many, [0, *some], [], Yardstick(UNIT)).size <= score(few, some, [], Yardstick(UNIT)).size + 1e-12


STEPS = st.tuples(st.sampled_from("ab"), st.integers(-9, 9), st.integers(-9, 9))
PATHS, FULL_PATHS = st.lists(STEPS, max_size=4), st.lists(STEPS, min_size=1, max_size=4)


def walked(path: list[tuple[str, int, int]]) -> Answer:
    """An answer that takes these tokens; the numbers say how far two of its log-probabilities are off, in 0.01 nats."""
    lists = ((("=a", -0.7 + x / 100), ("=b", -0.9 + y / 100), ("=c", -3.0)) for _, x, y in path)
    return Answer(9, tuple(Position(f"={token}", -0.7, top) for (token, *_), top in zip(path, lists, strict=True)))


@given(honest=st.lists(PATHS, min_size=3, max_size=5), near=PATHS, far=PATHS, own=FULL_PATHS)
def test_no_score_rises_with_a_reference_more(
    honest: list[list[tuple[str, int, int]]],
    near: list[tuple[str, int, int]],
    far: list[tuple[str, int, int]],
    own: list[tuple[str, int, int]],
) -> None:
    """Wherever the paths part: what was counted with some reference left out bounds what is with it there.

    And what a deployment like that one shows to a baseline that lacks it, up to the factor.
    """
    reference = ProbeReference(tuple((walked(path),) for path in (*honest, near, far)))
    everyone, variants = list(range(len(honest))), [len(honest), len(honest) + 1]
    alignment = align(walked(own), reference, everyone)
    if alignment is None:
        return
    yardstick = Yardstick(UNIT, {variants[0]: 0.02})
    known = score(alignment, everyone, variants, yardstick, 1.5)
    for left_out in everyone:
        others = [i for i in everyone if i != left_out]
        counted = score(alignment, others, variants, yardstick, 1.5)
        shown = [known]
        stranger = align(walked(own), reference, others)
        if stranger and stranger.full == alignment.full:
            shown += [score(stranger, others, variants, yardstick, factor) for factor in (1.0, 1.2, 1.5)]
        for one in shown:
            assert one.size <= counted.size + 1e-12
            assert one.steady <= counted.steady + 1e-12
            assert (np.maximum(one.directions, 0) <= np.maximum(counted.directions, 0) + 1e-12).all()


def flat(s: Scores) -> list[float]:
    """All that scores say."""
    return [*s.named.values(), s.distance, s.kl, s.noise, s.common, *s.directions]


@given(honest=st.lists(PATHS, min_size=3, max_size=5), near=PATHS, far=PATHS)
def test_several_answers_get_together_what_each_gets_alone(
    honest: list[list[tuple[str, int, int]]], near: list[tuple[str, int, int]], far: list[tuple[str, int, int]]
) -> None:
    """Each left out of its own references, and the variants beside all of them."""
    answers = [walked(path) for path in (*honest, near, far)]
    reference = ProbeReference(tuple((answer,) for answer in answers))
    everyone, variants = list(range(len(honest))), [len(honest), len(honest) + 1]
    yardstick = Yardstick(UNIT, {variants[0]: 0.02})
    seen = [(i, a) for i, answer in enumerate(answers) if (a := align(answer, reference, everyone))]
    alignments = [a for _, a in seen]
    references = [[r for r in everyone if r != i] for i, _ in seen]
    factors = [1.5 if i in everyone else 1.0 for i, _ in seen]
    together = score_each(alignments, references, variants, yardstick, factors)
    for found, a, others, factor in zip(together, alignments, references, factors, strict=True):
        assert flat(found) == pytest.approx(flat(score(a, others, variants, yardstick, factor)), rel=1e-9, abs=1e-9)


STILL = [("a", 0, 0)] * 4
MOVED = [("a", 5, -5)] * 4


def scored(own: list[tuple[str, int, int]], *more: list[tuple[str, int, int]]) -> Scores:
    """Beside three references that agree, some more of them, and a variant."""
    paths = [STILL, STILL, STILL, *more]
    reference = ProbeReference(tuple((walked(path),) for path in (*paths, MOVED)))
    alignment = align(walked(own), reference, range(len(paths)))
    assert alignment is not None
    return score(alignment, range(len(paths)), [len(paths)], Yardstick(UNIT))


def test_one_position_that_lies_far_off_is_not_steady_and_proves_no_direction() -> None:
    everywhere, jumped = scored(MOVED), scored([*STILL[:3], *MOVED[3:]])
    assert (jumped.steady, everywhere.steady) == (0.0, pytest.approx(everywhere.size))
    assert jumped.size == pytest.approx(everywhere.size / 2)  # the root of a quarter
    assert everywhere.direction == pytest.approx(4 * MOST)
    assert jumped.direction < MOST


def test_what_one_deployment_alone_has_said_is_not_looked_at_for_steadiness() -> None:
    """Where a text leaves all paths but one, as many positions are compared whether that one is left out or not."""
    parted = [("b", 5, -5), *MOVED[1:]]
    aside = [("b", 0, 0), *STILL[1:]]
    assert scored(parted).steady == scored(parted, aside).steady == ALONE
    assert scored(parted, aside, aside).steady > ALONE
    assert scored(parted, parted).steady == 0.0
