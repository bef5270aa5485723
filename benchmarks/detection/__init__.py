"""How soon a deviation shows in what a provider gives: `python -m benchmarks detection`.

Streams of real answers of the lab's engines, folded as `qcheck compare` folds them, thousands of them, looked at after
every request. Methods were tuned on lab-tiny; lab-twin, the same architecture from another seed, is for reporting what
was not tuned on. A model is measured where its recording, calibration answers and all, is on this machine.
"""

from __future__ import annotations

import sys

from baselines import record_lab
from benchmarks.detection.table import false_alarm_table, power_table
from qcheck.baselines import load_baseline
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Suite, load_suite

MODELS = {"lab-tiny": "what methods were tuned on", "lab-twin": "what they were not tuned on"}


def report() -> str:
    """Tables of power and of false alarms for each model that is recorded."""
    suite = load_suite("logprobs")
    return "\n\n".join(f"**{model}** ({what})\n\n{_tables(model, suite)}" for model, what in MODELS.items())


def _tables(model: str, suite: Suite) -> str:
    folder = record_lab.recording(model, suite)
    if not (folder / "calibration.json").exists():
        return f"Not recorded here: `python -m baselines.record_lab {model} --deep 0 --out build/baselines/{model}`."
    baseline = load_baseline(folder)
    return f"{power_table(baseline, bank(model, suite))}\n\n{false_alarm_table(baseline, suite)}"


def bank(model: str, suite: Suite) -> Bank:
    """Answers of the deployments that no baseline has to the evaluation probes, filled first where they are missing."""
    filled = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation"))
    for name, deployment in deployments_of(model).items():
        if deployment.kind in ("held-out", "unrecorded"):
            filled.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return filled
