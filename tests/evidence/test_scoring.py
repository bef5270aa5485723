"""Scores of single answers, written out by hand or drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import World

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.scoring import Yardstick, align, resemblance, score
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
    elsewhere = Answer(9, (Position("=a", None, ()),))
    same = answer("a")
    for others, tokens in ((elsewhere, 0), (same, 4)):
        alignment = align(same, ProbeReference(((same,), (others,), (others,), (same,))), REFERENCES)
        assert alignment is not None
        own, recorded_deviations, positions = resemblance(alignment, REFERENCES, VARIANTS)
        assert own.tolist() == [0.0] * tokens
        assert recorded_deviations.shape == (1, tokens)
        assert positions.tolist() == [0] * tokens


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
