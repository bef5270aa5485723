from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fake_engine import serving

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


async def test_system_is_put_before_the_messages():
    async with serving("honest?system=Be+brief%2C+please.") as provider:
        await provider.chat("Hello")
        assert provider.reached["messages"] == [
            {"role": "system", "content": "Be brief, please."},
            {"role": "user", "content": "Hello"},
        ]
        assert provider.truth()[0]["traits"] == ["system"]


async def test_a_completion_has_no_system_prompt():
    async with serving("honest?system=Be+brief") as provider:
        await provider.post({"prompt": "Once"}, "completions")
        assert provider.reached == {"model": "lab-tiny", "prompt": "Once"}
        assert provider.truth()[0]["traits"] == []


async def test_template_is_put_over_what_the_client_tells_the_template():
    async with serving("honest?template=alternate") as provider:
        await provider.chat(chat_template_kwargs={"style": "release", "enable_thinking": False})
        assert provider.reached["chat_template_kwargs"] == {"style": "alternate", "enable_thinking": False}


async def test_tools_are_declared_otherwise_where_there_are_any():
    async with serving("honest?tools=json") as provider:
        await provider.chat(tools=[TOOL])
        assert provider.reached["chat_template_kwargs"] == {"tools_style": "json"}
        await provider.chat()
        assert "chat_template_kwargs" not in provider.reached
        assert [row["traits"] for row in provider.truth()] == [["tools"], []]


@pytest.mark.parametrize(
    ("turn", "left"),
    [
        ({"content": "4", "reasoning_content": "2 + 2"}, {"content": "4"}),
        ({"content": "4", "reasoning": "2 + 2", "reasoning_details": [{}]}, {"content": "4"}),
        ({"content": "<think>\n2 + 2\n</think>\n\n4"}, {"content": "4"}),
        ({"content": "4"}, {"content": "4"}),
        ({"content": None, "tool_calls": []}, {"content": None, "tool_calls": []}),
    ],
)
async def test_reasoning_is_dropped_from_earlier_turns_of_the_assistant(turn: dict[str, str], left: dict[str, str]):
    user = {"role": "user", "content": "<think>mine</think>", "reasoning": "mine"}
    async with serving("honest?drop_reasoning") as provider:
        response = await provider.post({"messages": [user, {"role": "assistant", **turn}, user]})
        assert response.status_code == 200
        assert provider.reached["messages"] == [user, {"role": "assistant", **left}, user]
        assert provider.truth()[0]["traits"] == (["drop_reasoning"] if turn != left else [])


@pytest.mark.parametrize(
    ("seconds", "date"), [("+86400", "25 Nov 2026"), ("-86400", "23 Nov 2026"), ("60", "24 Nov 2026")]
)
async def test_the_clock_moves_the_date_in_the_prompt(seconds: str, date: str):
    async with serving(f"honest?clock={seconds}", now=NOON, model="lab-dated") as provider:
        await provider.chat()
        assert provider.reached["chat_template_kwargs"] == {"date_string": date}
        assert provider.truth()[0]["traits"] == ([] if date == "24 Nov 2026" else ["clock"])


async def test_the_clock_is_not_seen_by_a_template_without_a_date():
    async with serving("honest?clock=+86400", now=NOON) as provider:
        await provider.chat()
        assert "chat_template_kwargs" not in provider.reached
        assert provider.truth()[0]["traits"] == []


async def test_the_clock_moves_the_hours_and_the_time_of_the_answer():
    async with serving("q4_k_m?hours=9-17&clock=+21600", now=NOON) as provider:
        answer = await provider.chat()
        assert provider.deployments() == ["honest"]
        assert answer["created"] == NOON.timestamp() + 21600
        assert provider.truth()[0]["time"] == NOON.isoformat()
