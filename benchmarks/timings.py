"""CPU time of `--help`, time of the demonstration."""

from __future__ import annotations

import os
import subprocess
import sys
import time


def _cpu_s(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, capture_output=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def report() -> str:
    """Figures in Markdown."""
    qcheck = [sys.executable, "-m", "qcheck"]
    help_s = sorted(_cpu_s([*qcheck, "--help"]) for _ in range(7))
    began = time.monotonic()
    subprocess.run([*qcheck, "demo", "--quiet"], capture_output=True, check=True)
    demo_s = time.monotonic() - began
    return (
        f"`qcheck --help`: median {help_s[3]:.2f} s of CPU over 7 runs, largest {help_s[-1]:.2f} (asked: under 0.3). "
        f"`qcheck demo` with everything installed and quantised: {demo_s:.0f} s (asked: under 60)."
    )
