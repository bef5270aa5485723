from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from fake_engine import MODEL, NEUTRAL, REFUSED_SEED, FakeEngine, distribution, listed, listening, serving

from qcheck.jsonio import content_hash
from qcheck.lab.messages import GatewayStart, Upstream
from qcheck.lab.process import Child, close_all


async def test_answers_tell_nothing_of_the_engine():
    async with serving("q4_k_m?route=0.5") as provider:
        answers = {provider.deployments()[-1]: a for i in range(12) if (a := await provider.chat(str(i)))}
    assert set(answers) == {"honest", "q4_k_m"}
    for answer in answers.values():
        assert list(answer) == ["choices", "created", "id", "model", "object", "usage"]
        assert answer["model"] == MODEL
        assert not any(word in json.dumps(answer) for word in ("gguf", "q4_k", "timings", "fingerprint"))
    assert len({answer["id"] for answer in answers.values()}) == 2
    assert len({len(answer["id"]) for answer in answers.values()}) == 1


async def test_models_and_health():
    async with serving("q4_k_m?route=0.5") as provider:
        models = await provider.client.get(f"{provider.url}/v1/models")
        assert models.json()["data"] == [{"id": MODEL, "object": "model", "created": 0, "owned_by": "lab"}]
        health = await provider.client.get(f"{provider.url}/health")
        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert (await provider.client.get(provider.url.replace("p0", "p1") + "/v1/models")).status_code == 404
        assert provider.truth() == []


async def test_completions_are_served_too():
    async with serving("honest") as provider:
        choice = (await provider.post({"prompt": "Once", "max_tokens": 2, "logprobs": 3}, "completions")).json()[
            "choices"
        ][0]
        assert choice["text"] == "aa"
        assert [e["logprob"] for e in choice["logprobs"]["content"][0]["top_logprobs"]] == distribution("honest")[:3]


async def test_truth_rows_name_the_request():
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Only once."}], "max_tokens": 1}
    async with serving("honest?system=Hidden") as provider:
        await provider.post(body)
        (row,) = provider.truth()
    assert row.pop("time").endswith("+00:00")
    assert row == {
        "provider": "honest?system=Hidden",
        "deployment": "honest",
        "request": content_hash(body),
        "status": 200,
        "wire": "whole",
        "failure": None,
        "traits": ["system"],
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("chat/completions", b"not json", 400),
        ("chat/completions", b"[]", 400),
        ("chat/completions", b'{"model": "lab-tiny"}', 400),
        ("chat/completions", b'{"messages": []}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": 3}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": ["x"]}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": null}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [{"content": "x"}]}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [{"role": "assistant", "content": "x"}]}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "max_tokens": "9"}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "seed": 1.5}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "temperature": true}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "logprobs": 5}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "logprobs": true, "top_logprobs": -1}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "tools": {}}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "chat_template_kwargs": "x"}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "prompt": "x"}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "temperature": NaN}', 400),
        ("chat/completions", b'{"model": "lab-tiny", "messages": [], "stream": true}', 400),
        ("chat/completions", b'{"model": "gpt-9", "messages": []}', 404),
        ("completions", b'{"model": "lab-tiny", "messages": []}', 400),
        ("completions", b'{"model": "lab-tiny", "prompt": ""}', 400),
        ("completions", b'{"model": "lab-tiny", "prompt": ["x", "y"]}', 400),
        ("completions", b'{"model": "lab-tiny", "prompt": "x", "logprobs": -1}', 400),
    ],
)
async def test_bad_requests_are_refused_and_logged(path: str, body: bytes, status: int):
    async with serving("honest") as provider:
        response = await provider.client.post(f"{provider.url}/v1/{path}", content=body)
        assert response.status_code == status
        assert response.json()["error"]["code"] == status
        assert not provider.engines["honest"].asked
        (row,) = provider.truth()
        assert (row["status"], row["deployment"]) == (status, None)


async def test_a_body_beyond_a_megabyte_is_refused():
    async with serving("honest") as provider:
        response = await provider.post({"messages": [], "pad": "x" * (1 << 20)})
        assert response.status_code == 413
        (row,) = provider.truth()
    assert (row["status"], row["request"], row["deployment"]) == (413, None, None)


async def test_an_engine_that_refuses_is_repeated_in_neutral_words():
    async with serving("honest") as provider:
        response = await provider.post({"messages": [], "seed": REFUSED_SEED})
        assert response.status_code == 400
        assert response.json()["error"].keys() == {"code", "message"}
        assert not any(word in response.text for word in ("n_ctx", "context_size", "bad seed"))
        assert provider.deployments() == [None]


async def test_a_defect_of_the_lab_is_an_error_in_the_usual_form_and_in_the_log(capsys: pytest.CaptureFixture[str]):
    async def no_answer(_: web.Request) -> web.Response:
        return web.json_response({"choices": []})

    engine = web.Application()
    engine.router.add_post("/v1/chat/completions", no_answer)
    async with listening(engine) as url, serving("honest", engines={"honest": url}) as provider:
        response = await provider.post({"messages": []})
        (row,) = provider.truth()
    assert (response.status_code, response.json()["error"]["code"]) == (500, 500)
    assert (row["status"], row["deployment"]) == (500, None)
    assert "KeyError: 'usage'" in capsys.readouterr().err


async def test_engines_get_what_all_of_them_understand_and_neutral_values_for_the_rest():
    chat = {"messages": [], "max_tokens": 9, "seed": None, "n_predict": 99, "cache_prompt": True, "top_p": 0.9}
    async with serving("honest") as provider:
        await provider.post(chat)
        await provider.post({"prompt": "x", "messages": 3, "temperature": 0, "max_tokens": 0}, "completions")
        first, second = provider.engines["honest"].asked
    assert first == {"model": MODEL, "messages": [], "max_tokens": 9, **NEUTRAL, "top_p": 0.9}
    assert second == {"model": MODEL, "prompt": "x", **NEUTRAL, "temperature": 0}


@pytest.mark.parametrize("spec", ["honest?system=x", "honest?drop_reasoning", "honest?template=alternate"])
async def test_a_plain_completion_has_no_messages_to_change(spec: str):
    async with serving(spec) as provider:
        response = await provider.post({"prompt": "x", "messages": 3}, "completions")
        assert response.status_code == 200
        assert provider.reached == {"model": MODEL, "prompt": "x"}
        assert provider.truth()[0]["traits"] == []


async def test_a_dated_model_is_shown_the_gateways_date():
    now = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)
    async with serving("honest", now=now, model="lab-dated") as provider:
        await provider.chat()
        assert provider.reached["chat_template_kwargs"] == {"date_string": "24 Nov 2026"}
        await provider.chat(chat_template_kwargs={"date_string": "01 Feb 2026", "style": "alternate"})
        assert provider.reached["chat_template_kwargs"] == {"date_string": "01 Feb 2026", "style": "alternate"}
        await provider.post({"prompt": "x"}, "completions")
        assert "chat_template_kwargs" not in provider.reached
    async with serving("honest", now=now) as provider:
        await provider.chat()
        assert "chat_template_kwargs" not in provider.reached


async def test_a_dead_engine_is_a_bad_gateway():
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with serving("honest", engines={"honest": url}) as provider:
            assert (await provider.post({"messages": []})).status_code == 502
            assert (await provider.client.get(f"{provider.url}/health")).status_code == 502
            (row,) = provider.truth()
    assert (row["status"], row["deployment"]) == (502, None)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """The gateway's process and its URL; it writes to truth.jsonl."""
    child = Child("the gateway", "qcheck.lab.gateway", tmp_path / "log")
    child.send(GatewayStart(str(tmp_path / "truth.jsonl")))
    yield child, child.receive()["url"]
    close_all([child])


async def test_the_process_serves_provider_after_provider(gateway: tuple[Child, str], tmp_path: Path):
    child, url = gateway
    honest, other = FakeEngine("honest"), FakeEngine("q4_k_m")
    async with (
        listening(honest.application()) as honest_url,
        listening(other.application()) as other_url,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for path, spec, seed in (("a", "q4_k_m?hours=0-24", 1), ("b", "q4_k_m?from=2", 2)):
            engines = {"q4_k_m": other_url, "honest": honest_url}
            child.send(Upstream(path, spec, MODEL, engines, seed))
            assert child.receive() == {"path": path}
            body = {"model": MODEL, "messages": [], "logprobs": True, "top_logprobs": 16, "max_tokens": 1}
            answer = (await client.post(f"{url}/{path}/v1/chat/completions", json=body)).json()
            assert listed(answer) == distribution("q4_k_m" if path == "a" else "honest")
    rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(row["provider"], row["deployment"]) for row in rows] == [
        ("q4_k_m?hours=0-24", "q4_k_m"),
        ("q4_k_m?from=2", "honest"),
    ]
