"""Whether the files of a baseline are what its manifest says."""

from __future__ import annotations

from dataclasses import dataclass

from qcheck.baselines import Baseline, read_answers

__all__ = ["Checked", "check_files"]


@dataclass(frozen=True, slots=True)
class Checked:
    """How many files and probes' answers were checked, and whose calibration answers are not kept."""

    files: int
    probes: int
    left_out: tuple[str, ...]


def check_files(baseline: Baseline) -> Checked:
    """Check hash, form and number of probes of all files of answers. Raises BaselineError for the first mistake."""
    files, left_out = [], []
    for deployment in baseline.manifest.deployments:
        files.append(deployment.answers)
        if deployment.calibration is None:
            continue
        if (baseline.folder / deployment.calibration.path).exists():
            files.append(deployment.calibration)
        else:
            left_out.append(deployment.name)
    for file in files:
        read_answers(baseline.folder, file)
    return Checked(len(files), sum(file.probes for file in files), tuple(left_out))
