"""What stands when a prompt is asked again, on answers made by hand: noise, weights, and mixtures of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.again import MOST, Repeats, goes_elsewhere
from qcheck.records import Position

TOKENS = 20
Values = np.ndarray


def answer(values: Values, tokens: int = TOKENS) -> Answer:
    """One position; the values are those of a fixed set of tokens."""
    top = sorted(((f"=t{i}", float(v)) for i, v in enumerate(values)), key=lambda pair: -pair[1])[:tokens]
    return Answer("t0", (Position("=t0", top[0][1], tuple(top)),))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def share_elsewhere(
    rng: np.random.Generator, firsts: float, seconds: float, noise: float, engine: float, tokens: int | None = None
) -> float:
    """Of 300 prompts, asked twice: deviations of `firsts` and `seconds` nats in one direction, and noise beside them.

    engine: how far two reference deployments and the provider's own kernels lie apart.
    """
    found = []
    for _ in range(300):
        truth = np.log(rng.dirichlet(np.ones(TOKENS + 10)))
        way = rng.normal(0, 1, len(truth))
        references = [truth + rng.normal(0, engine, len(truth)) for _ in range(2)]
        own = truth + rng.normal(0, engine, len(truth))
        one, two = (answer(own + way * far + rng.normal(0, noise, len(truth))) for far in (firsts, seconds))
        recorded = ProbeReference(tuple((answer(values),) for values in references))
        found.append(goes_elsewhere(one, two, recorded, range(2), tokens, deviates=True))
    return sum(map(bool, found)) / len(found)


@pytest.mark.parametrize("tokens", [None, 5])
@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noise_goes_another_way_each_time(rng: np.random.Generator, noise: float, tokens: int | None) -> None:
    assert share_elsewhere(rng, 0.0, 0.0, noise, 0.005, tokens) > 0.97 - 0.25 * (tokens is not None)


def test_a_second_answer_as_far_off_must_deviate_itself(rng: np.random.Generator) -> None:
    """Noise that adds to what an honest machine does on a prompt makes one answer deviate, and the next one not."""
    truth = np.log(rng.dirichlet(np.ones(TOKENS)))
    recorded = ProbeReference(tuple((answer(truth + 0.001 * i),) for i in range(2)))
    way = rng.normal(0, 0.1, TOKENS)
    for far, deviates, elsewhere in ((0.9, True, False), (0.9, False, True), (0.3, False, False)):
        second = answer(truth + far * way)
        assert goes_elsewhere(answer(truth + way), second, recorded, range(2), deviates=deviates) is elsewhere


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_other_weights_go_the_same_way_each_time(rng: np.random.Generator, noise: float) -> None:
    assert share_elsewhere(rng, 0.1, 0.1, noise, 0.005) < 0.01


@pytest.mark.parametrize("tokens", [None, 5])
def test_a_second_answer_that_is_the_references_takes_nothing_back(
    rng: np.random.Generator, tokens: int | None
) -> None:
    assert share_elsewhere(rng, 0.1, 0.0, 0.0, 0.01, tokens) < 0.03


@pytest.mark.parametrize("step", [1 / 16, 1 / 8])
def test_values_that_are_cut_off_lie_off_alike_and_that_is_passed_over(rng: np.random.Generator, step: float) -> None:
    """Of prompts that are answered by other weights first and like the reference then."""
    stand = {True: 0, False: 0}
    noisy = 0
    for _ in range(200):
        truth = np.log(rng.dirichlet(np.ones(TOKENS)))
        recorded = ProbeReference(tuple((answer(truth + rng.normal(0, 0.005, TOKENS)),) for _ in range(2)))
        far, again = (np.floor(values / step) * step for values in (truth + rng.normal(0, 0.8 * step, TOKENS), truth))
        for cut_off in stand:
            stand[cut_off] += (
                goes_elsewhere(answer(far), answer(again), recorded, range(2), deviates=True, cut_off=cut_off) is False
            )
        noise = np.floor((truth + rng.normal(0, 0.8 * step, TOKENS)) / step) * step
        noisy += goes_elsewhere(answer(far), answer(noise), recorded, range(2), deviates=True, cut_off=True) is True
    assert stand[True] > 180 > stand[False] + 60
    assert noisy > 180


def test_a_second_answer_that_shows_less_says_nothing(rng: np.random.Generator) -> None:
    """Short lists look near, as what they leave out counts as the least that it may be."""
    truth = np.log(rng.dirichlet(np.ones(TOKENS)))
    recorded = ProbeReference(((answer(truth),), (answer(truth + 0.001),)))
    far = truth + rng.normal(0, 0.1, TOKENS)
    assert (
        goes_elsewhere(answer(far), answer(truth + rng.normal(0, 0.1, TOKENS)), recorded, range(2), deviates=True)
        is True
    )
    assert goes_elsewhere(answer(far), answer(far), recorded, range(2), deviates=True) is False
    renamed = Answer("t0", (Position("#0", -0.1, tuple((f"#{i}", float(-i)) for i in range(TOKENS))),))
    whole = answer(far - np.log(np.exp(far[:10]).sum()), 10)  # normalised after a cut
    for second in (Answer("t0", ()), answer(far, 5), answer(far, TOKENS - 1), renamed, whole):
        assert goes_elsewhere(answer(far), second, recorded, range(2), deviates=True) is None
    assert goes_elsewhere(answer(far), answer(far, 5), recorded, range(2), tokens=5, deviates=True) is False


@pytest.mark.parametrize(
    ("answered", "outcomes", "stands", "due"),
    [
        (20, [], None, ["p9", "p8"]),
        (20, [True], True, []),
        (20, [None, False], None, ["p7", "p6"]),
        (20, [False, True], None, ["p7", "p6"]),
        (20, [False, True, True], True, []),
        (20, [False, None, True, True], None, ["p5", "p4"]),
        (20, [False] * (MOST - 1), None, ["p2", "p1"]),
        (20, [False] * MOST, False, []),
        (20, [None] * MOST, False, []),
        (20, [False, True] * (MOST // 2), False, []),
        (21, [True], None, ["p8", "p7"]),
        (21, [True, True], True, []),
        (21, [False, True, True], None, ["p6", "p5"]),
        (21, [False, True, True, True], True, []),
        (21, [True, False] * (MOST // 2), False, []),
    ],
)
def test_more_must_stand_than_do_not_and_two_more_where_few_answers_deviate(
    answered: int, outcomes: Sequence[bool | None], stands: bool | None, due: list[str]
) -> None:
    repeats = Repeats()
    for number in range(10):
        repeats.keep(f"p{number}", answer(np.array([math.log(0.5)])))
    for stood in outcomes:
        repeats.settle(repeats.due[0], stood=stood, answered=answered)
    assert repeats.stands is stands
    assert list(repeats.due[:2]) == due
    assert len(repeats.findings()) == bool(outcomes)
