from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qcheck.lab.catalog import EngineSettings, TorchSettings
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import Child, close_all
from qcheck.lab.quantize import quantise


@pytest.fixture(scope="session")
def ask() -> Callable[..., tuple[int, dict[str, Any]]]:
    """Asks an engine: the status and the parsed answer of a GET, or of a POST of `body`, bytes as they are."""

    def send(url: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return send


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    pytest.importorskip("torch").set_num_threads(1)


@pytest.fixture(scope="session")
def release_f32(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("weights") / "lab-tiny-f32.gguf"
    quantise(release, target, "F32")
    return target


@pytest.fixture(scope="session")
def mixture_f32(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of experts with random weights, large enough that the experts matter."""
    import torch

    from qcheck.lab.decoder import Decoder, Shape
    from qcheck.lab.gguf_files import open_gguf
    from qcheck.lab.tokenizer import read_tokenizer
    from qcheck.lab.training.export import write_gguf

    torch.manual_seed(0)
    shape = Shape(layers=2, feed_forward=256, experts=8, experts_used=2)
    state = {name: 4 * p if p.dim() == 2 else p for name, p in Decoder(shape).state_dict().items()}
    folder = tmp_path_factory.mktemp("mixture")
    write_gguf(state, shape, read_tokenizer(open_gguf(release)), folder / "f16.gguf", "mixture")
    quantise(folder / "f16.gguf", folder / "f32.gguf", "F32")
    return folder / "f32.gguf"


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts an engine on a file, once for the same settings and template values; returns its URL."""
    folder = tmp_path_factory.mktemp("engines")
    children: list[Child] = []
    urls: dict[tuple[Path, EngineSettings | TorchSettings, bool], str] = {}

    def start(model: Path, settings: EngineSettings | TorchSettings, thinking: bool = False) -> str:
        module = "torch_engine" if isinstance(settings, TorchSettings) else "engine"
        key = (model, settings, thinking)
        if key not in urls:
            child = Child(f"{module} on {model.name}", f"qcheck.lab.{module}", folder / "log")
            children.append(child)
            child.send(EngineStart(str(model), settings, {"thinking": True} if thinking else {}))
            urls[key] = child.receive()["url"]
        return urls[key]

    yield start
    close_all(children)
