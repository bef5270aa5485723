import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import (
    BorderInputs,
    LogprobTracking,
    ModelEqualityTesting,
    Peer,
    RankUniformity,
    TokenDifr,
    power,
    threshold,
)
from benchmarks.peers.answers import (
    PADDING,
    FirstTokens,
    Samples,
    ScoredTokens,
    candidate_index,
    first_token_ranks,
    first_tokens,
    reference_index,
    scored_tokens,
)
from benchmarks.peers.border_inputs import border_prompts
from qcheck.baselines import Answer
from qcheck.lab.streams import Source, draw
from qcheck.records import Position

NAN = float("nan")
PROMPTS, TOKENS, LENGTH = 40, 6, 4


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def logits(streams: int, noise: float, seed: int) -> np.ndarray:
    """Next-token distributions of the same prompts in each stream, each answer with its own noise."""
    base = rng(99).normal(size=(PROMPTS, TOKENS))
    return base + noise * rng(seed).normal(size=(streams, *base.shape))


def listed(streams: int, noise: float, seed: int) -> FirstTokens:
    values = logits(streams, noise, seed)[..., None, :]
    logprobs = values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return FirstTokens(logprobs.astype(np.float32), logprobs.argmax(axis=-1))


def sampled(streams: int, noise: float, seed: int, samples: int) -> Samples:
    draws = rng(seed + 1000).gumbel(size=(streams, PROMPTS, samples, LENGTH, TOKENS))
    tokens = (logits(streams, noise, seed)[..., None, None, :] + draws).argmax(axis=-1).astype(np.int32)
    places = (-logits(1, 0.0, 0)[0]).argsort(axis=-1).argsort(axis=-1) + 1
    prompt = np.arange(PROMPTS)[:, None, None]
    return Samples(tokens, places[prompt, tokens].astype(np.int32))


def scored(streams: int, noise: float, seed: int) -> ScoredTokens:
    trusted = logits(1, 0.0, 0)[0]
    sent = listed(streams, noise, seed).sent[..., 0]
    margins = trusted.max(axis=-1) - np.take_along_axis(trusted[None], sent[..., None], axis=-1)[..., 0]
    return ScoredTokens(margins[..., None, None].astype(np.float32))


CASES = [
    (LogprobTracking(), listed, {}),
    (BorderInputs(), listed, {}),
    (TokenDifr("margin"), scored, {}),
    (TokenDifr("mismatch"), scored, {}),
    (ModelEqualityTesting(), sampled, {"samples": 6}),
    (RankUniformity(), sampled, {"samples": 20}),
]


@pytest.mark.parametrize(("peer", "answers", "options"), CASES, ids=[peer.name for peer, _, _ in CASES])
def test_each_peer_tells_a_larger_change_from_honest_noise(
    peer: Peer, answers: Callable[..., Any], options: dict[str, int]
) -> None:
    """50 streams of honest noise set the threshold at 10 %, half of others with the larger change exceed it."""
    reference, honest = answers(1, 0.02, 1, **options), answers(50, 0.02, 2, **options)
    deviating = answers(50, 1.5, 3, **options)
    scores = peer.scores(reference, honest, rng())
    assert scores.shape == (50,)
    assert np.isfinite(scores).all()
    assert power(peer.scores(reference, deviating, rng()), scores, 0.1) >= 0.5
    assert peer.tokens_per_request >= 1


def test_thresholds_hold_the_rate_they_are_set_at_even_with_ties() -> None:
    for honest in (rng().normal(size=2000), rng().integers(0, 5, 2000).astype(float), np.zeros(10)):
        assert (honest > threshold(honest)).mean() <= 0.01
    distinct = np.arange(1000.0)
    assert (distinct > threshold(distinct)).mean() >= 0.009  # and no more is given away than ties ask for
    assert power(np.array([5.0, 2000.0]), distinct) == 0.5


def test_logprob_tracking_by_hand() -> None:
    """Two answers a side: means, censored at each answer's smallest; the token that nobody lists is left out."""
    reference = FirstTokens(
        np.array([[[-1.0, -2.0, NAN, NAN], [-3.0, NAN, -4.0, NAN]]], np.float32), np.zeros((1, 2), int)
    )
    candidate = FirstTokens(
        np.array([[[-1.0, -2.0, -3.0, NAN], [-1.0, -2.0, -3.0, NAN]]], np.float32), np.zeros((1, 2), int)
    )
    # Means: reference (-2, -3, -3), candidate (-1, -2, -3).
    assert LogprobTracking().scores(reference, candidate, rng()) == pytest.approx(2 / 3)


def test_border_inputs_by_hand() -> None:
    """Three reference answers a, a, b against one answer b, and against a token that the reference never sends."""
    lists = np.full((1, 3, 3), -1.0, np.float32)
    reference = FirstTokens(lists, np.array([[0, 0, 1]]))
    candidate = FirstTokens(np.full((2, 1, 1, 3), -1.0, np.float32), np.array([[[1]], [[2]]]))
    assert BorderInputs().scores(reference, candidate, rng()) == pytest.approx([2 / 3, 1.0])


def test_border_prompts_are_those_with_the_smallest_gap() -> None:
    lists = np.array([[-0.1, -3.0, NAN], [-0.7, -0.8, NAN], [-0.9, -1.4, -1.3]], np.float32)[:, None]
    assert border_prompts(FirstTokens(lists, np.zeros((3, 1), int)), 2).tolist() == [1, 2]


def test_token_difr_clips_ignores_what_was_not_scored_and_cuts_to_length() -> None:
    honest, equal = (ScoredTokens(np.array([[[0.0, 0.0, top, NAN]]], np.float32)) for top in (1.0, 0.0))
    candidate = ScoredTokens(np.array([[[[0.0, 7.0, NAN, 5.0]]]], np.float32))
    clip = np.quantile([0.0, 0.0, 1.0], 0.999)
    assert TokenDifr("margin").scores(honest, candidate, rng()) == pytest.approx([2 * clip / 3])
    assert TokenDifr("margin").scores(equal, candidate, rng()) == pytest.approx([12 / 3])
    assert TokenDifr("mismatch").scores(honest, candidate, rng()) == pytest.approx([2 / 3])
    assert TokenDifr("mismatch", 2).scores(honest, candidate, rng()) == pytest.approx([1 / 2])


def test_model_equality_testing_takes_one_sample_a_prompt_and_lengths_that_differ() -> None:
    tokens = np.array([[[1, 2], [1, PADDING]]], np.int32)
    reference, same = Samples(tokens, tokens), Samples(tokens[:, :1], tokens[:, :1])
    other = Samples(tokens[:, :1] + 5, tokens[:, :1])
    peer = ModelEqualityTesting()
    assert peer.scores(reference, same, rng()) < peer.scores(reference, other, rng())
    assert ModelEqualityTesting(1).scores(reference, same, rng()) == pytest.approx(0.0)


def test_rank_uniformity_does_not_look_at_padding() -> None:
    """What stands in `ranks` after the end changes nothing."""
    samples = sampled(1, 0.0, 4, 5)
    tokens, ranks = samples.tokens.copy(), samples.ranks.copy()
    tokens[..., 2:] = PADDING
    ranks[..., 2:] = 77
    peer, one = RankUniformity(), sampled(1, 0.0, 5, 1)
    cut = peer.scores(samples.first(2), one, rng())
    assert peer.scores(Samples(tokens, ranks), one, rng()) == pytest.approx(cut)


def test_first_token_ranks_count_what_is_more_probable() -> None:
    logprobs = np.array([[-2.0, -1.0, NAN, -3.0]])
    assert first_token_ranks(logprobs, np.array([[0, 1, 2, 3]])).tolist() == [[2, 1, 4, 3]]


def answer(*positions: tuple[str, dict[str, float]]) -> Answer:
    return Answer(None, tuple(Position(sent, top.get(sent), tuple(top.items())) for sent, top in positions))


A, B = {"a": -0.5, "b": -1.0}, {"b": -0.4, "a": -1.3}
SOURCE = Source(
    {
        "trusted": {"p": (answer(("a", A), ("a", A)),) * 2, "q": (answer(("b", B)),) * 2},
        "other": {
            "p": (answer(("a", A), ("b", B)), answer(("b", B), ("a", A))),
            "q": (answer(("c", {"c": -0.1})),) * 2,
        },
    },
    ("p", "q"),
    2,
    "identity",
)


def test_first_tokens_share_a_prompts_axis() -> None:
    table = first_tokens(SOURCE, ["trusted", "other"])
    assert table.logprobs.shape == (2, 2, 2, 3)
    assert table.sent[:, 0].tolist() == [[0, 0], [0, 1]]  # prompt p: a and b in the order in which they come
    assert table.logprobs[0, 0, 0, :2].tolist() == pytest.approx([-0.5, -1.0])
    assert table.logprobs[1, 0, 1, :2].tolist() == pytest.approx([-1.3, -0.4])
    assert np.isnan(table.logprobs[1, 1, 0]).tolist() == [True, True, False]


def test_tokens_are_scored_up_to_the_first_that_differs() -> None:
    margins = scored_tokens(SOURCE, "trusted", ["other"]).margins[0]
    assert margins[0, 0] == pytest.approx([0.0, 0.5])
    assert margins[0, 1].tolist() == pytest.approx([0.5, NAN], nan_ok=True)
    assert margins[1, 0].tolist() == pytest.approx([0.9, NAN], nan_ok=True)  # unlisted: b's -0.4 less the floor


def test_streams_select_the_answers_that_they_are_made_of() -> None:
    names = ["trusted", "other"]
    streams = draw(SOURCE, {"other": 0.5, "trusted": 0.5}, 30, 2, rng())
    table = first_tokens(SOURCE, names)
    candidate, reference = table[candidate_index(streams, names)], table[reference_index(streams, names, ["trusted"])]
    assert candidate.sent.shape == reference.sent.shape == (30, 2, 1)
    for stream in range(30):
        for i, (probe, name, replayed) in enumerate(streams.replay(SOURCE, stream)):
            expected = table.sent[names.index(name), SOURCE.probes.index(probe)]
            assert candidate.sent[stream, i, 0] in expected
            keys = {"p": "ab", "q": "bac"}[probe]
            assert keys[candidate.sent[stream, i, 0]] == replayed.positions[0].token
            assert keys[reference.sent[stream, i, 0]] == SOURCE.answers["trusted"][probe][0].positions[0].token
    scores = LogprobTracking().scores(reference, candidate, rng())
    honest = (streams.deployment == streams.deployments.index("trusted")).all(axis=1)
    assert math.isclose(scores[honest].max(), 0.0, abs_tol=1e-6)
    assert scores[~honest].max() > 0
