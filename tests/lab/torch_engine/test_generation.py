from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from qcheck.lab.decoder import Decoder, Shape  # noqa: E402
from qcheck.lab.torch_engine.generation import Answer, Position, Prompt, generate  # noqa: E402

VOCABULARY = 300
EOS = 0


def random_decoder(dtype: torch.dtype = torch.float32) -> Decoder:
    """With weights so large that its distributions are far from flat."""
    torch.manual_seed(1)
    decoder = Decoder(Shape(vocabulary=VOCABULARY, layers=1)).to(dtype).eval()
    with torch.no_grad():
        for p in decoder.parameters():
            p.mul_(4 if p.dim() == 2 else 1)
    return decoder


def random_prompts(lengths: Sequence[int], **options: float) -> list[Prompt]:
    rng = np.random.default_rng(2)
    base = replace(Prompt((), max_tokens=4, top_logprobs=VOCABULARY), **options)
    return [replace(base, ids=tuple(rng.integers(0, VOCABULARY, length).tolist())) for length in lengths]


def alone(decoder: Decoder, prompts: Sequence[Prompt]) -> list[Answer]:
    return [generate(decoder, [p], eos=EOS, rows=1, pad_to=1)[0] for p in prompts]


def tokens(answer: Answer) -> list[int]:
    return [p.token for p in answer.positions]


def distributions(answers: Sequence[Answer]) -> np.ndarray:
    """(all positions of the answers, vocabulary) log-probabilities in the order of the ids."""
    return np.array([[value for _, value in sorted(p.top)] for answer in answers for p in answer.positions])


@pytest.mark.parametrize(("rows", "pad_to"), [(3, 1), (4, 7), (8, 32)])
def test_batches_and_padding_change_nothing_in_float32(rows: int, pad_to: int):
    """But for the order of sums: by at most 1e-5 nats over the whole vocabulary."""
    decoder, prompts = random_decoder(), random_prompts([3, 40, 17])
    separate = alone(decoder, prompts)
    together = generate(decoder, prompts, eos=EOS, rows=rows, pad_to=pad_to)
    assert list(map(tokens, together)) == list(map(tokens, separate))
    assert np.abs(distributions(together) - distributions(separate)).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_same_batch_gets_the_same_bits(dtype: torch.dtype):
    decoder, prompts = random_decoder(dtype), random_prompts([3, 40])
    first, second = (generate(decoder, prompts, eos=EOS, rows=4, pad_to=16) for _ in range(2))
    assert first == second


def test_another_batch_has_the_noise_of_other_kernels_in_bfloat16():
    decoder, prompts = random_decoder(torch.bfloat16), random_prompts([9, 40, 17, 30], max_tokens=1)
    together = generate(decoder, prompts, eos=EOS, rows=8, pad_to=32)
    difference = np.abs(distributions(together) - distributions(alone(decoder, prompts)))
    assert 0 < difference.max() < 0.5


def test_an_answer_ends_at_the_end_token_or_at_its_length():
    decoder, prompts = random_decoder(), random_prompts([5, 8], max_tokens=6)
    endless = [generate(decoder, [p], eos=EOS, rows=1, pad_to=1)[0] for p in prompts]
    eos = tokens(endless[0])[2]
    assert all(len(a.positions) == 6 and a.finish_reason == "length" for a in endless)
    assert eos not in tokens(endless[0])[:2] + tokens(endless[1])
    ended, other = generate(decoder, prompts, eos=eos, rows=2, pad_to=1)
    assert (tokens(ended), ended.finish_reason) == (tokens(endless[0])[:3], "stop")
    assert (tokens(other), other.finish_reason) == (tokens(endless[1]), "length")


def test_equals_are_taken_and_listed_by_their_ids():
    decoder = random_decoder()
    torch.nn.init.zeros_(decoder.token_embd.weight)
    (answer,) = generate(decoder, [Prompt((1, 2), 3, top_logprobs=5)], eos=7, rows=2, pad_to=4)
    logprob = pytest.approx(-np.log(VOCABULARY), abs=1e-6)
    assert answer == Answer((Position(0, logprob, tuple((i, logprob) for i in range(5))),) * 3, "length")


def test_draws_belong_to_the_seed_alone():
    decoder = random_decoder()
    (prompt,) = random_prompts([12], temperature=1.0)
    seeds = [replace(prompt, seed=seed) for seed in range(6)]
    together = generate(decoder, seeds, eos=EOS, rows=8, pad_to=32)
    (same,) = generate(decoder, seeds[5:], eos=EOS, rows=1, pad_to=1)
    assert tokens(together[5]) == tokens(same)
    assert len({tuple(tokens(answer)) for answer in together}) == 6


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [(1, 0, 1, 0), (0.5, 0, 1, 0), (1, 0, 0.6, 0), (1.5, 0, 0.9, 0), (3, 9, 0.8, 0), (2, 4, 1, 0), (2, 0, 1, 0.3)],
)
def test_draws_follow_the_distribution(temperature: float, top_k: int, top_p: float, min_p: float):
    """Frequencies of 400 draws, each within 5 standard errors and one draw of its probability."""
    decoder, draws = random_decoder(), 400
    (greedy,) = random_prompts([12], max_tokens=1)
    (raw,) = distributions(alone(decoder, [greedy]))
    ranked = np.argsort(-raw)[: top_k or None]
    share = np.exp(raw[ranked]) / np.exp(raw[ranked]).sum()
    kept = ranked[(np.cumsum(share) - share < top_p) & (share >= min_p * share[0])]
    expected = np.zeros(VOCABULARY)
    expected[kept] = np.exp(raw[kept] / temperature) / np.exp(raw[kept] / temperature).sum()
    asked = replace(greedy, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, top_logprobs=3)
    seeds = [replace(asked, seed=s) for s in range(draws)]
    answers = generate(decoder, seeds, eos=EOS, rows=draws, pad_to=1)
    frequencies = np.bincount([tokens(a)[0] for a in answers], minlength=VOCABULARY) / draws
    assert np.all(frequencies[expected == 0] == 0)
    assert np.all(np.abs(frequencies - expected) < 5 * np.sqrt(expected / draws) + 1 / draws)
    listed = [value for _, value in answers[0].positions[0].top]
    assert listed == pytest.approx(np.sort(raw)[::-1][:3], abs=1e-5)  # as before temperature and top_p


@pytest.mark.parametrize(("rows", "pad_to"), [(3, 1), (4, 16)])
def test_an_echoed_prompt_is_scored_as_its_tokens_were_generated(rows: int, pad_to: int):
    """Beside prompts that are not; by the order of sums within 1e-5 nats."""
    decoder, prompts = random_decoder(), random_prompts([5, 23, 11], seed=3, temperature=1.0)
    generated = alone(decoder, prompts)
    longer = [
        replace(prompt, ids=(*prompt.ids, *tokens(answer)), echo=echo)
        for prompt, answer, echo in zip(prompts, generated, (True, False, True), strict=True)
    ]
    scored = generate(decoder, longer, eos=EOS, rows=rows, pad_to=pad_to)
    assert scored[1].prompt == ()
    for index in (0, 2):
        before, answer = len(prompts[index].ids), Answer(scored[index].prompt[len(prompts[index].ids) :], "length")
        assert [p.token for p in scored[index].prompt] == list(longer[index].ids)
        assert scored[index].prompt[0].logprob is None
        assert before + len(answer.positions) == len(longer[index].ids)
        assert np.abs(distributions([answer]) - distributions([generated[index]])).max() < 1e-5
        given = [[p.logprob for p in a.positions] for a in (answer, generated[index])]
        assert given[0] == pytest.approx(given[1], abs=1e-5)
