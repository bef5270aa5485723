"""The ways to a thinking model's first token, on the lab's own: all lead to the same distribution."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from qcheck.client.transport import Client
from qcheck.jobs.inquiry import Inquiry
from qcheck.jobs.thinking import find_way
from qcheck.lab.supervisor import Lab
from qcheck.records import Attempt, Message, Request
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint
from qcheck.run.budget import Budget, Limits

MODEL = get_model("lab-thinking")
TURNS = (Message("system", "Be brief."), Message("user", "What is 3 + 4?"))


def ask(endpoint: Endpoint, max_tokens: int = 1, **dialect: object) -> Attempt:
    """The attempt at a question, in a dialect like the endpoint's but for these."""
    told = replace(endpoint, dialect=replace(endpoint.dialect, **dialect), prompt_format=MODEL.prompt_format)
    request = Request("p", TURNS, max_tokens, 0.0, 20)

    async def attempts() -> list[Attempt]:
        async with Client(told, max_attempts=1) as client:
            return [attempt async for attempt in client.ask(request, "lab", 0)]

    (attempt,) = asyncio.run(attempts())
    return attempt


@pytest.fixture(scope="module")
def llama(lab: Lab) -> Endpoint:
    return lab.engine("honest", "lab-thinking")


def test_a_switch_and_a_whole_prompt_show_the_same(llama: Endpoint) -> None:
    switched, written = ask(llama).response, ask(llama, thinking_off="completions").response
    assert switched is not None
    assert written is not None
    assert len(switched.positions[0].top) == 20
    assert written.positions == switched.positions
    assert written.prompt_tokens == switched.prompt_tokens


def test_an_answer_that_is_begun_shows_the_same(lab: Lab) -> None:
    torch = lab.engine("honest-torch-f32", "lab-thinking")
    switched, begun = ask(torch).response, ask(torch, thinking_off="continue_final_message").response
    assert switched is not None
    assert begun is not None
    assert begun.positions == switched.positions
    assert begun.prompt_tokens == switched.prompt_tokens


@pytest.mark.parametrize("max_tokens", [1, 8])
def test_a_model_that_was_told_nothing_thinks_and_is_not_judged_by_that(llama: Endpoint, max_tokens: int) -> None:
    attempt = ask(llama, max_tokens, thinking_off="none")
    assert attempt.response is None
    assert attempt.error is not None
    assert "thought before it answered" in attempt.error
    observed = ask(llama, max_tokens, thinking_off=None).response  # as of a model that always thinks
    assert observed is not None
    assert observed.reasoning
    assert len(observed.positions) == max_tokens


def test_a_stream_shows_what_a_whole_answer_does(llama: Endpoint) -> None:
    whole, streamed = ask(llama, 8).response, ask(llama, 8, stream=True).response
    assert whole is not None
    assert streamed is not None
    shown = len(streamed.positions)  # llama.cpp leaves out the token that ends an answer
    assert shown >= len(whole.positions) - 1 > 0
    assert streamed.positions == whole.positions[:shown]
    assert (streamed.text, streamed.prompt_tokens) == (whole.text, whole.prompt_tokens)


@pytest.mark.parametrize(
    ("deployment", "switches", "written", "found"),
    [
        ("honest", ("enable_thinking", "chat_template_kwargs"), (), "chat_template_kwargs"),
        ("honest", ("thinking.type", "reasoning", "reasoning_effort"), (), "reasoning_effort"),
        ("honest", (), ("partial", "prefix", "continue_final_message", "completions"), "completions"),
        ("honest-torch-f32", (), ("partial", "prefix", "continue_final_message"), "continue_final_message"),
        ("honest-torch-f32", ("enable_thinking", "thinking.type", "reasoning"), ("partial", "prefix"), None),
    ],
)
def test_the_ways_that_real_engines_understand_are_found(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    deployment: str,
    switches: tuple[str, ...],
    written: tuple[str, ...],
    found: str | None,
) -> None:
    monkeypatch.setattr("qcheck.jobs.thinking._SWITCHES", switches)
    monkeypatch.setattr("qcheck.jobs.thinking._WRITTEN", written)
    served = lab.engine(deployment, "lab-thinking")
    untold = replace(served, dialect=Dialect(thinking_off="unknown"), prompt_format=MODEL.prompt_format)
    asking = Inquiry(untold, None, Budget(Limits(), {}))
    doubts = asyncio.run(find_way(asking))
    assert asking.way == found
    assert asking.endpoint.dialect.thinking_off == (found or "not found")
    assert doubts["none"] == "it thinks"
