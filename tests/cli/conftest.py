import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

from qcheck.cli.main import main


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: starts real engines, and takes a minute or more")


def _answer(prompt: str, shift: float, *, greedy: bool) -> dict:
    """Two tokens whose log-probabilities follow from the prompt and from `shift`; the likeliest ones if `greedy`."""
    base = hashlib.sha256(prompt.encode()).digest()[0] / 256

    def position(number: int) -> dict:
        of = [-0.5 - base - number / 8 - i * (1 + shift) for i in range(3)]
        tops = [{"token": t, "logprob": logprob, "bytes": None} for t, logprob in zip("abc", of, strict=True)]
        return tops[0 if greedy else 1] | {"top_logprobs": tops}

    content = [position(0), position(1)]
    message = {"role": "assistant", "content": "".join(p["token"] for p in content)}
    choice = {"index": 0, "message": message, "finish_reason": "length", "logprobs": {"content": content}}
    return {"choices": [choice], "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": 2}}


@contextmanager
def _serving(shift: float, pause_s: float, model_id: str, blocked: int | None) -> Iterator[str]:
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, body: dict, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._send({"data": [{"id": model_id}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if next(numbers) == blocked:
                self._send({}, 403)
                return
            time.sleep(pause_s)
            prompt = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
            self._send(_answer(prompt, shift, greedy=not asked["temperature"]))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def provider() -> Iterator[Callable[..., str]]:
    """Starts a provider and gives its URL.

    `shift` is by how much its model differs, `blocked` the number of the request that a firewall blocks.
    """
    with ExitStack() as stack:
        yield lambda shift=0.0, pause_s=0.0, model_id="m", blocked=None: stack.enter_context(
            _serving(shift, pause_s, model_id, blocked)
        )


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a data folder of the test's own, no keys, and no network."""
    monkeypatch.setattr("qcheck.client.listing.ENDPOINTS", "http://127.0.0.1:9/{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in [n for n in os.environ if n.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    return tmp_path


class Spoken:
    """What a command said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def qcheck(capsys: pytest.CaptureFixture[str]) -> Callable[..., Spoken]:
    """Runs a command in this process."""

    def run(*arguments: str) -> Spoken:
        code = main([str(a) for a in arguments])
        return Spoken(code, *capsys.readouterr())

    return run
