from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qcheck.errors import ConfigurationError, LabError, StorageError, UnknownNameError
from qcheck.lab import supervisor
from qcheck.lab.catalog import MODELS, TorchSettings, deployments_of
from qcheck.lab.process import Child, close_all
from qcheck.lab.supervisor import Lab, LabResolver
from qcheck.registry.types import Endpoint, ModelProfile, Price

TINY = ModelProfile("lab-tiny", "lab-tiny", "F16", None)


def children(pid: int) -> set[int]:
    found: set[int] = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        found |= {int(child) for child in listing.read_text().split()}
    return found


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: set[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def open_lab(models_dir: Path, cache_dir: Path) -> Callable[..., Lab]:
    return lambda **options: Lab(models_dir=models_dir, cache_dir=cache_dir, **options)


def test_close_leaves_no_process_and_no_folder(open_lab: Callable[..., Lab]):
    before = children(os.getpid())
    lab = open_lab()
    lab.endpoints(["honest", "honest?system=Hush."])
    started = children(os.getpid()) - before
    folder = lab.truth_log.parent
    assert len(started) == 2
    assert folder.is_dir()
    lab.close()
    assert not any(map(alive, started))
    assert not folder.exists()
    lab.close()


def test_an_exception_leaves_no_process(open_lab: Callable[..., Lab]):
    before = children(os.getpid())
    started: set[int] = set()

    def fail() -> None:
        with open_lab() as lab:
            lab.endpoint("honest")
            started.update(children(os.getpid()) - before)
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        fail()
    assert len(started) == 2
    assert not any(map(alive, started))


PARENT = """
import sys, time
from pathlib import Path
from qcheck.lab.supervisor import Lab
with Lab(models_dir=Path(sys.argv[1]), state_dir=Path(sys.argv[2])) as lab:
    lab.endpoints(["honest", "honest-flash"])
    print("up", flush=True)
    time.sleep(60)
"""
FORKING_PARENT = PARENT.replace(
    "    print", "    import os\n    if os.fork() == 0: time.sleep(8); os._exit(0)\n    print"
)


@contextmanager
def parent_with_lab(script: str, *arguments: Path) -> Iterator[tuple[subprocess.Popen[bytes], set[int]]]:
    """A parent whose lab is up, and the process ids of its two engines and the gateway."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"up\n"
            lab = {p for p in children(parent.pid) if b"-m\0qcheck.lab." in Path(f"/proc/{p}/cmdline").read_bytes()}
            assert len(lab) == 3
            yield parent, lab
        finally:
            parent.kill()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_parent_that_ends_takes_the_lab_along(sign: signal.Signals, models_dir: Path, tmp_path: Path):
    with parent_with_lab(PARENT, models_dir, tmp_path) as (parent, lab):
        parent.send_signal(sign)
        assert gone(lab)


def test_a_fork_that_holds_the_pipes_does_not_keep_the_lab_alive(models_dir: Path, tmp_path: Path):
    with parent_with_lab(FORKING_PARENT, models_dir, tmp_path) as (parent, lab):
        parent.kill()
        assert gone(lab)


def test_ctrl_c_at_a_terminal_reaches_the_parent_alone(open_lab: Callable[..., Lab]):
    before = children(os.getpid())
    with open_lab() as lab:
        lab.endpoint("honest")
        for pid in children(os.getpid()) - before:
            assert os.getpgid(pid) != os.getpgid(0)
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert len(children(os.getpid()) - before) == 2
        assert all(map(alive, children(os.getpid()) - before))


def test_a_child_that_does_not_leave_is_killed(tmp_path: Path):
    module = tmp_path / "stubborn.py"
    module.write_text("import time\nprint('{}', flush=True)\ntime.sleep(60)\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        child = Child("it", "stubborn", tmp_path / "log")
    child.receive()
    close_all([child], grace_s=0.1)
    assert child._process.returncode == -signal.SIGKILL


def test_a_child_that_says_nothing_is_an_error(tmp_path: Path):
    module = tmp_path / "silent.py"
    module.write_text("import sys\nsys.stdin.read()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        child = Child("it", "silent", tmp_path / "log")
    with pytest.raises(LabError, match=r"no answer within 0\.1 s"):
        child.receive(timeout_s=0.1)
    close_all([child])


def test_a_damaged_model_is_a_clear_error(release: Path, cache_dir: Path, tmp_path: Path):
    (tmp_path / release.name).write_bytes(release.read_bytes()[:100_000])
    before = children(os.getpid())
    with (
        Lab(models_dir=tmp_path, cache_dir=cache_dir) as lab,
        pytest.raises(
            LabError, match=r"engine-lab-tiny-honest does not work: llama\.cpp cannot load .*lab-tiny-f16\.gguf"
        ),
    ):
        lab.endpoint("honest")
    assert children(os.getpid()) == before


def test_one_failure_spares_the_engines_that_run(open_lab: Callable[..., Lab], chat: Callable[..., dict[str, Any]]):
    with open_lab() as lab:
        honest = lab.endpoint("honest")
        lab._models_dir = Path("/nowhere")
        with pytest.raises(LabError, match="lab-twin"):
            lab.endpoint("other-model")
        assert lab.endpoint("honest") == honest
        assert chat(honest.base_url, "x")["model"] == "lab-tiny"


def test_endpoints_say_what_the_client_needs(lab: Lab):
    endpoint = lab.endpoint("honest")
    assert endpoint.name == "lab/honest"
    assert endpoint.display == "lab:honest"
    assert endpoint.model_id == "lab-tiny"
    assert endpoint.key_env is None
    assert endpoint.price == Price(0, 0)
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.base_url.endswith("/v1")
    assert lab.endpoint("honest") is endpoint


def test_deployments_answer(open_lab: Callable[..., Lab], chat: Callable[..., dict[str, Any]]):
    """One of each of llama.cpp's files, whose settings `test_engine` tries, and one of PyTorch's that batch."""
    deployments = deployments_of("lab-tiny").values()
    files = {(d.source, d.format): d.name for d in deployments if not isinstance(d.settings, TorchSettings)}
    batched = [
        d.name
        for d in deployments
        if isinstance(d.settings, TorchSettings) and d.settings.batch > 1 and not d.needs_gpu
    ]
    with open_lab() as lab:
        for endpoint in lab.endpoints([*files.values(), *batched[:1]]):
            answer = chat(endpoint.base_url, "x")
            assert answer["usage"]["completion_tokens"] == 1, endpoint.name
            assert answer["model"] == "lab-tiny"


@pytest.mark.parametrize(
    ("model", "name"),
    [(m, "honest") for m in MODELS if m != "lab-tiny"]
    # Files of the others are made as lab-tiny's are, and PyTorch runs them as it does lab-tiny.
    + [(m, name) for m in ("lab-moe", "lab-thinking") for name in ("q4_k_m", "honest-torch-bf16")],
)
def test_every_model_is_served_by_both_engines(
    model: str, name: str, open_lab: Callable[..., Lab], chat: Callable[..., dict[str, Any]]
):
    with open_lab() as lab:
        answer = chat(lab.endpoint(name, model).base_url, "x", model=model)
    assert answer["usage"]["completion_tokens"] == 1
    assert answer["model"] == model


def test_an_engine_without_the_gateway_answers_the_same(lab: Lab, chat: Callable[..., dict[str, Any]]):
    direct, behind = (chat(e.base_url, "What is a list?") for e in (lab.engine("honest"), lab.endpoint("honest")))
    assert direct["choices"][0]["logprobs"] == behind["choices"][0]["logprobs"]
    assert not [row for row in lab.truth_log.read_text().splitlines() if '"provider":"engine' in row]


def test_progress_is_told(models_dir: Path, tmp_path: Path):
    told: list[str] = []
    with Lab(models_dir=models_dir, cache_dir=tmp_path, on_progress=told.append) as lab:
        lab.endpoint("q8_0")
    assert told[0].endswith("lab-tiny-f16.gguf to Q8_0")
    assert told[1:] == ["starting q8_0 of lab-tiny"]


def test_unknown_providers_get_suggestions(lab: Lab):
    with pytest.raises(UnknownNameError, match="did you mean honest"):
        lab.endpoint("honets")


def test_a_state_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path, models_dir: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with Lab(blocked / "state", models_dir=models_dir) as lab, pytest.raises(StorageError, match="cannot write"):
        lab.endpoint("honest")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch):
    for missing, deployment, extra in (("xllamacpp", "honest", "lab"), ("torch", "honest-torch-f32", "torch")):
        found = {missing: None}
        monkeypatch.setattr(supervisor.importlib.util, "find_spec", lambda name, found=found: found.get(name, object()))
        with (
            Lab() as lab,
            pytest.raises(ConfigurationError, match=rf"needs {missing}: pip install 'qcheck\[{extra}\]'"),
        ):
            lab.endpoint(deployment)


def test_importing_the_lab_is_cheap():
    heavy = "{'numpy', 'aiohttp', 'gguf', 'torch', 'xllamacpp'}"
    code = f"import sys, qcheck.lab.supervisor; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_the_resolver_opens_one_lab_when_lab_providers_are_started(open_lab: Callable[..., Lab]):
    opened: list[Lab] = []

    def opening() -> Lab:
        opened.append(open_lab())
        return opened[-1]

    with LabResolver(opening) as resolver:
        assert resolver.resolve("together", TINY) is None
        with pytest.raises(UnknownNameError, match="did you mean lab/honest"):
            resolver.resolve("lab/honets", TINY)
        with pytest.raises(ConfigurationError, match="the lab does not serve kimi-k2"):
            resolver.resolve("lab/honest", ModelProfile("kimi-k2", "Kimi", None, None))
        first = resolver.resolve("lab/honest", TINY)
        second = resolver.resolve("lab/honest-flash", TINY)
        assert first is not None
        assert second is not None
        assert (first.name, second.name) == ("lab/honest", "lab/honest-flash")
        elsewhere = Endpoint("mine", "", "http://127.0.0.1:9/v1", None, None)
        assert resolver.started([elsewhere]) == (elsewhere,)
        assert not opened
        running = resolver.started([replace(first, spec="lab/honest"), elsewhere])
        assert running == (replace(opened[0].endpoint("honest"), spec="lab/honest"), elsewhere)
        assert resolver.started([second]) == (opened[0].endpoint("honest-flash"),)
        assert len(opened) == 1
        assert {f"lab/{name}" for name in deployments_of("lab-tiny")} == set(resolver.names())
    assert not opened[0].truth_log.parent.exists()


@pytest.mark.parametrize("name", ["honest-cuda-bf16", "q4_k_m-cuda", "fp8-native"])
def test_without_a_gpu_what_needs_one_is_refused_before_anything_is_made(name: str, open_lab: Callable[..., Lab]):
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("a GPU is here")
    told: list[str] = []
    with (
        open_lab(on_progress=told.append) as lab,
        pytest.raises(ConfigurationError, match=f"lab/{name} needs an NVIDIA GPU, and PyTorch .* finds none here"),
    ):
        lab.engine(name)
    assert not told
