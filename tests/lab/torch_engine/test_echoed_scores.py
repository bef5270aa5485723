"""A provider's text scored by real engines, over HTTP, as `qcheck.client` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import serving

pytest.importorskip("torch")

from qcheck.client.transport import Client
from qcheck.evidence.scored_text import Sampling, ScoredTextEvidence, scorable
from qcheck.lab.catalog import TorchSettings
from qcheck.lab.quantize import quantise
from qcheck.lab.supervisor import PROMPT_FORMAT
from qcheck.records import Message, Position, Request
from qcheck.registry.types import Endpoint

Ask = Callable[..., tuple[int, dict[str, Any]]]
TOKENS = 12
WORDS = ("list", "river", "king", "number", "bread", "file", "house", "word")


@pytest.fixture(scope="session")
def engines(started: Callable[..., str], release: Path, release_f32: Path, cache_dir: Path) -> dict[str, str]:
    """A reference in float32, an honest provider in bfloat16, and a variant in a 2-bit format."""
    variant = cache_dir / "q2_k.gguf"
    quantise(release, variant, "Q2_K")
    f32 = TorchSettings("float32")
    return {"f32": started(release_f32, f32), "bf16": started(release, TorchSettings()), "q2_k": started(variant, f32)}


def texts(url: str, ask: Ask) -> list[str]:
    said = []
    for seed, word in enumerate(WORDS):
        asked = {"messages": [{"role": "user", "content": f"What is a {word}?"}], "max_tokens": TOKENS, "seed": seed}
        said.append(scorable(ask(url, "/v1/chat/completions", asked)[1]["choices"][0]["message"]["content"]))
    return said


async def scored(url: str, said: Sequence[str]) -> list[tuple[Position, ...]]:
    endpoint = Endpoint("e", "e", f"{url}/v1", "m", None, prompt_format=PROMPT_FORMAT)
    found = []
    async with Client(endpoint) as client:
        for word, text in zip(WORDS, said, strict=True):
            request = Request(word, (Message("user", f"What is a {word}?"),), 1, 0.0, 20, scored=text)
            (attempt,) = [attempt async for attempt in client.ask(request, "e", 0)]
            assert attempt.response is not None
            found.append(attempt.response.positions)
    return found


async def judged(engines: dict[str, str], said: Sequence[str]) -> ScoredTextEvidence:
    """By the float32 reference, the 2-bit variant being looked for."""
    evidence = ScoredTextEvidence(["q2_k"], Sampling(1.0, TOKENS, plain=True))
    reference, variant = await scored(engines["f32"], said), await scored(engines["q2_k"], said)
    for word, one, other in zip(WORDS, reference, variant, strict=True):
        evidence.update(word, f"What is a {word}?".encode(), [one], [other])
    return evidence


async def test_positions_spell_the_text_and_rank_the_most_probable_token_first(engines: dict[str, str], ask: Ask):
    said = texts(engines["f32"], ask)
    for text, positions in zip(said, await scored(engines["f32"], said), strict=True):
        assert "".join(p.token.removeprefix("=") for p in positions[:-1]) == text
        assert all(len(p.top) == 20 and p.top[0][1] == max(value for _, value in p.top) for p in positions)
        assert all(p.logprob is not None and p.logprob < 0 for p in positions)


async def test_an_honest_kernel_is_not_accused_by_a_float32_reference(engines: dict[str, str], ask: Ask):
    """What it says is no evidence; what the variant says is, on as few texts."""
    honest = await judged(engines, texts(engines["bf16"], ask))
    assert honest.log_e < np.log(3)
    assert (await judged(engines, texts(engines["q2_k"], ask))).log_e > honest.log_e + 1


async def test_the_gateway_passes_on_that_a_prompt_is_echoed(engines: dict[str, str]):
    """And its traits leave alone the first token, which has no number."""
    asked = {"prompt": "<|bos|>In the beginning", "max_tokens": 1, "logprobs": 5, "echo": True}
    async with serving("honest?lattice=8", engines={"honest": engines["f32"]}) as provider:
        answer = (await provider.post(asked, "completions")).json()
        refused = await provider.post({**asked, "echo": "yes"}, "completions")
    first, *others = answer["choices"][0]["logprobs"]["content"]
    assert (first["logprob"], first["top_logprobs"]) == (None, [])
    assert len(others) == answer["usage"]["prompt_tokens"]
    assert all((entry["logprob"] * 8).is_integer() for entry in others)
    assert answer["choices"][0]["text"].startswith("In the beginning")
    assert refused.status_code == 400
