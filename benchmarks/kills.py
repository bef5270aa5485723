"""SIGKILL at random moments, resume, and compare with an uninterrupted run; no engine may survive."""

from __future__ import annotations

import collections
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KILLS = 50
PROVIDERS = "lab/honest,lab/honest-torch-bf16,lab/q4_k_m,lab/honest?system=Be+brief.,lab/q4_k_m?route=0.1"
COMMAND = [sys.executable, "-m", "qcheck"]
# What may differ between two runs of the same seed: times, the run's id, answers in flight at the stop, and how much
# was asked to find out what the endpoints offer, which is more where that was interrupted.
UNEQUAL = {"run_id", "created", "started", "ended", "totals", "tokens", "cost_usd", "discovery"}


def _comparable(result: dict[str, Any]) -> dict[str, Any]:
    providers = [{k: v for k, v in p.items() if k not in {*UNEQUAL, "requests"}} for p in result["providers"]]
    return {k: v for k, v in result.items() if k not in UNEQUAL} | {"providers": providers}


def _start(base: Path) -> subprocess.Popen[bytes]:
    arguments = ["compare", "lab-tiny", "--providers", PROVIDERS, "--seed", "7", "--run-dir", str(base), "--quiet"]
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _runs(base: Path) -> list[Path]:
    return [path.parent for path in base.glob("*/question.json")]


def _listening() -> dict[str, str]:
    """Local addresses that something listens on, by the socket's inode, as the kernel writes them."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {row[9]: row[1] for row in rows if row[3] == "0A"}


def _addresses(pids: set[int]) -> set[str]:
    """What these processes listen on."""
    links = set()
    for handle in (h for pid in pids for h in Path(f"/proc/{pid}/fd").glob("*")):
        with contextlib.suppress(OSError):  # gone meanwhile
            links.add(str(handle.readlink()))
    return {address for inode, address in _listening().items() if f"socket:[{inode}]" in links}


def _children(pid: int) -> set[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return {int(line) for line in listed.split()}


def _survivors(pids: set[int], within_s: float) -> int:
    end = time.monotonic() + within_s
    while (left := {p for p in pids if Path(f"/proc/{p}").exists()}) and time.monotonic() < end:
        time.sleep(0.05)
    return len(left)


def _asked_twice(journal: Path) -> int:
    rows = map(json.loads, journal.read_text().splitlines())
    answered = collections.Counter((r["provider"], r["seq"]) for r in rows if r["outcome"] == "answered")
    return sum(1 for count in answered.values() if count > 1)


def report() -> str:
    """Kill, resume, compare; the figures in words."""
    rng, begun, equal, twice, survivors, unfinished = random.Random(4), 0, 0, 0, 0, 0
    ports = unpromised = 0
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        began = time.monotonic()
        _start(base / "whole").wait()
        usual_s = time.monotonic() - began
        expected = _comparable(json.loads((_runs(base / "whole")[0] / "result.json").read_text()))
        for i in range(KILLS):
            process = _start(base / f"killed-{i}")
            time.sleep(rng.uniform(0.0, usual_s))
            children = _children(process.pid)
            addresses = _addresses(children)
            process.send_signal(signal.SIGKILL)
            process.wait()
            survivors += _survivors(children, 5.0)
            ports += len(addresses & set(_listening().values()))
            for folder in _runs(base / f"killed-{i}"):  # none if it was killed while it started its engines
                begun += 1
                unpromised += not (folder / "manifest.json").exists()
                unfinished += not (folder / "result.json").exists()
                subprocess.run([*COMMAND, "resume", str(folder), "--quiet"], capture_output=True, check=False)
                equal += _comparable(json.loads((folder / "result.json").read_text())) == expected
                twice += _asked_twice(folder / "journal.jsonl")
    return (
        f"`{PROVIDERS}`, killed {KILLS} times at random moments of the {usual_s:.1f} s from start to end: {begun} "
        f"times after the run had begun, of these {unpromised} before the manifest was written (what the endpoints "
        f"offer was being found out) and {unfinished} before the result was. {equal} of {begun} "
        "resumed results equal that of the uninterrupted run (but for times, the run's id, what was in flight at the "
        f"stop, and how much was asked before the manifest); {twice} requests were answered twice, {survivors} engine "
        f"or gateway processes outlived their parent by 5 s, {ports} of their ports were still listened on then."
    )
