"""SIGKILL at random moments, resume, and compare with an uninterrupted run."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qcheck.lab.supervisor import Lab

KILLS = 30
# What may differ between two runs of the same seed: times, names, and answers that were in flight at the stop.
UNEQUAL = {"run_id", "created", "started", "ended", "totals", "requests", "tokens", "cost_usd"}


def _comparable(value: Any, inside_evidence: bool = False) -> Any:
    if isinstance(value, dict):
        skip = UNEQUAL - ({"requests"} if inside_evidence else set())
        return {k: _comparable(v, k == "evidence" or inside_evidence) for k, v in value.items() if k not in skip}
    if isinstance(value, list):
        return [_comparable(v, inside_evidence) for v in value]
    return value


def _command(base: Path, urls: str, seed: int) -> list[str]:
    return [
        sys.executable, "-m", "qcheck", "compare", "lab-tiny", "--providers", urls, "--seed", str(seed),
        "--run-dir", str(base), "--json", "-", "--quiet",
    ]  # fmt: skip


def _asked_twice(journal: Path) -> int:
    answered = collections.Counter(
        (row["provider"], row["seq"])
        for row in map(json.loads, journal.read_text().splitlines())
        if row["outcome"] == "answered"
    )
    return sum(1 for count in answered.values() if count > 1)


def report() -> str:
    """Kill, resume, compare; one line of figures."""
    rng, equal, twice, interrupted = random.Random(4), 0, 0, 0
    with tempfile.TemporaryDirectory() as temporary, Lab() as lab:
        names = {"a": "honest", "b": "honest-f32", "c": "route-5pct-q4_k_m", "d": "q4_k_m"}
        urls = ",".join(f"{k}={lab.endpoint(v).base_url}" for k, v in names.items() if "route" not in v)
        base = Path(temporary)
        began = time.monotonic()
        whole = subprocess.run(_command(base / "whole", urls, 7), capture_output=True, check=False)
        usual_s = time.monotonic() - began
        expected = _comparable(json.loads(whole.stdout))
        for i in range(KILLS):
            runs = base / f"killed-{i}"
            process = subprocess.Popen(_command(runs, urls, 7), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.0, usual_s))
            process.send_signal(signal.SIGKILL)
            process.wait()
            folders = [f.parent for f in runs.glob("*/manifest.json")]
            if not folders:
                continue
            interrupted += not (folders[0] / "result.json").exists()
            command = [sys.executable, "-m", "qcheck", "resume", str(folders[0]), "--json", "-", "--quiet"]
            resumed = subprocess.run(command, capture_output=True, check=False, env=os.environ)
            equal += _comparable(json.loads(resumed.stdout)) == expected
            twice += _asked_twice(folders[0] / "journal.jsonl")
    return (
        f"{KILLS} kills at random moments of a run of {usual_s:.1f} s ({interrupted} of them before its result was "
        f"written): {equal} resumed results equal that of the uninterrupted run, {twice} requests answered twice."
    )
