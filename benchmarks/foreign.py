"""Servers of PyPI packages, in a virtual environment of their own below build/; they end with whoever started them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

__all__ = ["environment", "serving"]

FOLDER = Path("build/servers")
# llama-cpp-python is compiled when it is first installed, which takes some minutes.
PACKAGES = ("llama-cpp-python[server]==0.3.36", "litellm[proxy]==1.108.7")
START_TIMEOUT_S = 300.0  # importing LiteLLM took 100 s on a machine with other work
# The shell ends with the server, and the server with the shell's standard input, which the kernel closes when the
# parent ends, however it ends.
LEASH = 'exec 3<&0; "$@" 3<&- & server=$!; { cat <&3 >/dev/null; kill -KILL $server; } & wait $server'


def environment() -> Path:
    """The folder with the commands of `PACKAGES`, which are installed on first use."""
    folder = FOLDER.resolve()  # which its commands name: moved, they do not run
    commands, installed = folder / "bin", folder / "installed"
    wanted = "\n".join((*PACKAGES, str(folder)))
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([commands / "python", "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        installed.write_text(wanted, encoding="utf-8")
    return commands


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    """Whether the server answers anything at all: both listen only once they have loaded everything."""
    with contextlib.suppress(httpx.TransportError):
        httpx.get(url, trust_env=False)
        return True
    return False


@contextlib.contextmanager
def serving(command: list[str | Path], folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    """The base URL of a server, once it answers. It listens where `--host` and `--port` tell it.

    folder: where it runs, and what it says is kept. variables: of its environment, besides the usual ones.
    Raises RuntimeError with the end of what it said.
    """
    folder.mkdir()
    port, log = _free_port(), folder / "log"
    process = subprocess.Popen(
        ["sh", "-c", LEASH, "sh", *command, "--host", "127.0.0.1", "--port", str(port)],
        stdin=subprocess.PIPE,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, **(variables or {})},
        process_group=0,
    )
    assert process.stdin is not None
    try:
        url, deadline = f"http://127.0.0.1:{port}/v1", time.monotonic() + START_TIMEOUT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.2)
        yield url
    finally:
        process.stdin.close()
        process.wait()
