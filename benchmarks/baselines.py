"""Size of the shipped baseline, and time to load one as large as a model's may become."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from qcheck.baselines import Baseline, load_baseline, read_answers, save_manifest, write_answers
from qcheck.suites import shipped_folder

DEPLOYMENTS, PROBES = 25, [f"probe-{i:04}" for i in range(1500)]
LOADS, ASKED = 7, 200


def _sizes(baseline: Baseline) -> str:
    size = probes = listed = 0
    for entry in baseline.manifest.deployments:
        packed = read_answers(baseline.folder, entry.answers)
        size += (baseline.folder / entry.answers.path).stat().st_size
        probes += len(packed)
        listed += len(packed.key)
    count = len(baseline.manifest.deployments)
    return (
        f"`{baseline.name}`: {count} deployments, {probes // count} probes each, {size / 1e3 / count:.0f} kB a "
        f"deployment, {size / listed:.2f} bytes per listed log-probability (token keys and all the rest included; "
        "answers that are equal to the last digit are stored and counted once)."
    )


def _enlarge(baseline: Baseline, folder: Path) -> None:
    """Write a baseline of `DEPLOYMENTS` deployments and `PROBES` that repeats the given one's answers."""
    given = baseline.manifest.deployments
    entries = []
    for i in range(DEPLOYMENTS):
        recorded = list(read_answers(baseline.folder, given[i % len(given)].answers).values())
        # Another text each, lest equal answers be stored once.
        answers = {
            probe_id: [replace(answer, text=probe_id) for answer in repeats]
            for probe_id, repeats in zip(PROBES, cycle(recorded), strict=False)
        }
        file = write_answers(folder, "deployments", f"d{i}", answers)
        entries.append(given[i % len(given)].model_copy(update={"name": f"d{i}", "answers": file}))
    save_manifest(folder, baseline.manifest.model_copy(update={"deployments": entries, "calibration_hash": None}))


def _cpu_ms(folder: Path) -> tuple[float, float]:
    """Loading, up to the first probe's references; and each further probe's references with their nodes."""
    began = time.process_time()
    baseline = load_baseline(folder)
    baseline.probe(PROBES[0])
    loaded = time.process_time()
    for probe_id in PROBES[1 : 1 + ASKED]:
        reference = baseline.probe(probe_id)
        assert reference is not None
        assert reference.nodes
    ended = time.process_time()
    return 1e3 * (loaded - began), 1e3 * (ended - loaded) / ASKED


def report() -> str:
    """Figures in Markdown."""
    shipped = load_baseline(shipped_folder("baselines") / "lab-tiny", calibrated=False)
    with tempfile.TemporaryDirectory() as temporary:
        _enlarge(shipped, Path(temporary))
        times = [_cpu_ms(Path(temporary)) for _ in range(LOADS)]
    load, probe = (statistics.median(column) for column in zip(*times, strict=True))
    return (
        f"{_sizes(shipped)}\n\n{DEPLOYMENTS} deployments of {len(PROBES)} probes (its answers, repeated): loaded "
        f"in {load:.0f} ms of CPU (median of {LOADS}; asked: under 500), then {probe:.1f} ms a probe for the answers "
        "of all deployments and the tree of their token lists."
    )
