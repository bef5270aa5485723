from __future__ import annotations

from typing import Any

import pytest
from fake_engine import serving


async def reached(spec: str, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """What the engine gets of a chat with these fields beside the messages, and which traits acted."""
    async with serving(spec) as provider:
        response = await provider.post({"messages": [], **fields})
        assert response.status_code == 200
        body = {name: value for name, value in provider.reached.items() if name not in ("model", "messages")}
        return body, provider.truth()[0]["traits"]


@pytest.mark.parametrize(
    ("fields", "sent", "acted"),
    [
        ({"temperature": 0, "seed": 1, "top_p": 0.9}, {"top_p": 0.9}, ["ignore"]),
        ({"top_p": 0.9}, {"top_p": 0.9}, []),
    ],
)
async def test_ignored_parameters_do_not_reach_the_engine(
    fields: dict[str, Any], sent: dict[str, Any], acted: list[str]
):
    assert await reached("honest?ignore=temperature+seed", **fields) == (sent, acted)


async def test_what_makes_no_sense_alone_is_ignored_too():
    assert await reached("honest?ignore=logprobs", logprobs=True, top_logprobs=3) == ({}, ["ignore"])


@pytest.mark.parametrize("asked", [{"temperature": 0}, {}])
async def test_the_temperature_is_replaced(asked: dict[str, Any]):
    assert await reached("honest?temperature=0.6", **asked) == ({"temperature": 0.6}, ["temperature"])


async def test_the_same_temperature_is_no_change():
    assert await reached("honest?temperature=0.6", temperature=0.6) == ({"temperature": 0.6}, [])


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"max_tokens": 9}, {"max_tokens": 5}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_completion_tokens": 9}, {"max_tokens": 5}),
        ({"max_tokens": 9, "max_completion_tokens": 3}, {"max_tokens": 3}),
        ({"max_tokens": -1}, {"max_tokens": 5}),
        ({"max_completion_tokens": 0, "max_tokens": None}, {"max_tokens": 5}),
        ({"n_predict": 9}, {"max_tokens": 5}),
        ({}, {"max_tokens": 5}),
    ],
)
async def test_max_tokens_is_a_cap(asked: dict[str, Any], sent: dict[str, Any]):
    acted = ["max_tokens"] if sent == {"max_tokens": 5} else []
    assert await reached("honest?max_tokens=5", **asked) == (sent, acted)


async def test_a_cap_that_an_answer_does_not_reach_did_nothing():
    assert await reached("honest?max_tokens=100", max_tokens=200) == ({"max_tokens": 100}, [])


@pytest.mark.parametrize(
    ("asked", "sent"),
    [({"max_tokens": 1}, {"max_tokens": 16}), ({"max_tokens": 20}, {"max_tokens": 20}), ({}, {})],
)
async def test_min_tokens_raises_what_is_less(asked: dict[str, Any], sent: dict[str, Any]):
    assert await reached("honest?min_tokens=16", **asked) == (sent, ["min_tokens"] if asked != sent else [])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logprobs": True, "top_logprobs": 5}, "logprobs"),
        ({"temperature": 0}, "temperature"),
        ({"logprobs": False}, None),
        ({"temperature": None}, None),
        ({"top_p": 1}, None),
    ],
)
async def test_rejected_parameters_are_named(fields: dict[str, Any], named: str | None):
    async with serving("honest?reject=logprobs+temperature") as provider:
        response = await provider.post({"messages": [], **fields})
        row = provider.truth()[0]
        assert row["status"] == response.status_code == (400 if named else 200)
        assert (row["deployment"], row["traits"]) == ((None, ["reject"]) if named else ("honest", []))
        if named:
            assert response.json()["error"]["message"] == f"{named} is not supported with this model"
