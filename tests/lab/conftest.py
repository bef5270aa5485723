from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qcheck.lab.supervisor import MODELS_DIR, Lab

pytest.importorskip("aiohttp")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

PROMPTS = (
    "What is a list?",
    "Name the capital of a country.",
    "In the beginning God created the heaven and the earth, and the earth was without form, and void;",
    "Sort a list of numbers in Python and print every one of them on a line of its own, please.",
)


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def models_dir() -> Path:
    return MODELS_DIR


@pytest.fixture(scope="session")
def release(models_dir: Path) -> Path:
    return models_dir / "lab-tiny-f16.gguf"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantised")


@pytest.fixture(scope="session")
def lab(models_dir: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("state"), models_dir=models_dir, cache_dir=cache_dir, seed=7) as lab:
        yield lab


@pytest.fixture(scope="session")
def prompts() -> tuple[str, ...]:
    return PROMPTS


@pytest.fixture(scope="session")
def chat() -> Callable[..., dict[str, Any]]:
    """Ask an endpoint's base URL a prompt; returns the parsed answer."""

    def ask(base_url: str, prompt: str, **options: Any) -> dict[str, Any]:
        body = {
            "model": "lab-tiny",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
        request = urllib.request.Request(
            f"{base_url}/chat/completions",
            json.dumps(body | options).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    return ask


@pytest.fixture(scope="session")
def logprobs(chat: Callable[..., dict[str, Any]]) -> Callable[..., dict[int, float]]:
    """The whole next-token distribution of an endpoint after a prompt, by token id."""

    def ask(base_url: str, prompt: str) -> dict[int, float]:
        answer = chat(base_url, prompt, top_logprobs=4000)
        return {t["id"]: t["logprob"] for t in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}

    return ask
