"""How soon a deviation shows in what a provider gives: `python -m benchmarks detection`.

Streams of real answers of the lab's engines, folded as `qcheck compare` folds them, thousands of them, looked at after
every request, beside what an oracle and the published methods make of the same answers. Methods were tuned on lab-tiny;
lab-twin, the same architecture from another seed, and the mixture of experts lab-moe are for reporting what was not
tuned on. A model is measured where its recording, calibration answers and all, is on this machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from baselines import record_lab
from benchmarks.detection.figure import figure
from benchmarks.detection.material import gather
from benchmarks.detection.power import measure
from benchmarks.detection.published import published
from benchmarks.detection.rows import plainest
from benchmarks.detection.table import (
    certainty_line,
    consistent_table,
    false_alarm_table,
    mixture_table,
    oracle_table,
    power_table,
    published_table,
)
from qcheck.baselines import Baseline, load_baseline
from qcheck.jsonio import atomic_write
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Suite, load_suite

MODELS = {
    "lab-tiny": "what methods were tuned on",
    "lab-twin": "what they were not tuned on",
    "lab-moe": "a mixture of experts, not tuned on",
}
FIGURES = Path("benchmarks/figures")
PUBLISHED_FRACTIONS = (1.0, 0.1)

ORACLE = (
    "The oracle (`benchmarks/detection/oracle.py`): median / 90 % quantile of its requests in the same streams; then "
    "the expected growth of the logarithm of the evidence per request, nats: qcheck's / the oracle's = their ratio."
)
PUBLISHED = (
    "Published methods on the same answers (`benchmarks/detection/published.py`): requests and output tokens to 90 % "
    "power at 1 % false alarms, which are measured; qcheck's 1 % is guaranteed, however often one looks."
)


def report() -> str:
    """Tables of power and of false alarms for each model that is recorded, and a figure in a file of its own."""
    suite = load_suite("logprobs")
    return "\n\n".join(f"**{model}** ({what})\n\n{_tables(model, suite)}" for model, what in MODELS.items())


def _tables(model: str, suite: Suite) -> str:
    folder, shipped = record_lab.recording(model, suite), Path("baselines", model)
    how = f"`python -m baselines.record_lab {model} --deep 0 --out build/baselines/{model}`"
    if (folder / "calibration.json").exists():
        baseline = load_baseline(folder)
        return f"{_measured(model, suite, baseline)}\n\n{false_alarm_table(baseline, suite)}"
    if (shipped / "manifest.json").exists():
        return f"{_measured(model, suite, load_baseline(shipped))}\n\nFalse alarms need calibration answers: {how}."
    return f"Not recorded here: {how}."


def _measured(model: str, suite: Suite, baseline: Baseline) -> str:
    """All that needs no calibration answers."""
    material = gather(baseline, bank(model, suite))
    cells = measure(material)
    found = published(material, plainest(material.answers), PUBLISHED_FRACTIONS)
    drawn = FIGURES / f"detection-{model}.svg"
    atomic_write(drawn, figure(cells, found).encode())
    return "\n\n".join(
        [
            power_table(cells),
            certainty_line(material),
            ORACLE,
            oracle_table(cells),
            PUBLISHED,
            published_table(cells, found),
            f"![Requests by share of deviating requests](figures/{drawn.name})",
            consistent_table(material),
            mixture_table(material),
        ]
    )


def bank(model: str, suite: Suite) -> Bank:
    """Answers of the deployments that no baseline has to the evaluation probes, filled first where they are missing."""
    filled = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation"))
    for name, deployment in deployments_of(model).items():
        if deployment.kind in ("held-out", "unrecorded"):
            filled.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return filled
