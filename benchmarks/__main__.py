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
from datetime import UTC, datetime
from pathlib import Path

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


def main() -> None:
    """Measure the parts named, all by default; the others keep what they said."""
    if sys.argv[1:2] == [STUDY]:
        sys.exit(importlib.import_module("benchmarks.trackllm.study").main(sys.argv[2:]))
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join((*PARTS, STUDY))}")
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    sections = dict(re.findall(r"^## .*?<!-- (\w+) -->\n(.*?)(?=^## |\Z)", old, flags=re.M | re.S))
    for name in chosen:
        text = importlib.import_module(f"benchmarks.{name}").report()
        where = f"{os.cpu_count()} cores, Python {platform.python_version()}, qcheck {__version__}"
        sections[name] = f"\n`python -m benchmarks {name}` ({datetime.now(UTC).date()}, {where})\n\n{text}\n\n"
        parts = "".join(
            f"## {title} <!-- {key} -->\n{sections[key]}" for key, title in PARTS.items() if key in sections
        )
        RESULTS.write_text("# Measured\n\nEach figure with the command that made it.\n\n" + parts, encoding="utf-8")


if __name__ == "__main__":
    main()
