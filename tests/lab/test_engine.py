from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.errors import LabError
from qcheck.lab.catalog import MODELS, EngineSettings, deployments_of
from qcheck.lab.engine import parameters
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import Child, close_all
from qcheck.lab.tokenizer import read_tokenizer
from qcheck.lab.torch_engine.chat import ChatTemplate
from qcheck.lab.training import tasks
from qcheck.lab.weights import weights_file

DEPLOYMENTS = {n: d for n, d in deployments_of("lab-tiny").items() if isinstance(d.settings, EngineSettings)}
USER = {"role": "user", "content": "What is 3 + 4?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
REPLAY = (
    USER,
    {"role": "assistant", "content": "7", "reasoning_content": "3 + 4 = 7."},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "1", "content": "sun"},
)

# Starts a deployment's engine with llama.cpp telling all it does, prints what /props says, leaves as the engine does.
TALKATIVE = """
import os, sys, urllib.request, xllamacpp
from qcheck.lab.catalog import deployments_of
from qcheck.lab.engine import parameters
from qcheck.lab.messages import EngineStart
params = parameters(EngineStart(sys.argv[1], deployments_of("lab-tiny")[sys.argv[2]].settings))
params.verbosity = 5
server = xllamacpp.Server(params)
print(urllib.request.urlopen(server.listening_address + "/props").read().decode(), flush=True)
os._exit(0)
"""


def post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.fixture(scope="session")
def serve(models_dir: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts the engine of a model's deployment, once; returns its URL."""
    folder = tmp_path_factory.mktemp("engines")
    children: list[Child] = []
    urls: dict[tuple[str, str], str] = {}

    def start(name: str, model: str = "lab-tiny") -> str:
        if (name, model) not in urls:
            deployment, weights = deployments_of(model)[name], MODELS[model].sources
            file = weights_file(models_dir, weights[deployment.source], deployment.format, cache_dir, lambda _: None)
            child = Child(f"engine {name}", "qcheck.lab.engine", folder / f"{model}-{name}.log")
            children.append(child)
            child.send(EngineStart(str(file), deployment.settings, MODELS[model].template))
            urls[name, model] = child.receive()["url"]
        return urls[name, model]

    yield start
    close_all(children)


@pytest.mark.parametrize(
    "name",
    [
        "honest", "honest-flash", "honest-batch", "honest-ubatch", "honest-b", "honest-c",
        "honest-bf16-flash", "honest-bf16-ubatch", "honest-f32-flash",
        "kv-q8_0", "kv-q4_0",
    ],
)  # fmt: skip
def test_settings_reach_the_engine(name: str, release: Path):
    run = subprocess.run(
        [sys.executable, "-c", TALKATIVE, release, name], capture_output=True, text=True, check=True, timeout=60
    )
    wanted = DEPLOYMENTS[name].settings
    props = json.loads(run.stdout)
    assert props["total_slots"] == wanted.slots
    assert props["default_generation_settings"]["n_ctx"] == 320

    def logged(pattern: str) -> str:
        found = re.search(pattern, run.stderr)
        assert found, pattern
        return found[1]

    assert int(logged(r"n_ubatch += (\d+)")) == wanted.ubatch
    assert logged(r"flash_attn += (\w+)") == ("enabled" if wanted.flash_attention else "disabled")
    assert int(logged(r"threadpool init, n_threads = (\d+)")) == wanted.threads
    assert {logged(rf"{part} \((\w+)\): ").upper() for part in "KV"} == {wanted.kv}


def test_repacking_is_a_parameter(release: Path):
    """F16 weights are never re-laid on common CPUs, so that nothing shows it from outside."""
    for name in ("honest", "honest-c"):
        wanted = DEPLOYMENTS[name].settings
        assert parameters(EngineStart(str(release), wanted)).no_extra_bufts is not wanted.repack


@pytest.mark.parametrize("name", ["honest", "honest-batch", "honest-ubatch", "honest-c"])
def test_the_prompt_cache_is_on_where_it_should_be(
    name: str, serve: Callable[..., str], chat: Callable[..., dict[str, Any]]
):
    long = "And the earth was without form, and void; and darkness was upon the face of the deep. " * 3
    for _ in range(2):
        usage = chat(f"{serve(name)}/v1", long)["usage"]
    assert (usage["prompt_tokens_details"]["cached_tokens"] > 0) is DEPLOYMENTS[name].settings.cache_prompt


def test_a_broken_model_file_is_told_not_hung_on(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    child = Child("the engine", "qcheck.lab.engine", tmp_path / "log")
    child.send(EngineStart(str(tmp_path / "model.gguf"), EngineSettings()))
    with pytest.raises(LabError, match=r"cannot load .*model\.gguf"):
        child.receive()
    close_all([child])


def test_it_listens_on_this_machine_alone(serve: Callable[..., str]):
    port = f"{int(serve('honest').rpartition(':')[2]):04X}"
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    addresses = [line.split()[1] for line in listening.splitlines()[1:] if f":{port} " in line and " 0A " in line]
    assert addresses == [f"0100007F:{port}"]


@pytest.fixture(scope="module")
def listed(
    serve: Callable[..., str], prompts: tuple[str, ...], logprobs: Callable[[str, str], dict[int, float]]
) -> Callable[[str], list[dict[int, float]]]:
    """Asks a deployment the prompts by 8 clients: honest-batch differs from honest only under load."""

    def ask(name: str) -> list[dict[int, float]]:
        url = f"{serve(name)}/v1"
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda prompt: logprobs(url, prompt), prompts * 6))

    return ask


@pytest.fixture(scope="module")
def honest(listed: Callable[[str], list[dict[int, float]]]) -> list[dict[int, float]]:
    return listed("honest")


@pytest.mark.parametrize("name", [n for n, d in DEPLOYMENTS.items() if d.kind in ("reference", "held-out")])
def test_every_honest_deployment_has_a_noise_of_its_own(
    name: str, honest: list[dict[int, float]], listed: Callable[[str], list[dict[int, float]]]
) -> None:
    pairs = zip(honest, listed(name), strict=True)
    largest = max(abs(other[k] - true[k]) for true, other in pairs for k in sorted(true, key=true.__getitem__)[-20:])
    assert (largest > 0) is (name != "honest")
    assert largest < 0.05


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("lab-tiny", {}),
        ("lab-tiny", {"messages": REPLAY}),
        ("lab-tiny", {"tools": [TOOL]}),
        ("lab-tiny", {"tools": [TOOL], "chat_template_kwargs": {"tools_style": "json"}}),
        ("lab-tiny", {"messages": REPLAY, "tools": [TOOL], "chat_template_kwargs": {"style": "alternate"}}),
        ("lab-tiny", {"chat_template_kwargs": {"dated": True, "date_string": "01 Feb 2026"}}),
        ("lab-dated", {"chat_template_kwargs": {"date_string": "01 Feb 2026"}}),
        ("lab-dated", {"chat_template_kwargs": {"dated": False}}),
        ("lab-thinking", {}),
        ("lab-thinking", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("lab-thinking", {"chat_template_kwargs": {"thinking": False}}),
        ("lab-thinking", {"tools": [TOOL], "chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
    ],
)
def test_llama_cpp_renders_the_chat_template_as_jinja2_does(
    model: str, body: dict[str, Any], serve: Callable[..., str], release: Path
):
    request = {"messages": [USER], **body}
    prompt = ChatTemplate(MODELS[model].template).render(
        request["messages"], request.get("tools", []), request.get("chat_template_kwargs", {})
    )
    assert post(serve("honest", model), "/apply-template", request)["prompt"] == prompt
    answer = post(serve("honest", model), "/v1/chat/completions", {**request, "max_tokens": 1})
    tokens = read_tokenizer(gguf.GGUFReader(release)).encode(prompt).ids
    assert answer["usage"]["prompt_tokens"] == len(tokens)


TEXT = st.text("ab é\n\"'\\<&", min_size=1)
PLAIN = st.sampled_from(["string", "integer", "number", "boolean", "null"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": PLAIN}) | st.fixed_dictionaries({"enum": st.lists(TEXT, min_size=1, max_size=3)}),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from(["x", "y", "z_1"]), inner)},
            optional={"required": st.lists(st.sampled_from(["x", "y"]), unique=True), "description": TEXT},
        )
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(SCHEMAS, st.sampled_from(["typescript", "json"]), TEXT)
def test_llama_cpp_declares_any_tool_as_jinja2_does(
    serve: Callable[..., str], schema: dict[str, Any], style: str, description: str
):
    function = {"name": "f", "description": description, "parameters": {"type": "object", "properties": {"x": schema}}}
    tools = [{"type": "function", "function": function}]
    body = {"messages": [USER], "tools": tools, "chat_template_kwargs": {"tools_style": style}}
    prompt = post(serve("honest"), "/apply-template", body)["prompt"]
    assert prompt == ChatTemplate({}).render([USER], tools, {"tools_style": style})


def test_a_dated_model_names_today(serve: Callable[..., str]):
    before = time.strftime("Today is %d %b %Y.")
    prompt = post(serve("honest", "lab-dated"), "/apply-template", {"messages": [USER]})["prompt"]
    assert before in prompt or time.strftime("Today is %d %b %Y.") in prompt


def test_declared_tools_leave_the_answer_a_text(serve: Callable[..., str]):
    body = {"messages": [USER], "tools": [TOOL], "max_tokens": 8, "temperature": 0, "logprobs": True}
    choice = post(serve("honest"), "/v1/chat/completions", body)["choices"][0]
    written = "".join(t["token"] for t in choice["logprobs"]["content"])
    assert choice["message"] == {"role": "assistant", "content": written}


def ask_to_think(url: str, prompt: str, max_tokens: int = 120, **values: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    body = {"messages": messages, "max_tokens": max_tokens, "temperature": 0, "chat_template_kwargs": values}
    return post(url, "/v1/chat/completions", body)["choices"][0]


def test_a_thinking_model_reasons_unless_told_not_to(serve: Callable[..., str]):
    url, rng = serve("honest", "lab-thinking"), np.random.default_rng(11)
    prompts = [tasks.generate(rng).prompt for _ in range(20)]
    thought = [ask_to_think(url, prompt)["message"] for prompt in prompts]
    direct = [ask_to_think(url, prompt, enable_thinking=False)["message"] for prompt in prompts]
    assert sum(bool(m.get("reasoning_content") and m["content"]) for m in thought) >= 16
    assert all(m["content"] and "reasoning_content" not in m for m in direct)


def test_an_answer_cut_off_while_it_thinks_is_all_reasoning(serve: Callable[..., str]):
    choice = ask_to_think(serve("honest", "lab-thinking"), "What is 17 + 25?", max_tokens=4)
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"]
    assert choice["message"]["content"] == ""
