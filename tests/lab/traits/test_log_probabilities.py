from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from fake_engine import REFUSED_SEED, VOCABULARY, distribution, listed, position, serving

TRUE = distribution("honest")


async def test_no_logprobs_are_null_with_http_200():
    async with serving("honest?no_logprobs") as provider:
        assert (await provider.chat())["choices"][0]["logprobs"] is None
        assert "logprobs" not in (await provider.chat(logprobs=False))["choices"][0]
        assert [row["traits"] for row in provider.truth()] == [["no_logprobs"], []]


@pytest.mark.parametrize(("asked", "count"), [(20, 5), (3, 3)])
async def test_k_cuts_the_list(asked: int, count: int):
    async with serving("honest?k=5") as provider:
        answer = await provider.chat(top_logprobs=asked)
        assert listed(answer) == TRUE[:count]
        assert provider.truth()[0]["traits"] == (["k"] if count < asked else [])


async def test_no_alternative_may_be_listed():
    async with serving("honest?k=0") as provider:
        assert position(await provider.chat()) == {
            "id": 0, "token": "a", "bytes": [97], "logprob": TRUE[0], "top_logprobs": [],
        }  # fmt: skip


async def test_round_keeps_so_many_digits():
    async with serving("honest?round=1") as provider:
        answer = await provider.chat()
        assert listed(answer) == [round(value, 1) for value in TRUE]
        assert position(answer)["logprob"] == round(TRUE[0], 1)
        assert provider.truth()[0]["traits"] == ["round"]


async def test_the_lattice_holds_multiples_of_an_eighth():
    async with serving("honest?lattice=8") as provider:
        values = listed(await provider.chat())
    assert all((value * 8).is_integer() for value in values)
    assert np.abs(np.subtract(values, TRUE)).max() <= 1 / 16


async def test_noise_is_gaussian_seeded_and_leaves_a_possible_list():
    """50 answers of 16 values below −1, noise of 0.05 nats: the mean is 0 ± 0.0018, the deviation 0.05 ± 0.00125;
    four standard deviations, and the seed is fixed."""

    async def errors(seed: int) -> np.ndarray:
        async with serving("honest?noise=0.05", seed=seed) as provider:
            found = []
            for i in range(50):
                answer = await provider.chat(str(i), max_tokens=1)
                values = {e["id"]: e["logprob"] for e in position(answer)["top_logprobs"]}
                assert list(values.values()) == sorted(values.values(), reverse=True)
                assert position(answer)["logprob"] == values[0]
                assert max(values.values()) <= 0
                found.append([values[i] - TRUE[i] for i in range(VOCABULARY)])
            assert provider.truth()[0]["traits"] == ["noise"]
            return np.array(found)

    first = await errors(1)
    assert abs(first[:, 1:].mean()) < 0.0073
    assert abs(first[:, 1:].std() - 0.05) < 0.0052
    assert (await errors(1) == first).all()
    assert not (await errors(2) == first).any()


async def test_noise_is_drawn_anew_for_a_repeated_request_and_each_position():
    async with serving("honest?noise=0.05") as provider:
        first = await provider.chat(max_tokens=2)
        assert listed(await provider.chat(max_tokens=2)) != listed(first)
        one, other = first["choices"][0]["logprobs"]["content"]
        assert one != other


def tempered(temperature: float) -> list[float]:
    scaled = [value / temperature for value in TRUE]
    normaliser = math.log(sum(map(math.exp, scaled)))
    return [value - normaliser for value in scaled]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
async def test_after_temperature_normalises_over_the_whole_vocabulary_and_cuts(temperature: float):
    async with serving(f"honest?after_temperature={temperature}") as provider:
        answer = await provider.chat(top_logprobs=3)
        assert listed(answer) == pytest.approx(tempered(temperature)[:3])
        assert position(answer)["logprob"] == pytest.approx(tempered(temperature)[0])
        assert provider.truth()[0]["traits"] == ["after_temperature"]


async def test_after_temperature_in_the_completions_form():
    async with serving("honest?after_temperature=2") as provider:
        response = await provider.post({"prompt": "x", "logprobs": 4}, "completions")
        assert listed(response.json()) == pytest.approx(tempered(2)[:4])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": "x", "logprobs": 0}),
        ("chat/completions", {"messages": [], "logprobs": True, "top_logprobs": 0}),
    ],
)
async def test_after_temperature_lists_nothing_where_the_engine_would_not(path: str, body: dict[str, Any]):
    async with serving("honest?after_temperature=2") as provider:
        response = await provider.post(body, path)
        assert response.status_code == 200
        assert not response.json()["choices"][0].get("logprobs")
        assert provider.truth()[0]["traits"] == []


async def test_after_temperature_knows_the_whole_vocabulary_even_if_the_number_asked_for_is_ignored():
    async with serving("honest?ignore=top_logprobs&after_temperature=2") as provider:
        answer = await provider.chat(top_logprobs=3)
        assert listed(answer) == pytest.approx(tempered(2))
        assert provider.truth()[0]["traits"] == ["ignore", "after_temperature"]


async def test_without_logprobs_there_is_no_temperature_to_apply():
    async with serving("honest?after_temperature=2&noise=1&k=1&round=0") as provider:
        assert "logprobs" not in (await provider.chat(logprobs=False))["choices"][0]
        assert "logprobs" not in provider.reached or not provider.reached["logprobs"]
        assert provider.truth()[0]["traits"] == []


@pytest.mark.parametrize("spec", ["honest?round=1&noise=0.3&k=2", "honest?k=2&noise=0.3&round=1"])
async def test_the_order_in_the_spec_is_of_no_effect(spec: str):
    async with serving(spec) as provider:
        values = listed(await provider.chat())
    assert values == [round(value, 1) for value in values]
    assert len(values) == 2


async def test_a_refused_request_stays_refused():
    async with serving("honest?k=2&round=1&no_logprobs&noise=1") as provider:
        body = {"messages": [], "logprobs": True, "seed": REFUSED_SEED}
        assert (await provider.post(body)).status_code == 400
        row = provider.truth()[0]
        assert (row["status"], row["deployment"], row["traits"]) == (400, None, [])
