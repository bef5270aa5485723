"""A baseline made of answers that are at hand, calibrated: for benchmarks, and for tests of the statistics."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from qcheck.baselines import (
    Answer,
    Baseline,
    BaselineManifest,
    DeploymentEntry,
    SuiteEntry,
    load_baseline,
    save_manifest,
    write_answers,
)
from qcheck.jobs.record import recalibrate
from qcheck.suites import Suite

__all__ = ["calibrated"]


def calibrated(
    folder: Path,
    model: str,
    suite: Suite,
    answers: Iterable[tuple[str, Mapping[str, Sequence[Answer]]]],
    variants: Container[str],
) -> Baseline:
    """Write the baseline into `folder` and calibrate it.

    answers: of each deployment, by probe id, its repeats, to all probes of the suite; taken one by one. Whoever is no
    variant is honest. Raises BaselineError where the answers are too few to be calibrated on, or honest ones hardly
    differ.
    """
    folds = {p.id: p.fold for p in suite.probes}
    entries = []
    for name, kept in answers:
        asked = {i: kept[i] for i, fold in folds.items() if fold == "evaluation"}
        further = {i: kept[i] for i, fold in folds.items() if fold != "evaluation"}
        entries.append(
            DeploymentEntry(
                name=name,
                role="variant" if name in variants else "reference",
                description="at hand",
                provenance="self-hosted",
                recorded="",
                endpoint="none",
                reported_model=None,
                fingerprint=None,
                repeats=len(next(iter(asked.values()))),
                temperature=0.0,
                answers=write_answers(folder, "deployments", name, asked),
                calibration=write_answers(folder, "calibration", name, further),
            )
        )
    identity = SuiteEntry(name=suite.name, version=suite.manifest.version, hash=suite.hash)
    save_manifest(folder, BaselineManifest(format=2, model=model, suite=identity, deployments=entries))
    recalibrate(folder, suite)
    return load_baseline(folder)
