"""`python -m benchmarks [PART …]`: measure, and write the parts measured into RESULTS.md.

`python -m benchmarks trackllm [--data DIR]` makes the study of real recordings anew, which are not part of the
repository.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.asked import overview
from qcheck import __version__

PARTS = {
    "verdicts": "Verdicts on lab deployments, α = 0.01, tolerance 5 %",
    "detection": "Requests until a deviation is detected, and false alarms, α = 0.01",
    "accelerated": "Deployments on a GPU beside baselines that were recorded without one, α = 0.01",
    "sampled": "Requests until a deviation is detected in sampled text alone, α = 0.01",
    "scored": "Requests until a deviation is detected in sampled text that a live reference scores, α = 0.01",
    "graded": "Graded answers, α = 0.01",
    "text": "Greedy text, α = 0.01",
    "coverage": "Coverage of the routing fraction's interval, α = 0.01",
    "evasion": "What providers may do to hide a deviation, α = 0.01",
    "plan_medians": "The plan's medians beside measured ones, α = 0.01",
    "priors": "Weights of events and bets, α = 0.01",
    "attribution": "Naming the cause: confusion and reliability, α = 0.01",
    "kills": "SIGKILL and resume",
    "deployments": "How far the lab's deployments lie apart",
    "timings": "Timings",
    "servers": "Servers that nobody here wrote, α = 0.01",
    "overhead": "Requests per second of the client beside a bare httpx loop",
    "baselines": "Size of baselines, and time to load them",
}
STUDY = "trackllm"
RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Measured

Each figure with the command that made it. Of those that were asked for, in the tables below (`benchmarks/asked.py`):

"""


def main() -> None:
    """Measure the parts named, all by default; the others keep what they said."""
    if sys.argv[1:2] == [STUDY]:
        sys.exit(importlib.import_module("benchmarks.trackllm.study").main(sys.argv[2:]))
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join((*PARTS, STUDY))}")
    parts = measured()
    for name in chosen:
        text = importlib.import_module(f"benchmarks.{name}").report()
        where = f"{os.cpu_count()} cores, Python {platform.python_version()}, qcheck {__version__}"
        parts[name] = f"\n`python -m benchmarks {name}` ({datetime.now(UTC).date()}, {where})\n\n{text}\n\n"
        write(parts)


def measured() -> dict[str, str]:
    """What RESULTS.md says of each part."""
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    return dict(re.findall(r"^## .*?<!-- (\w+) -->\n(.*?)(?=^## |\Z)", old, flags=re.M | re.S))


def write(parts: Mapping[str, str]) -> None:
    """Write RESULTS.md anew."""
    known = {name: parts[name] for name in PARTS if name in parts}
    text = "".join(f"## {PARTS[name]} <!-- {name} -->\n{part}" for name, part in known.items())
    RESULTS.write_text(f"{HEAD}{overview(known)}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
