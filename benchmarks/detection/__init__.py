"""How soon a deviation shows in what a provider gives: `python -m benchmarks detection`.

Streams of real answers of the lab's engines, folded as `qcheck compare` folds them, thousands of them, looked at after
every request. Methods were tuned on lab-tiny; lab-twin, the same architecture from another seed, is what is reported.
What is missing is recorded first, which takes about an hour on two cores.
"""

from __future__ import annotations

import sys

from baselines import record_lab
from benchmarks.detection.table import false_alarm_table, power_table
from qcheck.baselines import Baseline, load_baseline
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Suite, load_suite

MODELS = {"lab-tiny": "what methods were tuned on", "lab-twin": "what they were not tuned on"}


def report() -> str:
    """Tables of power and of false alarms for each model."""
    suite = load_suite("logprobs")
    return "\n\n".join(
        f"**{model}** ({what})\n\n{power_table(recorded(model, suite), bank(model, suite))}\n\n"
        f"{false_alarm_table(recorded(model, suite), suite)}"
        for model, what in MODELS.items()
    )


def recorded(model: str, suite: Suite) -> Baseline:
    """The model's calibrated recording with its calibration answers, made first where it is missing."""
    folder = record_lab.recording(model, suite)
    if not (folder / "calibration.json").exists():
        record_lab.main([model, "--out", f"build/baselines/{model}"])
    return load_baseline(folder)


def bank(model: str, suite: Suite) -> Bank:
    """Answers of the deployments that no baseline has to the evaluation probes, filled first where they are missing."""
    filled = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation"))
    for name, deployment in deployments_of(model).items():
        if deployment.kind in ("held-out", "unrecorded"):
            filled.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return filled
