"""CPU time of `--help`, time of the demonstration, and how much is scored and bet on in a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

from qcheck.baselines import load_baseline
from qcheck.evidence.alignment import align
from qcheck.evidence.scoring import Yardstick, score_each
from qcheck.stats.bets import log_e_paths
from qcheck.suites import load_suite, shipped_folder

STREAMS, REQUESTS, EVENTS, PROBES = 100, 1000, 12, 200


def _bets_per_s() -> float:
    """Scores of requests, one for each tail event, that bets are folded over in a second of one processor."""
    hits = np.random.default_rng(0).random((STREAMS, REQUESTS, EVENTS)) < 0.01
    bounds = np.full(EVENTS, 0.005)
    began = time.process_time()
    log_e_paths(hits, bounds, [1 / EVENTS] * EVENTS)
    return hits.size / (time.process_time() - began)


def _answers_per_s() -> float:
    """Answers of four tokens that are laid beside the shipped baseline and scored in a second of one processor, as an
    envelope is calibrated: all deployments' to a prompt together."""
    baseline = load_baseline(shipped_folder("baselines") / "lab-tiny")
    yardstick, references = Yardstick.of(baseline), baseline.references
    recorded = [r for p in load_suite("logprobs").fold("evaluation")[:PROBES] if (r := baseline.probe(p.id))]
    for reference in recorded:
        _ = reference.nodes
    began, scored = time.process_time(), 0
    for reference in recorded:
        found = [a for answers in reference.answers if (a := align(answers[0], reference, references))]
        score_each(found, [references] * len(found), baseline.directed, yardstick, [1.0] * len(found))
        scored += len(found)
    return scored / (time.process_time() - began)


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
        f"`qcheck demo` with everything installed and quantised: {demo_s:.0f} s (asked: under 60). On one processor "
        f"{_bets_per_s() / 1e6:.1f} million scores a second are bet on (asked: 1), and {_answers_per_s():.0f} answers "
        "of four tokens are laid beside the shipped baseline's and given all of theirs."
    )
