"""Servers that nobody here wrote, from PyPI: `python -m benchmarks servers`.

llama.cpp's server (xllamacpp), llama-cpp-python's, and the LiteLLM proxy in front of both, also with its weighted
routing between an honest deployment and a quantised one. qcheck is used as anybody would: its two commands, an address,
a key in the environment and a qcheck.toml.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.foreign import FOLDER, environment, serving
from qcheck.lab.catalog import MODELS, Format
from qcheck.lab.supervisor import MODELS_DIR, Lab
from qcheck.lab.weights import weights_file
from qcheck.report.check import NAMES

__all__ = ["COMPARED", "TRUTH", "Compared", "capability_table", "report", "settings", "verdict_table"]

MODEL = "lab-tiny"
SEEDS = (2000, 2001)
MAX_REQUESTS = 300  # to each provider; one that shows everything needs 105 to be consistent
KEY_VARIABLE = "BENCHMARK_LITELLM_KEY"
DECIDED = (0, 1, 3)  # exit codes of a command that did what it was asked

# What each server offers, by its documentation, its source and a look at its raw answers; not by what the check says.
LLAMA_CPP = {
    # tools/server/README.md: `n_probs`; those before sampling unless `post_sampling_probs`
    "logprobs": "yes",
    "raw_logprobs": "yes",
    "lattice": "no",  # logits are f32
    "prompt_logprobs": "no",  # no `echo`
    "greedy": "yes",
    "seed": "yes",
    "n": "yes",  # up to the number of slots, here 4
    "one_token": "yes",
    "tools": "yes",
    "json_schema": "yes",
    "stream_usage": "yes",  # `stream_options.include_usage`
    "model": "yes",
    "fingerprint": "yes",
    "caching": "yes",  # `cache_prompt`, told in `prompt_tokens_details`
}
LLAMA_CPP_PYTHON = {
    # llama_cpp/llama.py: `logits_to_logprobs` of the model's scores, up to any number
    "logprobs": "yes",
    "raw_logprobs": "yes",
    "lattice": "no",
    "prompt_logprobs": "yes",  # llama.py: `echo`
    "greedy": "no",  # server/types.py: `repeat_penalty` is 1.1 unless told otherwise, at temperature 0 too
    "seed": "yes",
    "n": "no",  # server/types.py: "ignored or currently unsupported"
    "one_token": "yes",
    "tools": "no",  # given to the template inside the file, which for this model has no place for them
    "json_schema": "no",  # llama_types.py: `response_format.type` is "text" or "json_object"
    "stream_usage": "no",  # server/types.py: no `stream_options`
    "model": "yes",
    "fingerprint": "no",
    "caching": "yes",  # llama.py: "prefix-match hit"; usage does not tell
}
# LiteLLM hands on what an OpenAI-compatible server says. Where a stream has no usage it counts tokens itself, with a
# tokenizer that is not the model's (`stream_chunk_builder`): that is not the server's usage.
TRUTH: Mapping[str, Mapping[str, str]] = {
    "cpp": LLAMA_CPP,
    "py": LLAMA_CPP_PYTHON,
    "litellm-cpp": LLAMA_CPP,
    "litellm-py": LLAMA_CPP_PYTHON,
}
SERVERS = {
    "cpp": "llama.cpp",
    "py": "llama-cpp-python",
    "litellm-cpp": "LiteLLM, llama.cpp",
    "litellm-py": "LiteLLM, llama-cpp-python",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """A provider of the comparison: the server, what it serves, and the verdict that is right."""

    name: str
    server: str
    serves: str
    right: str


def _compared(server: str) -> Iterator[Compared]:
    yield Compared(server, server, "F16", "consistent")
    yield Compared(f"{server}-q4", server, "Q4_K_M", "deviates")
    if server.startswith("litellm-"):
        yield Compared(f"{server}-10", server, "weights 90 F16, 10 Q4_K_M", "deviates")
        yield Compared(f"{server}-0", server, "weights 100 F16, 0 Q4_K_M", "consistent")


COMPARED = tuple(provider for server in SERVERS for provider in _compared(server))


# ── the servers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _llama_cpp_python(commands: Path, fmt: Format, folder: Path) -> contextlib.AbstractContextManager[str]:
    weights = weights_file(MODELS_DIR, MODELS[MODEL].sources["release"], fmt, FOLDER / "weights", print).absolute()
    threads = ["--n_threads", "1", "--n_threads_batch", "1"]
    server = [commands / "python", "-m", "llama_cpp.server", "--model", weights, "--model_alias", MODEL]
    return serving([*server, *threads], folder)


def _litellm(commands: Path, urls: Mapping[str, str], key: str, folder: Path) -> contextlib.AbstractContextManager[str]:
    """The proxy, which sends nothing elsewhere: prices and news are those that it ships."""

    def entry(name: str, url: str, weight: int) -> dict[str, Any]:
        upstream = {"model": f"openai/{MODEL}", "api_base": url, "api_key": "none", "weight": weight}
        return {"model_name": name, "litellm_params": upstream}

    models = []
    for backend in ("cpp", "py"):
        honest, quantised = urls[backend], urls[f"{backend}-q4"]
        models += [entry(f"{backend}", honest, 1), entry(f"{backend}-q4", quantised, 1)]
        for share in (10, 0):
            models += [entry(f"{backend}-{share}", honest, 100 - share), entry(f"{backend}-{share}", quantised, share)]
    settings = {
        "model_list": models,
        "router_settings": {"routing_strategy": "simple-shuffle", "num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"telemetry": False, "cache": False},
    }
    config = folder.with_suffix(".json")
    config.write_text(json.dumps(settings), encoding="utf-8")
    local = ("MODEL_COST_MAP", "BLOG_POSTS", "ANTHROPIC_BETA_HEADERS", "AUTOROUTER_PRESETS", "POLICY_TEMPLATES")
    variables = {f"LITELLM_LOCAL_{name}": "True" for name in local}
    variables |= {"LITELLM_MASTER_KEY": key, "LITELLM_TELEMETRY_DISABLED": "True", "DISABLE_ADMIN_UI": "True"}
    return serving([commands / "litellm", "--config", config, "--telemetry", "False"], folder, variables)


@contextlib.contextmanager
def _everything(folder: Path, key: str) -> Iterator[dict[str, str]]:
    """The address of each provider, by its name."""
    commands = environment()
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab())
        urls = {"cpp": lab.engine("honest-c").base_url, "cpp-q4": lab.engine("q4_k_m").base_url}
        formats: dict[str, Format] = {"py": "F16", "py-q4": "Q4_K_M"}
        for name, fmt in formats.items():
            urls[name] = stack.enter_context(_llama_cpp_python(commands, fmt, folder / name))
        proxy = stack.enter_context(_litellm(commands, urls, key, folder / "litellm"))
        yield {p.name: proxy if p.name.startswith("litellm-") else urls[p.name] for p in COMPARED}


# ── qcheck ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings() -> str:
    """The qcheck.toml: a proxy has many models, and wants a key."""
    proxied = [p.name for p in COMPARED if p.name.startswith("litellm-")]
    tables = (
        f'[providers.{name}]\nkey_env = "{KEY_VARIABLE}"\n'
        f'[providers.{name}.models.{MODEL}]\nmodel_id = "{name.removeprefix("litellm-")}"\n'
        for name in proxied
    )
    return "".join(tables)


def _qcheck(folder: Path, key: str, *arguments: str) -> Any:
    """The JSON that a command prints. Raises RuntimeError with what it said where it could not do its work."""
    done = subprocess.run(
        [sys.executable, "-m", "qcheck", *arguments, "--json", "-"],
        cwd=folder,
        env={**os.environ, KEY_VARIABLE: key},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in DECIDED:
        raise RuntimeError(f"qcheck {' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def report() -> str:
    """Both tables."""
    key = f"sk-{secrets.token_hex(24)}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "qcheck.toml").write_text(settings(), encoding="utf-8")
        with _everything(folder, key) as urls:
            given = {name: f"{name}={url}" for name, url in urls.items()}
            offers = {}
            for name in SERVERS:
                offers[name] = _qcheck(folder, key, "providers", "check", given[name], "--model", MODEL)
                print(f"{name}: checked", flush=True)
            asked = ["--providers", ",".join(given.values()), "--concurrency", "2", "--run-dir", "runs"]
            asked += ["--max-requests", str(MAX_REQUESTS)]
            results = []
            for seed in SEEDS:
                results.append(_qcheck(folder, key, "compare", MODEL, *asked, "--seed", str(seed)))
                print(f"seed {seed}: compared", flush=True)
    return f"{capability_table(offers)}\n\n{verdict_table(results)}"


def capability_table(offers: Mapping[str, Any]) -> str:
    """What `providers check` says of each server (its JSON, by name) beside what is true, in Markdown."""
    said = {name: {c["name"]: c["offered"] for c in offer["capabilities"]} for name, offer in offers.items()}
    lines = [f"| | {' | '.join(SERVERS[name] for name in said)} |", "|---|" + "---|" * len(said)]
    outcomes = []
    for capability, words in NAMES.items():
        cells = []
        for name, offered in said.items():
            found, true = offered[capability], TRUTH[name][capability]
            outcomes.append("right" if found == true else "unknown" if found == "unknown" else "wrong")
            cells.append(
                {"right": found, "unknown": f"unknown ({true})", "wrong": f"**{found}** ({true})"}[outcomes[-1]]
            )
        lines.append(f"| {words} | {' | '.join(cells)} |")
    count = {outcome: outcomes.count(outcome) for outcome in ("right", "unknown", "wrong")}
    total = (
        f"`qcheck providers check`, in parentheses the truth where it says something else: {count['right']} of "
        f"{len(outcomes)} right, {count['unknown']} unknown, {count['wrong']} wrong (bold)."
    )
    return "\n".join([*lines, "", total])


def verdict_table(results: Sequence[Any]) -> str:
    """The verdicts of `compare` (its JSON, one a seed) beside those that are right, in Markdown."""
    lines = [
        "| server | serves | right | verdicts | answers, median | share that deviates |",
        "|---|---|---|---|---|---|",
    ]
    right = wrong = 0
    for provider in COMPARED:
        runs = [next(p for p in result["providers"] if p["name"] == provider.name) for result in results]
        verdicts = [run["verdict"] for run in runs]
        right += verdicts.count(provider.right)
        wrong += sum(verdict in {"consistent", "deviates"} - {provider.right} for verdict in verdicts)
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
        shares = [run["routing_fraction"] for run in runs]
        spans = "; ".join(f"{s['low']:.2f} – {s['high']:.2f}" if s else "–" for s in shares)
        answers = median(run["deviating"]["of"] for run in runs)
        server = SERVERS[provider.server]
        lines.append(f"| {server} | {provider.serves} | {provider.right} | {counts} | {answers:g} | {spans} |")
    count = len(COMPARED) * len(results)
    total = (
        f"One `qcheck compare {MODEL}` of all {len(COMPARED)} at once for each of {len(results)} seeds, so that they "
        f"share the error of 0.01, with at most {MAX_REQUESTS} requests to each: {right} of {count} verdicts are "
        f"right, {count - right - wrong} leave it open, {wrong} are wrong."
    )
    return "\n".join([*lines, "", total])
