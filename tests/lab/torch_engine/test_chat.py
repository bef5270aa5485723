from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qcheck.lab.catalog import EngineSettings

pytest.importorskip("jinja2")

from qcheck.lab.torch_engine.chat import ChatTemplate, split_reasoning

USER = {"role": "user", "content": "What is a list?"}
PARTS = st.sampled_from(["</think>", "<think>", "\n", "\n\n", "a", " ", "</thi", "<thi", "<"])
THINKS, ANSWERS_AT_ONCE = "<|assistant|><think>\n", "<|assistant|><think>\n\n</think>\n\n"


@given(st.text(), st.text(min_size=1).filter(str.strip))
def test_reasoning_and_answer_are_told_apart(answer: str, reasoning: str):
    if "<" not in reasoning:
        assert split_reasoning(THINKS, f"{reasoning}</think>\n\n{answer}") == (reasoning, answer)
    assert split_reasoning(ANSWERS_AT_ONCE, f"{reasoning}</think>{answer}") == (None, f"{reasoning}</think>{answer}")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PARTS, min_size=1, max_size=6).map("".join), st.sampled_from(["thinks", "is told not to", "plain"]))
@example("3 + 4 = 7.\n</think>\n\n7", "thinks")
@example("cut off", "thinks")
@example(" \n7 ", "plain")
@example(" \n", "plain")
def test_llama_cpp_tells_them_apart_likewise(
    started: Callable[..., str], ask: Callable[..., Any], release: Path, text: str, model: str
):
    """A grammar makes llama.cpp generate `text`."""
    values = {"enable_thinking": False} if model == "is told not to" else {}
    prompt = ChatTemplate({} if model == "plain" else {"thinking": True}).render([USER], [], values)
    body = {"messages": [USER], "chat_template_kwargs": values, "grammar": f"root ::= {json.dumps(text)}"}
    url = started(release, EngineSettings(), thinking=model != "plain")
    status, answer = ask(url, "/v1/chat/completions", {**body, "temperature": 0, "max_tokens": 100})
    message = answer["choices"][0]["message"]
    assert status == 200
    assert (message.get("reasoning_content"), message["content"]) == split_reasoning(prompt, text)
