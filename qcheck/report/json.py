"""The result as JSON: a file, written all or nothing, or the standard output."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qcheck.errors import ConfigurationError
from qcheck.jsonio import atomic_write, pretty
from qcheck.result import Result, result_to_json

__all__ = ["STDOUT", "check_target", "write", "write_value"]

STDOUT = "-"


def check_target(target: str | None, *, dry_run: bool = False) -> None:
    """Raise ConfigurationError where `target` cannot become a file; called before anything is sent."""
    if dry_run and target is not None:
        raise ConfigurationError("--dry-run asks nobody, so that there is no result for --json; leave one of them out.")
    if target is None or target == STDOUT:
        return
    path = Path(target)
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise ConfigurationError(f"--json {target} {why}; give the path of a file, or - for the standard output.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"--json {target} cannot be written: nothing can be written into {path.parent}; choose another folder."
        ) from error


def write(result: Result, target: str, put: Callable[[str], None]) -> None:
    """Write the result to the file `target`, or hand it to `put` where that is "-". Raises StorageError."""
    write_value(result_to_json(result), target, put)


def write_value(value: Any, target: str, put: Callable[[str], None]) -> None:
    """The same for anything that has a JSON form."""
    text = pretty(value)
    if target == STDOUT:
        put(text)
    else:
        atomic_write(Path(target), text)
