"""Whether the files of a baseline are what its manifest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcheck.baselines import Baseline
from qcheck.errors import BaselineError
from qcheck.jsonio import content_hash, gunzip_lines
from qcheck.records import positions_from_rows

__all__ = ["Checked", "check_files"]


@dataclass(frozen=True, slots=True)
class Checked:
    """How many files and lines were checked, and whose calibration answers are not kept."""

    files: int
    lines: int
    left_out: tuple[str, ...]


def check_files(baseline: Baseline) -> Checked:
    """Check hash, number of lines and form of all answers. Raises BaselineError for the first mistake."""
    files = lines = 0
    left_out = []
    for deployment in baseline.manifest.deployments:
        kept = deployment.calibration
        if kept is not None and not (baseline.folder / kept.path).exists():
            left_out.append(deployment.name)
            kept = None
        for file in (deployment.answers, *([kept] if kept else [])):
            _check_file(baseline, file.path, file.hash, file.lines)
            files, lines = files + 1, lines + file.lines
    return Checked(files, lines, tuple(left_out))


def _check_file(baseline: Baseline, relative: str, digest: str, lines: int) -> None:
    path = baseline.folder / relative
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BaselineError(f"cannot read {path}: {error.strerror}; record the baseline again.") from error
    if content_hash(data) != digest:
        raise BaselineError(f"{path} does not have the hash that its manifest states; record the baseline again.")
    rows = _rows(path, data)
    if len(rows) != lines:
        raise BaselineError(f"{path} has {len(rows)} lines, its manifest says {lines}; record the baseline again.")
    for number, row in enumerate(rows, 1):
        try:
            str(row["probe"])
            for answer in row["answers"]:
                int(answer["prompt_tokens"] or 0)
                positions_from_rows(answer["positions"])
        except (ValueError, KeyError, TypeError) as error:
            raise BaselineError(f"{path} line {number} is malformed ({error}); record the baseline again.") from error


def _rows(path: Path, data: bytes) -> list[Any]:
    try:
        return list(gunzip_lines(data))
    except ValueError as error:
        raise BaselineError(f"{path} is damaged ({error}); record the baseline again.") from error
