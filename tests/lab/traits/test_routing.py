from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pytest
from fake_engine import distribution, listed, serving

from qcheck.suites import load_suite


async def test_route_sends_its_share_and_the_log_tells_the_truth():
    """200 draws at 25 %: 50 ± 6.1; three standard deviations, and the seed is fixed."""
    async with serving("q4_k_m?route=0.25") as provider:
        answers = [await provider.chat(f"prompt {i}") for i in range(200)]
        rows = provider.truth()
    assert [listed(a) for a in answers] == [pytest.approx(distribution(row["deployment"])) for row in rows]
    assert 31 <= sum(row["deployment"] == "q4_k_m" for row in rows) <= 69
    assert all(row["traits"] == ([] if row["deployment"] == "q4_k_m" else ["route"]) for row in rows)


async def drawn(prompts: list[str], seed: int = 7) -> dict[str, list[str | None]]:
    """Which deployments answered each prompt, in order."""
    async with serving("q4_k_m?route=0.5", seed=seed) as provider:
        found: dict[str, list[str | None]] = {}
        for prompt in prompts:
            await provider.chat(prompt)
            found.setdefault(prompt, []).append(provider.deployments()[-1])
        return found


async def test_draws_depend_on_seed_and_content_not_on_order_or_restarts():
    prompts = [str(i) for i in range(24)]
    first = await drawn(prompts)
    assert await drawn(prompts[::-1]) == first
    later = await drawn(prompts[12:])
    assert later == {prompt: first[prompt] for prompt in prompts[12:]}
    assert await drawn(prompts, seed=8) != first


async def test_the_same_request_is_drawn_anew_each_time():
    repeats = (await drawn(["x"] * 24))["x"]
    assert set(repeats) == {"honest", "q4_k_m"}
    assert (await drawn(["x"] * 12))["x"] == repeats[:12]


async def test_base_names_another_deployment_for_the_rest():
    async with serving("q4_k_m?route=0.5&base=honest-b") as provider:
        for i in range(16):
            await provider.chat(str(i))
        assert set(provider.deployments()) == {"q4_k_m", "honest-b"}


async def test_sticky_by_key_draws_once_for_each_key():
    """100 keys at 30 %: 30 ± 4.6; three standard deviations, and the seed is fixed."""
    messages = [{"role": "user", "content": "x"}]

    async def by_key(key: int) -> str | None:
        answers = [
            await provider.post({"messages": messages, "seed": i}, headers={"Authorization": f"Bearer key-{key}"})
            for i in range(2)
        ]
        assert [a.status_code for a in answers] == [200, 200]
        first, second = provider.truth()[-2:]
        assert first["deployment"] == second["deployment"]
        assert first["traits"] == ["sticky"] + (["route"] if first["deployment"] == "honest" else [])
        return first["deployment"]

    async with serving("q4_k_m?route=0.3&sticky=key") as provider:
        once = [await by_key(key) for key in range(100)]
        assert 17 <= once.count("q4_k_m") <= 43
    async with serving("q4_k_m?route=0.3&sticky=key") as provider:
        assert [await by_key(key) for key in range(10)] == once[:10]
        assert not any("key-" in json.dumps(row) for row in provider.truth())


async def test_sticky_by_connection_draws_once_for_each_connection():
    async with serving("q4_k_m?route=0.5&sticky=connection") as provider:
        for connection in range(16):
            await provider.post({"messages": [], "seed": connection})
            await provider.post({"messages": [], "seed": -connection}, headers={"Connection": "close"})
        answered = provider.deployments()
    assert answered[::2] == answered[1::2]
    assert set(answered) == {"honest", "q4_k_m"}


async def test_bursts_come_in_runs_and_keep_the_share():
    """Each of 300 requests draws anew with probability 1/5, about 60 draws at 50 %: runs of draws are geometric, so
    that the share is 0.5 ± 0.087; a change of deployment has probability 0.1, so that 31 ± 5.2 stretches begin (without
    bursts 151). Three standard deviations, and the seed is fixed."""
    async with serving("q4_k_m?route=0.5&burst=5") as provider:
        for i in range(300):
            await provider.chat(str(i))
        answered = provider.deployments()
    assert 0.24 <= answered.count("q4_k_m") / 300 <= 0.76
    assert 15 <= len(list(groupby(answered))) <= 47


async def test_bursts_follow_the_order_of_arrival():
    async def answered() -> list[str | None]:
        async with serving("q4_k_m?route=0.5&burst=3") as provider:
            for i in range(40):
                await provider.chat(str(i % 5))
            return provider.deployments()

    assert await answered() == await answered()


@pytest.mark.parametrize(
    ("value", "deviating"),
    [("9-17", range(9, 17)), ("22-6", [*range(6), 22, 23]), ("0-24", range(24)), ("23-24", [23])],
)
async def test_hours_are_those_of_the_gateways_clock(value: str, deviating: range | list[int]):
    async def answers_at(hour: int) -> str | None:
        async with serving(f"q4_k_m?hours={value}", now=datetime(2026, 11, 24, hour, 59, tzinfo=UTC)) as provider:
            await provider.chat()
            return provider.deployments()[0]

    for hour in (0, 5, 6, 8, 9, 16, 17, 22, 23):
        assert await answers_at(hour) == ("q4_k_m" if hour in deviating else "honest")


async def test_from_begins_with_that_request():
    async with serving("q4_k_m?from=3") as provider:
        for _ in range(4):
            await provider.chat()
        assert provider.deployments() == ["honest", "honest", "q4_k_m", "q4_k_m"]


async def test_gates_open_together():
    """Half of the requests from the 11th on: 10 of 20 ± 2.2, and none before."""
    async with serving("q4_k_m?from=11&route=0.5") as provider:
        for i in range(30):
            await provider.chat(str(i))
        answered = provider.deployments()
    assert set(answered[:10]) == {"honest"}
    assert 3 <= answered[10:].count("q4_k_m") <= 17


async def test_shipped_probes_are_recognised():
    probe = load_suite("logprobs").probes[0]
    messages = [{"role": m.role, "content": m.content} for m in probe.messages]
    async with serving("q4_k_m?probes_honest") as provider:
        await provider.post({"messages": messages, "temperature": 0.7})
        await provider.chat(probe.messages[0].content + " ")
        rows = provider.truth()
    assert [(row["deployment"], row["traits"]) for row in rows] == [("honest", ["probes_honest"]), ("q4_k_m", [])]


async def test_probes_of_a_folder_are_recognised(tmp_path: Path):
    probe = {"id": "a", "cluster": "a", "fold": "evaluation", "messages": [{"role": "user", "content": "Known?"}]}
    manifest = {
        "name": "mine",
        "version": "1.0.0",
        "licence": "CC0-1.0",
        "description": "One probe.",
        "observes": ["logprobs"],
        "max_tokens": 1,
        "top_logprobs": 20,
    }
    (tmp_path / "suite.json").write_text(json.dumps(manifest))
    (tmp_path / "probes.jsonl").write_text(json.dumps(probe) + "\n")
    async with serving(f"q4_k_m?probes_honest={tmp_path}") as provider:
        await provider.chat("Known?")
        await provider.chat("Unknown?")
        assert provider.deployments() == ["honest", "q4_k_m"]
