"""The whole engine, a process behind a socket, beside llama.cpp's on the same weights."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcheck.errors import LabError
from qcheck.lab.catalog import EngineSettings, TorchSettings
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import Child, close_all

pytest.importorskip("torch")

from qcheck.lab.decoder import read_decoder
from qcheck.lab.gguf_files import open_gguf
from qcheck.lab.torch_engine.batching import Batcher
from qcheck.lab.torch_engine.generation import Prompt, generate
from qcheck.lab.torch_engine.server import Server

Ask = Callable[..., tuple[int, dict[str, Any]]]

VOCABULARY = 3072
F32, BF16, BATCHES = TorchSettings("float32"), TorchSettings(), TorchSettings("float32", batch=4, pad_to=16)
EXACT = EngineSettings(kv="F32")  # as no deployment is: its cache rounds to F16, even where the weights are F32
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"

NO_TOP = {"top_logprobs": None}
TWO_PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "a list?"}]
ARGUMENTS = '{"a":[1.0, 0.1, 2e3, 1234567.5, 1e22],"b":"é\\n","c":null}'
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": ARGUMENTS}}],
}
WORDS = st.text("abc", min_size=1, max_size=3)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True)})
    | st.fixed_dictionaries({"enum": st.lists(st.integers(0, 9) | WORDS, min_size=1, max_size=2)}),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["object", ["object", "null"]]), "properties": st.dictionaries(WORDS, inner)}
        )
    ),
    max_leaves=4,
)


@pytest.fixture(scope="session")
def f32(started: Callable[..., str], release_f32: Path) -> str:
    return started(release_f32, F32)


@pytest.fixture(scope="session")
def llama_cpp(started: Callable[..., str], release_f32: Path) -> str:
    return started(release_f32, EXACT)


def chat(prompt: str, **options: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 4, "temperature": 0, "logprobs": True}
    return {**asked, "top_logprobs": 20, **options}


def positions(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return answer["choices"][0]["logprobs"]["content"]


def differences(ones: dict[str, Any], others: dict[str, Any]) -> np.ndarray:
    """Of the log-probabilities of the tokens that one lists and the other lists too, position by position."""
    pairs = zip(positions(ones), positions(others), strict=True)
    tables = [[{t["id"]: t["logprob"] for t in p["top_logprobs"]} for p in pair] for pair in pairs]
    return np.array([one[k] - other[k] for one, other in tables for k in one if k in other])


def shape(value: Any) -> Any:
    """A JSON value with types in place of what differs from answer to answer."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items() if key != "bytes"}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value)


def test_float32_agrees_with_llama_cpp(f32: str, llama_cpp: str, ask: Ask, prompts: tuple[str, ...]):
    """By the order of sums: within 2e-5 nats over the 20 most probable tokens of 4 positions; the text is the same."""
    for prompt in prompts:
        ours, theirs = (ask(url, CHAT, chat(prompt))[1] for url in (f32, llama_cpp))
        assert ours["choices"][0]["message"] == theirs["choices"][0]["message"]
        assert ours["usage"].items() <= theirs["usage"].items()
        assert np.abs(differences(ours, theirs)).max() < 2e-5


def test_a_mixture_of_experts_agrees_with_llama_cpp(
    started: Callable[..., str], ask: Ask, mixture_f32: Path, prompts: tuple[str, ...]
):
    decoder, url = read_decoder(open_gguf(mixture_f32)), started(mixture_f32, EXACT)
    for prompt in prompts:
        ids = tuple(prompt.encode())
        (ours,) = generate(decoder, [Prompt(ids, 2, top_logprobs=20)], eos=4, rows=1, pad_to=1)
        theirs = positions(ask(url, TEXT, {"prompt": ids, "max_tokens": 2, "temperature": 0, "logprobs": 40})[1])
        for one, other in zip(ours.positions, theirs, strict=True):
            listed = {t["id"]: t["logprob"] for t in other["top_logprobs"]}
            assert one.token == other["id"]
            assert max(abs(logprob - listed[token]) for token, logprob in one.top) < 1e-4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat("What is 2 + 3?", max_tokens=9)),
        (CHAT, chat("What is a list?", logprobs=False, top_logprobs=None, max_tokens=30)),
        (CHAT, {"messages": [{"role": "user", "content": "Define 'x'."}], "max_tokens": 1, "logprobs": True}),
        (CHAT, chat("What is a list?", top_logprobs=3, max_completion_tokens=2)),
        (CHAT, chat("What is a list?", seed=3, temperature=0.0, chat_template_kwargs={"style": "alternate"})),
        (CHAT, chat("What is a list?", top_logprobs=0)),
        (CHAT, chat("x", tools=None, seed=None, n=None, top_p=None, chat_template_kwargs=None, logprobs=None) | NO_TOP),
        (CHAT, chat("x", temperature=-1, seed=-1, top_p=2)),
        (CHAT, {"messages": [{"role": "user", "content": TWO_PARTS}], "max_tokens": 2, "temperature": 0}),
        (CHAT, {"messages": [CALL, {"role": "user", "content": "x"}], "max_tokens": 2, "temperature": 0}),
        (TEXT, {"prompt": "<|bos|>In the", "max_tokens": 3, "temperature": 0, "logprobs": 0}),
        (TEXT, {"prompt": "<|bos|>In the", "max_tokens": 3, "temperature": 0, "logprobs": True}),
        (TEXT, {"prompt": "<|bos|>In the", "max_tokens": 3, "temperature": 0, "logprobs": 2}),
        (TEXT, {"prompt": [0, 1, 2, 77], "max_tokens": 2, "temperature": 0}),
        (TEXT, {"prompt": [0] + [20] * 309, "temperature": 0, "logprobs": 1}),
    ],
)  # fmt: skip
def test_answers_look_like_llama_cpps(path: str, body: dict[str, Any], f32: str, llama_cpp: str, ask: Ask):
    (status, ours), (_, theirs) = (ask(url, path, body) for url in (f32, llama_cpp))
    assert status == 200
    for extra in ("timings", "system_fingerprint"):
        del theirs[extra]
    del theirs["usage"]["prompt_tokens_details"]
    assert shape(ours) == shape(theirs)
    assert ours["usage"] == theirs["usage"]
    assert ours["object"] == theirs["object"]
    assert ours["choices"][0]["finish_reason"] == theirs["choices"][0]["finish_reason"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORDS, SCHEMAS, min_size=1, max_size=2))
def test_tools_cost_what_they_cost_with_llama_cpp(f32: str, llama_cpp: str, ask: Ask, properties: dict[str, Any]):
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    tool = {"type": "function", "function": {"name": "f", "description": "x", "parameters": parameters}}
    ours, theirs = (ask(url, CHAT, chat("x", tools=[tool], max_tokens=1)) for url in (f32, llama_cpp))
    assert (ours[0], theirs[0]) in {(200, 200), (400, 400)}  # where the context is too small, both say so
    assert ours[1].get("usage", {}).items() <= theirs[1].get("usage", {}).items()


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {**CALL, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]},
    ],
)
def test_what_no_template_is_shown_has_llama_cpps_status(message: dict[str, Any], f32: str, llama_cpp: str, ask: Ask):
    answers = [ask(url, CHAT, {"messages": [message, {"role": "user", "content": "x"}]}) for url in (f32, llama_cpp)]
    assert [(status, answer["error"]["type"]) for status, answer in answers] == [(500, "server_error")] * 2


async def test_it_is_not_healthy_once_nothing_computes(release: Path, monkeypatch: pytest.MonkeyPatch):
    async def ended(_: Batcher) -> None:
        pass

    monkeypatch.setattr(Batcher, "run", ended)
    async with TestClient(TestServer(Server(EngineStart(str(release), F32)).application())) as client:
        await asyncio.sleep(0)
        assert (await client.get("/health")).status == 503


def test_tokens_are_written_as_llama_cpp_writes_them(f32: str, llama_cpp: str, ask: Ask):
    body = chat("What is a list?", max_tokens=1, top_logprobs=VOCABULARY)
    ours, theirs = (positions(ask(url, CHAT, body)[1])[0]["top_logprobs"] for url in (f32, llama_cpp))
    written = [{t["id"]: (t["token"], t["bytes"]) for t in listed} for listed in (ours, theirs)]
    assert written[0] == written[1]
    assert len(written[0]) == VOCABULARY
    assert [t["logprob"] for t in ours] == sorted((t["logprob"] for t in ours), reverse=True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, b"{"),
        (CHAT, []),
        (CHAT, {}),
        (CHAT, {"messages": "x"}),
        (CHAT, chat("x", temperature="hot")),
        (CHAT, chat("x", n=2)),
        (CHAT, chat("x", logprobs=False)),
        (CHAT, chat("x " * 400)),
        (CHAT, chat("x", tools=[{}])),
        (CHAT, {"messages": [{"role": "user"}]}),
        (TEXT, {"prompt": ""}),
        (TEXT, {"prompt": [VOCABULARY]}),
        (TEXT, {"prompt": [-1]}),
        (TEXT, {"prompt": "x " * 400}),
    ],
)
def test_what_cannot_be_answered_is_a_bad_request(path: str, body: Any, f32: str, ask: Ask):
    status, answer = ask(f32, path, body)
    assert status == 400
    assert answer["error"]["code"] == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]


def test_it_says_that_it_is_healthy_and_what_it_serves(f32: str, release_f32: Path, ask: Ask):
    assert ask(f32, "/health") == (200, {"status": "ok"})
    assert [model["id"] for model in ask(f32, "/v1/models")[1]["data"]] == [str(release_f32)]
    assert ask(f32, "/v1/nothing")[1]["error"]["type"] == "not_found_error"


def test_bfloat16_is_as_noisy_as_real_ones_and_repeats_bit_for_bit(
    started: Callable[..., str], ask: Ask, f32: str, release: Path, prompts: tuple[str, ...]
):
    """Root mean square over the 20 most probable tokens: 0.017 to 0.020 nats on many prompts, here 0.01 to 0.04.

    Most where the processor multiplies in bfloat16 by itself.
    """
    bf16 = started(release, BF16)
    exact, first, second = ([ask(url, CHAT, chat(p, max_tokens=1))[1] for p in prompts] for url in (f32, bf16, bf16))
    noise = np.concatenate([differences(*pair) for pair in zip(exact, first, strict=True)])
    assert 0.01 < np.sqrt(np.mean(noise**2)) < 0.04
    assert list(map(positions, first)) == list(map(positions, second))


def test_logits_of_bfloat16_lie_on_their_lattice(
    started: Callable[..., str], ask: Ask, f32: str, release: Path, prompts: tuple[str, ...]
):
    """A bf16 number from 1 on has at most 7 binary digits after the point, and so has the distance of two of them."""

    def share_on_lattice(url: str) -> float:
        tops = [positions(ask(url, CHAT, chat(p, max_tokens=1))[1])[0]["top_logprobs"] for p in prompts]
        steps = np.concatenate([[(t["logprob"] - top[0]["logprob"]) * 128 for t in top[1:]] for top in tops])
        return float(np.mean(np.abs(steps - np.round(steps)) < 0.01))

    assert share_on_lattice(started(release, BF16)) > 0.95
    assert share_on_lattice(f32) < 0.2


def test_clients_at_the_same_time_get_their_own_answers(
    started: Callable[..., str], ask: Ask, f32: str, release_f32: Path, prompts: tuple[str, ...]
):
    batches = started(release_f32, BATCHES, thinking=True)
    asked = [
        {"prompt": f"<|bos|>{i} {prompt}", "max_tokens": 1 + i % 4, "temperature": 0, "logprobs": 20}
        for i, prompt in enumerate(prompts * 3)
    ]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda body: ask(batches, TEXT, body)[1], asked))
    for body, answer in zip(asked, together, strict=True):
        alone = ask(f32, TEXT, body)[1]
        assert answer["choices"][0]["text"] == alone["choices"][0]["text"]
        assert answer["usage"] == alone["usage"]
        assert np.abs(differences(answer, alone)).max() < 2e-5


def test_a_thinking_deployment_shows_its_reasoning_apart(started: Callable[..., str], ask: Ask, release_f32: Path):
    url = started(release_f32, BATCHES, thinking=True)
    thought = ask(url, CHAT, chat("What is 2 + 3?"))[1]["choices"][0]["message"]
    assert (thought["content"], bool(thought["reasoning_content"])) == ("", True)
    direct = ask(url, CHAT, chat("What is 2 + 3?", chat_template_kwargs={"enable_thinking": False}))
    assert "reasoning_content" not in direct[1]["choices"][0]["message"]


def test_it_listens_on_this_machine_alone(f32: str):
    port = f"{int(f32.rpartition(':')[2]):04X}"
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = [line.split()[1] for line in listening.splitlines()[1:] if f":{port} " in line and " 0A " in line]
    assert addresses == [f"0100007F:{port}"]


def test_a_file_that_is_no_model_is_told_not_hung_on(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    child = Child("the engine", "qcheck.lab.torch_engine", tmp_path / "log")
    child.send(EngineStart(str(tmp_path / "model.gguf"), BF16))
    with pytest.raises(LabError, match=r"cannot serve .*model\.gguf"):
        child.receive()
    close_all([child])


def test_without_pytorch_it_says_how_to_get_it(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('not here', name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child("the engine", "qcheck.lab.torch_engine", tmp_path / "log")
    child.send(EngineStart(str(release), BF16))
    with pytest.raises(LabError, match=r"needs torch: pip install 'qcheck\[torch\]'"):
        child.receive()
    close_all([child])
