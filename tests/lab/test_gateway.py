from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qcheck.jsonio import content_hash
from qcheck.lab.supervisor import Lab

Chat = Callable[..., dict[str, Any]]
REQUESTS = 300


def post(url: str, data: bytes) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        body = error.read()
        return error.code, json.loads(body) if body.startswith(b"{") else body


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def truth(lab: Lab, provider: str) -> list[dict[str, Any]]:
    rows = map(json.loads, lab.truth_log.read_text().splitlines())
    return [row for row in rows if row["provider"] == provider]


def first_position(answer: dict[str, Any]) -> Any:
    return answer["choices"][0]["logprobs"]["content"][0]


def test_answers_and_models_do_not_tell_the_deployment(lab: Lab, chat: Chat):
    keys = set()
    for endpoint in lab.endpoints(["honest", "q4_k_m", "other-model", "hidden-prompt"]):
        assert get(f"{endpoint.base_url}/models")[1]["data"] == [
            {"id": "lab-tiny", "object": "model", "created": 0, "owned_by": "lab"}
        ]
        answer = chat(endpoint.base_url, "What is a list?")
        assert answer["model"] == "lab-tiny"
        assert not any(word in json.dumps(answer).lower() for word in ("gguf", "q4_k", "llama", "timings", "finger"))
        keys.add(tuple(answer))
    assert len(keys) == 1


def test_variants_answer_differently(lab: Lab, chat: Chat):
    answers = [
        first_position(chat(e.base_url, "What is a list?")) for e in lab.endpoints(["honest", "q4_k_m", "other-model"])
    ]
    assert len({answer["logprob"] for answer in answers}) == 3


@pytest.mark.parametrize("name", ["honest", "honest-flash", "honest-f32", "honest-bf16", "q4_k_m"])
def test_one_slot_without_cache_repeats_bit_for_bit(name: str, lab: Lab, chat: Chat, prompts: tuple[str, ...]):
    url = lab.endpoint(name).base_url

    def ask_all() -> list[Any]:
        return [chat(url, prompt, max_tokens=8)["choices"] for prompt in prompts]

    first = ask_all()
    assert ask_all() == first
    with ThreadPoolExecutor(8) as pool:  # clients side by side wait for one another
        crowd = list(pool.map(lambda _: ask_all(), range(8)))
    assert all(answers == first for answers in crowd)


def test_routing_follows_the_fraction_and_the_log_tells_the_truth(lab: Lab, chat: Chat):
    """300 draws at 10 %: 30 ± 5.2; 14 to 46 is three standard deviations, and the seed is fixed."""
    routed, honest, variant = lab.endpoints(["route-10pct-q4_k_m", "honest", "q4_k_m"])
    expected = {
        name: first_position(chat(e.base_url, "Name a river.")) for name, e in (("honest", honest), ("q4_k_m", variant))
    }
    assert expected["honest"] != expected["q4_k_m"]
    before = len(truth(lab, "route-10pct-q4_k_m"))
    answers = [first_position(chat(routed.base_url, "Name a river.")) for _ in range(REQUESTS)]
    rows = truth(lab, "route-10pct-q4_k_m")[before:]
    assert answers == [expected[row["deployment"]] for row in rows]
    assert 14 <= sum(row["deployment"] == "q4_k_m" for row in rows) <= 46
    assert {row["status"] for row in rows} == {200}


def test_draws_depend_on_the_seed_and_the_provider_alone(models_dir: Path, cache_dir: Path, chat: Chat):
    def drawn(seed: int) -> list[str]:
        with Lab(models_dir=models_dir, cache_dir=cache_dir, seed=seed) as lab:
            url = lab.endpoint("route-50pct-q4_k_m").base_url
            for _ in range(24):
                chat(url, "x")
            return [row["deployment"] for row in truth(lab, "route-50pct-q4_k_m")]

    first = drawn(3)
    assert drawn(3) == first
    assert drawn(4) != first


def test_truth_rows_name_the_request(lab: Lab):
    body = {"model": "lab-tiny", "messages": [{"role": "user", "content": "Only once."}], "max_tokens": 1}
    assert post(f"{lab.endpoint('hidden-prompt').base_url}/chat/completions", json.dumps(body).encode())[0] == 200
    row = truth(lab, "hidden-prompt")[-1]
    assert row["request"] == content_hash(body)
    assert row["deployment"] == "honest"
    assert row["time"].endswith("+00:00")


def test_a_hidden_prompt_costs_prompt_tokens(lab: Lab, chat: Chat, prompts: tuple[str, ...]):
    honest, hidden = lab.endpoints(["honest", "hidden-prompt"])
    more = {
        chat(hidden.base_url, p)["usage"]["prompt_tokens"] - chat(honest.base_url, p)["usage"]["prompt_tokens"]
        for p in prompts
    }
    assert len(more) == 1
    assert more.pop() > 5


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b'{"model": "lab-tiny"}', 400),
        (b'{"model": "lab-tiny", "messages": 3}', 400),
        (b'{"model": "lab-tiny", "messages": [], "temperature": NaN}', 400),
        (b'{"model": "lab-tiny", "messages": [{"role": "user", "content": "x"}], "stream": true}', 400),
        (b'{"model": "lab-tiny", "messages": [{"role": "user", "content": "x"}], "top_logprobs": "many"}', 400),
        (b'{"model": "gpt-9", "messages": []}', 404),
        (b'{"model": "lab-tiny", "messages": [], "pad": "' + b"x" * (1 << 20) + b'"}', 413),
    ],
)
def test_bad_requests_are_refused(body: bytes, status: int, lab: Lab):
    assert post(f"{lab.endpoint('honest').base_url}/chat/completions", body)[0] == status


def test_other_paths_are_not_found(lab: Lab):
    base = lab.endpoint("honest").base_url
    assert get(base.replace("/honest/", "/nobody/") + "/models")[0] == 404
    assert get(base.removesuffix("/v1") + "/health") == (200, {"status": "ok"})


def test_a_dead_engine_is_a_bad_gateway(models_dir: Path, cache_dir: Path, tmp_path: Path):
    with Lab(tmp_path, models_dir=models_dir, cache_dir=cache_dir) as lab:
        base = lab.endpoint("honest").base_url
        engine = lab._engines["honest"]._process
        os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
        body = b'{"model": "lab-tiny", "messages": [{"role": "user", "content": "x"}]}'
        assert post(f"{base}/chat/completions", body)[0] == 502
        assert get(base.removesuffix("/v1") + "/health")[0] == 502
        assert [row["status"] for row in truth(lab, "honest")] == [502]
