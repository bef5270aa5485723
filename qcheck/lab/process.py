"""Child processes that speak JSON lines and never outlive their parent.

The child's standard input is the leash: when the parent ends, however it ends, the kernel closes it and the child
leaves. Since a fork of the parent may hold the same pipe open, the child also looks whether its parent is still the
one that started it. (Linux' parent-death signal is no help: it fires when the starting *thread* ends.)
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from qcheck.errors import LabError
from qcheck.jsonio import canonical
from qcheck.lab.messages import EngineStart, GatewayStart, Upstream

__all__ = ["Child", "close_all", "live_with_parent", "reply"]

START_TIMEOUT_S: Final = 240.0  # importing PyTorch took 65 s on a machine with other work
GRACE_S: Final = 2.0
PARENT_CHECK_S: Final = 0.5


class Child:
    """`python -m MODULE` with a pipe each way; its messages for people go to the file `log`.

    `what` names it in errors. It gets its own process group, so that Ctrl-C reaches the parent alone.
    """

    def __init__(self, what: str, module: str, log: Path) -> None:
        self._what = what
        self._log = log
        self._pending = b""
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                bufsize=0,
                process_group=0,
            )

    def send(self, message: EngineStart | GatewayStart | Upstream) -> None:
        """Write one message. Raises LabError if the child is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(canonical(message) + b"\n")
        except OSError as error:
            raise self._failure("it is gone") from error

    def receive(self, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
        """Read one answer. Raises LabError if there is none, or if it is `{"error": …}`."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise self._failure(f"no answer within {timeout_s:g} s")
            chunk = os.read(handle, 65536)
            if not chunk:
                raise self._failure("it ended")
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise self._failure(message["error"])
        return message

    def _failure(self, reason: str) -> LabError:
        last_words = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        told = f" Its log ends with: {last_words}" if last_words else ""
        return LabError(f"{self._what} does not work: {reason}; if this goes on, reinstall qcheck[lab].{told}")

    def release(self) -> None:
        """Close its standard input: it is to end by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self, deadline: float) -> None:
        """Wait for its end until `deadline` (time.monotonic), then kill it."""
        assert self._process.stdout is not None
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def close_all(children: Iterable[Child], grace_s: float = GRACE_S) -> None:
    """End all children together: ask, wait `grace_s`, kill who is left."""
    children = list(children)
    for child in children:
        child.release()
    deadline = time.monotonic() + grace_s
    for child in children:
        child.end(deadline)


def live_with_parent() -> None:
    """In a child: ignore Ctrl-C, for the parent decides, and leave when the parent changes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def reply(message: dict[str, Any]) -> None:
    """In a child: one JSON line to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
