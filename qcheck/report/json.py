"""The result as JSON: a file, written all or nothing, or the standard output."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qcheck.errors import ConfigurationError
from qcheck.jsonio import as_storage_error, atomic_write, pretty
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
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise ConfigurationError(
                f"--json {target} cannot be written; give the path of a file, or - for the standard output."
            )
        return
    path = path.resolve() if path.is_symlink() else path
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
        _write_file(Path(target), text)


def _write_file(path: Path, text: str) -> None:
    if _is_special(path):
        with as_storage_error(path):
            path.write_text(text, encoding="utf-8")
    else:
        atomic_write(path.resolve(), text)  # what a link points to, not the link


def _is_special(path: Path) -> bool:
    """Whether it is a device, a pipe or the like, which is written to, and not put a file in the place of."""
    return path.exists() and not path.is_file() and not path.is_dir()
