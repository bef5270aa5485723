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
    unchosen = three.unchosen(BOTH)[SEPARATING]
    assert unchosen == {"h0": (0, 1), "h1": (0, 1), "h2": (1, 2)}
    assert paths(steady=prompt((0.2, 0.3), v=("no", 0.2))).unchosen(BOTH) == {}


def test_flips_are_counted_against_all_references() -> None:
    some = paths(a=prompt((0.2, 0.3), v=("no", 0.2)), b=prompt((0.2, 0.3), v=("yes", 0.2)))
    assert some.flips("v", ["a", "b"]) == 1
    assert some.flips("h0", ["a", "b"]) == 0


def test_the_most_open_prompts_are_those_of_the_largest_entropy() -> None:
    def spread(*shares: float) -> GreedyPath:
        top = tuple((f"=t{i}", math.log(share)) for i, share in enumerate(shares))
        return GreedyPath.of(Answer(None, (Position(top[0][0], top[0][1], top),)))

    some = paths(
        sure={"h0": spread(0.9, 0.1), "h1": spread(0.9, 0.1)},
        even={"h0": spread(0.4, 0.3, 0.3), "h1": spread(0.5, 0.3, 0.2)},
        unlisted={"h0": spread(0.5, 0.1), "h1": spread(0.5, 0.1)},
        one_is_sure={"h0": spread(0.4, 0.3, 0.3), "h1": spread(1.0)},
        nothing={"h0": GreedyPath(b"", ()), "h1": GreedyPath(b"", ())},
    )
    assert some.most_open() == ["even", "unlisted", "sure", "one_is_sure", "nothing"]
