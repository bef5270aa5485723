"""What makes a prompt worth asking, on hand-made first tokens."""

from __future__ import annotations

import math

from qcheck.baselines import Answer
from qcheck.evidence.choice import NEAR_TIE, SEPARATING, Criteria, GreedyPaths
from qcheck.evidence.greedy import GreedyPath
from qcheck.records import Position


def says(first: str, lead: float, second: str = "other") -> GreedyPath:
    """One token that is preferred to another by `lead` nats."""
    top = ((f"={first}", -0.5), (f"={second}", -0.5 - lead), ("=rest", -9.0))
    return GreedyPath.of(Answer(None, (Position(top[0][0], top[0][1], top),)))


def paths(honest: int = 2, **prompts: dict[str, GreedyPath]) -> GreedyPaths:
    names = tuple(next(iter(prompts.values())))
    return GreedyPaths(prompts, names[:honest], names[honest:])


def prompt(honest: tuple[float, ...], **variants: tuple[str, float]) -> dict[str, GreedyPath]:
    """Honest deployments say yes with these leads, variants what is given."""
    return {f"h{i}": says("yes", lead, "no") for i, lead in enumerate(honest)} | {
        name: says(text, lead, "yes") for name, (text, lead) in variants.items()
    }


BOTH = Criteria(0.1, (0.02, 0.08))


def test_a_separating_prompt_takes_sure_references_and_a_sure_variant() -> None:
    found = paths(
        good=prompt((0.2, 0.3), v=("no", 0.2)),
        same=prompt((0.2, 0.3), v=("yes", 0.2)),
        unsure_reference=prompt((0.2, 0.09), v=("no", 0.2)),
        unsure_variant=prompt((0.2, 0.3), v=("no", 0.09)),
        only_begun=prompt((0.2, 0.3), v=("ye", 0.2)),
    ).choose(BOTH)
    assert found == {SEPARATING: ["good"], NEAR_TIE: []}


def test_references_that_disagree_or_say_nothing_choose_nothing() -> None:
    split = {"h0": says("yes", 0.2), "h1": says("no", 0.2), "v": says("maybe", 0.2)}
    silent = {"h0": says(" ", 0.05), "h1": says(" ", 0.05), "v": says("no", 0.2)}
    assert paths(split=split, silent=silent).choose(BOTH) == {SEPARATING: [], NEAR_TIE: []}


def test_a_near_tie_lies_in_the_gap_for_every_reference() -> None:
    found = paths(
        inside=prompt((0.03, 0.07)),
        too_near=prompt((0.03, 0.01)),
        too_far=prompt((0.03, 0.09)),
    ).choose(BOTH)
    assert found == {NEAR_TIE: ["inside"]}


def test_variants_take_turns_the_rarest_first_each_with_what_others_share() -> None:
    def apart(common: float, rare: float = 0.0) -> dict[str, GreedyPath]:
        return prompt((0.9, 0.9), common=("no", common), rare=("no", rare) if rare else ("yes", 0.5))

    many = paths(a=apart(0.5), b=apart(0.7), c=apart(0.6), d=apart(0.2, 0.2), e=apart(0.3, 0.4))
    assert many.choose(Criteria(0.1, None)) == {SEPARATING: ["e", "d", "b", "c", "a"]}


def test_a_third_recording_says_how_often_an_unchosen_one_flips() -> None:
    turned = {"h0": says("yes", 0.2, "no"), "h1": says("yes", 0.3, "no"), "h2": says("no", 0.2, "yes")}
    three = paths(
        honest=3,
        steady=prompt((0.2, 0.3, 0.2), v=("no", 0.2)),
        turned=turned | {"v": says("no", 0.2, "yes")},
    )
    assert three.choose(BOTH)[SEPARATING] == ["steady"]
    unchosen = three.unchosen(lambda some: some.choose(BOTH))[SEPARATING]
    assert unchosen == {"h0": (0, 1), "h1": (0, 1), "h2": (1, 2)}
    assert paths(steady=prompt((0.2, 0.3), v=("no", 0.2))).unchosen(lambda some: some.choose(BOTH)) == {}


def test_flips_are_counted_against_all_references() -> None:
    some = paths(a=prompt((0.2, 0.3), v=("no", 0.2)), b=prompt((0.2, 0.3), v=("yes", 0.2)))
    assert some.flips("v", ["a", "b"]) == 1
    assert some.flips("h0", ["a", "b"]) == 0


def test_followed_prompts_are_those_on_whose_path_all_stay_the_most_open_first() -> None:
    def path(*shares: tuple[float, ...], names: str = "xyz") -> GreedyPath:
        keys = [name if name == "?" else f"={name}" for name in names]
        tops = [tuple((key, math.log(share)) for key, share in zip(keys, s, strict=False)) for s in shares]
        return GreedyPath.of(Answer(None, tuple(Position(top[0][0], top[0][1], top) for top in tops)))

    sure, open_, even = (0.9, 0.1), (0.5, 0.3, 0.2), (0.34, 0.33, 0.33)
    some = paths(
        sure={"h0": path(sure, sure), "h1": path(sure, sure)},
        open={"h0": path(open_, sure), "h1": path(open_, sure)},
        one_is_surer={"h0": path(open_, sure), "h1": path((0.7, 0.2, 0.1), sure)},
        undecided={"h0": path(open_, even), "h1": path(open_, sure)},
        parted={"h0": path(open_, sure), "h1": path(open_, sure, names="yxz")},
        short={"h0": path(open_), "h1": path(open_)},
        shorter={"h0": path(open_, sure), "h1": path(open_, sure, sure)},
        nameless={"h0": path(open_, sure, names="?yz"), "h1": path(open_, sure, names="?yz")},
        nothing={"h0": GreedyPath(b"", ()), "h1": GreedyPath(b"", ())},
    )
    assert some.on_one_path(0.1) == ["open", "one_is_surer", "sure"]
    assert some.on_one_path(1.0) == ["sure"]


def test_a_token_that_was_not_the_likeliest_is_not_followed() -> None:
    top = (("=x", math.log(0.6)), ("=y", math.log(0.4)))
    sampled = GreedyPath.of(Answer(None, (Position("=x", top[0][1], top), Position("=y", top[1][1], top))))
    assert sampled.least_lead == 0.0
    assert paths(p={"h0": sampled, "h1": sampled}).on_one_path(0.0) == []
