"""Answers that are asked for plainly."""

import pytest

from qcheck.client.dialect import build_body
from qcheck.records import Message, Request
from qcheck.registry.types import Dialect, Endpoint, PlainSamples

REQUEST = Request("p", (Message("user", "Hi"),), 8, 1.0, 0)
CUT = {"top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "repeat_penalty"}


def asked(form: PlainSamples | None, temperature: float = 1.0) -> dict[str, object]:
    endpoint = Endpoint("e", "e", "http://127.0.0.1:1/v1", "m", None, Dialect(plain_samples=form))
    request = Request("p", REQUEST.messages, 8, temperature, 0)
    return {name: value for name, value in build_body(endpoint, "m", request).items() if name in CUT}


@pytest.mark.parametrize(
    ("form", "more"),
    [
        ("openai", {}),
        ("vllm", {"top_k": -1, "min_p": 0, "repetition_penalty": 1}),
        ("llama.cpp", {"top_k": 0, "min_p": 0, "repeat_penalty": 1}),
    ],
)
def test_no_tail_is_cut_and_nothing_penalised_in_the_form_that_is_stated(
    form: PlainSamples, more: dict[str, object]
) -> None:
    assert asked(form) == {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0} | more


def test_nothing_is_asked_where_nobody_knows() -> None:
    assert asked(None) == {}


def test_greedy_answers_are_asked_for_without_penalties_too() -> None:
    assert asked("vllm", 0.0) == asked("vllm", 1.0)
