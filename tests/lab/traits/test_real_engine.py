"""Traits whose effect is the engine's doing: a real llama.cpp server behind the gateway."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from fake_engine import listed, position, serving

PROMPTS = ("What is a list?", "Name the capital of a country.", "Sort a list of numbers in Python.")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


async def prompt_tokens(llama: str, spec: str, **fields: Any) -> list[int]:
    """What each of the prompts costs."""
    async with serving(spec, engines={"honest": llama}) as provider:
        return [
            (await provider.chat(p, logprobs=None, top_logprobs=None, **fields))["usage"]["prompt_tokens"]
            for p in PROMPTS
        ]


async def test_a_hidden_prompt_costs_the_same_tokens_on_every_prompt(llama: str):
    honest, hidden = await prompt_tokens(llama, "honest"), await prompt_tokens(llama, "honest?system=You+are+helpful")
    assert len({more - less for more, less in zip(hidden, honest, strict=True)}) == 1
    assert hidden[0] - honest[0] > 3


async def test_another_template_changes_every_prompt(llama: str):
    honest, other = await prompt_tokens(llama, "honest"), await prompt_tokens(llama, "honest?template=alternate")
    assert all(more != less for more, less in zip(other, honest, strict=True))


async def test_tools_as_json_change_prompts_with_tools_alone(llama: str):
    assert await prompt_tokens(llama, "honest?tools=json") == await prompt_tokens(llama, "honest")
    with_tools = [await prompt_tokens(llama, spec, tools=[TOOL]) for spec in ("honest", "honest?tools=json")]
    assert all(one != other for one, other in zip(*with_tools, strict=True))


async def test_dropped_reasoning_is_not_shown_to_the_model(llama: str):
    turns = [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4", "reasoning_content": "Two and two make four."},
        {"role": "user", "content": "And 3 + 3?"},
    ]
    tokens = []
    for spec in ("honest", "honest?drop_reasoning"):
        async with serving(spec, engines={"honest": llama}) as provider:
            answer = (await provider.post({"messages": turns, "max_tokens": 1})).json()
            tokens.append(answer["usage"]["prompt_tokens"])
    assert tokens[1] < tokens[0] - 5


async def test_a_moved_clock_changes_what_a_dated_template_shows(llama: str):
    async def values(spec: str, **template: Any) -> list[float]:
        async with serving(spec, engines={"honest": llama}, model="lab-dated") as provider:
            return listed(await provider.chat(chat_template_kwargs=template))

    today, moved = await values("honest", dated=True), await values("honest?clock=+864000", dated=True)
    assert moved != today
    assert await values("honest?clock=+864000") == await values("honest")


async def test_after_temperature_is_what_the_engine_samples_from(llama: str):
    neutral = {"temperature": 0.5, "top_k": 0, "top_p": 1, "min_p": 0}
    body = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 1, "logprobs": True, "top_logprobs": 9}
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(
            f"{llama}/v1/chat/completions", json=body | neutral | {"post_sampling_probs": True, "seed": 1}
        )
    sampled = {e["id"]: e["prob"] for e in position(response.json())["top_probs"]}
    async with serving("honest?after_temperature=0.5", engines={"honest": llama}) as provider:
        answer = await provider.chat(PROMPTS[0], top_logprobs=9)
        assert {e["id"]: math.exp(e["logprob"]) for e in position(answer)["top_logprobs"]} == pytest.approx(
            sampled, rel=1e-3
        )


async def test_after_temperature_lists_as_many_as_the_engine_would(llama: str):
    body = {"messages": [{"role": "user", "content": PROMPTS[0]}], "max_tokens": 1, "logprobs": True}
    counts = []
    for spec in ("honest", "honest?after_temperature=0.5"):
        async with serving(spec, engines={"honest": llama}) as provider:
            counts.append(len(listed((await provider.post(body)).json())))
    assert counts[0] == counts[1] > 0


async def test_a_request_for_one_token_gets_what_a_request_for_more_gets(llama: str):
    async with serving("honest", engines={"honest": llama}) as provider:
        more = await provider.chat(PROMPTS[0], max_tokens=8)
    async with serving("honest?min_tokens=8", engines={"honest": llama}) as provider:
        answer = await provider.chat(PROMPTS[0], max_tokens=1)
    assert answer["choices"] == more["choices"]
    assert answer["usage"]["completion_tokens"] == 8


async def texts(llama: str, spec: str) -> set[str]:
    async with serving(spec, engines={"honest": llama}) as provider:
        answers = [await provider.chat(PROMPTS[1], max_tokens=12, seed=1) for _ in range(4)]
        return {answer["choices"][0]["message"]["content"] for answer in answers}


async def test_an_ignored_temperature_makes_greedy_answers_vary(llama: str):
    assert len(await texts(llama, "honest")) == 1
    assert len(await texts(llama, "honest?ignore=temperature")) == 1
    assert len(await texts(llama, "honest?ignore=temperature+seed")) > 1


async def test_a_retuned_temperature_changes_a_greedy_answer(llama: str):
    greedy, hot = await texts(llama, "honest"), await texts(llama, "honest?temperature=2")
    assert len(hot) == 1
    assert hot != greedy
