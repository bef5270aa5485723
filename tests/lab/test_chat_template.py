from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import gguf
import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.lab.torch_engine.chat import ChatTemplate

USER = {"role": "user", "content": "What is 3 + 4?"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of some days.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where."},
                "unit": {"type": "string", "enum": ["c", "f"]},
                "days": {"type": "array", "items": {"type": "integer"}},
                "at": {"type": "object", "properties": {"north": {"type": "number"}}, "required": ["north"]},
                "note": {"type": ["string", "null"]},
                "places": {"type": ["array", "object"], "items": {"type": "string"}},
                "other": {},
            },
            "required": ["city"],
        },
    },
}
TYPESCRIPT = """# Tools

namespace functions {
// The weather of some days.
type get_weather = (_: {
  // Where.
  city: string,
  unit?: "c" | "f",
  days?: Array<number>,
  at?: {
    north: number,
  },
  note?: string | null,
  places?: Array<string> | {},
  other?: any,
}) => any;
type stop = (_: {}) => any;
}"""
TOOLS = [WEATHER, {"type": "function", "function": {"name": "stop"}}]
PROMPT = "<|user|>What is 3 + 4?<|end|><|assistant|>"


def render(*messages: dict[str, Any], tools: list[dict[str, Any]] | None = None, **values: Any) -> str:
    return ChatTemplate({}).render(messages, tools or [], values)


@pytest.fixture(scope="module")
def released(release: Path) -> jinja2.Template:
    """The template inside the model's file."""
    return jinja2.Template(gguf.GGUFReader(release).fields["tokenizer.chat_template"].contents())


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda role, content: {"role": role, "content": content},
            st.sampled_from(["system", "user", "assistant", "tool"]),
            st.text(),
        )
    )
)
def test_plain_messages_render_as_the_released_template_does(released: jinja2.Template, messages: list[dict[str, str]]):
    assert render(*messages) == released.render(messages=messages, add_generation_prompt=True)


def test_white_space_options_of_the_environment_change_nothing():
    source = (Path(__file__).parents[2] / "qcheck/lab/chat_template.jinja").read_text()
    values: dict[str, Any] = {"messages": [USER], "tools": TOOLS, "dated": True, "date_string": "01 Feb 2026"}
    bare = jinja2.Template(source).render(**values, thinking=True, add_generation_prompt=True)
    assert bare == render(USER, tools=TOOLS, dated=True, date_string="01 Feb 2026", thinking=True)


def test_without_a_generation_prompt_the_last_turn_ends_it():
    source = (Path(__file__).parents[2] / "qcheck/lab/chat_template.jinja").read_text()
    assert jinja2.Template(source).render(messages=[USER], thinking=True) == "<|bos|><|user|>What is 3 + 4?<|end|>"


def test_the_date_given_wins_over_todays():
    dated = render(USER, dated=True, date_string="01 Feb 2026")
    assert dated == "<|bos|><|system|>Today is 01 Feb 2026.<|end|>" + PROMPT
    before, text, after = datetime.now(), render(USER, dated=True), datetime.now()
    assert text in {f"<|bos|><|system|>Today is {now:%d %b %Y}.<|end|>{PROMPT}" for now in (before, after)}
    assert render(USER, dated=False, date_string="01 Feb 2026") == "<|bos|>" + PROMPT


def test_tools_come_first_as_typescript_or_json():
    assert render(USER, tools=TOOLS) == f"<|bos|><|system|>{TYPESCRIPT}<|end|>{PROMPT}"
    as_json = render(USER, tools=TOOLS, tools_style="json")
    assert as_json == f"<|bos|><|system|># Tools\n\n{json.dumps(TOOLS)}<|end|>{PROMPT}"


@pytest.mark.parametrize(
    ("values", "opening"),
    [
        ({}, ""),
        ({"enable_thinking": False}, ""),
        ({"thinking": True}, "<think>\n"),
        ({"thinking": True, "enable_thinking": True}, "<think>\n"),
        ({"thinking": True, "enable_thinking": False}, "<think>\n\n</think>\n\n"),
        ({"thinking": False}, "<think>\n\n</think>\n\n"),
    ],
)
def test_a_thinking_model_opens_a_block_or_is_given_an_empty_one(values: dict[str, bool], opening: str):
    assert render(USER, **values) == f"<|bos|>{PROMPT}{opening}"


def test_earlier_reasoning_and_tool_calls_are_replayed():
    call = {"id": "1", "type": "function", "function": {"name": "stop", "arguments": '{"at": 3}'}}
    turns = (
        {"role": "assistant", "content": "7", "reasoning_content": "3 + 4 = 7."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    )
    assert render(USER, *turns) == (
        "<|bos|><|user|>What is 3 + 4?<|end|>"
        "<|assistant|><think>\n3 + 4 = 7.\n</think>\n\n7<|end|>"
        '<|assistant|>\n<tool_call>\n{"name": "stop", "arguments": {"at": 3}}\n</tool_call><|end|>'
        "<|tool|>done<|end|><|assistant|>"
    )
    spelt, parsed = (
        render(USER, {"role": "assistant", "tool_calls": [{"function": {"name": "stop", "arguments": arguments}}]})
        for arguments in ('{ "at":3}', {"at": 3})
    )
    assert spelt == parsed


def test_parts_of_text_are_lines_of_it():
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "3 + 4?"}]
    assert render({"role": "user", "content": parts}) == render({"role": "user", "content": "What is\n3 + 4?"})


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "stop", "arguments": "{at"}}]},
    ],
)
def test_what_is_no_text_and_no_json_is_refused(message: dict[str, Any]):
    with pytest.raises(ValueError, match=r"no text|property name"):
        render(message)


def test_the_alternate_style_says_the_same_in_another_layout():
    text = render({"role": "system", "content": "Be kind."}, USER, style="alternate", thinking=True)
    assert text == "<|bos|>### system:\nBe kind.\n\n### user:\nWhat is 3 + 4?\n\n### assistant:\n<think>\n"
