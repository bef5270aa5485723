"""The folder of a run.

`question.json` (what was wanted), `manifest.json` (what was promised), `journal.jsonl` (what happened), `result.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from qcheck.errors import ConfigurationError, RunFolderError, UnknownNameError
from qcheck.jsonio import as_storage_error, atomic_write, loads, pretty, why_unwritable
from qcheck.places import data_folder

__all__ = ["RunFolder", "default_base", "make_run_id"]

QUESTION, MANIFEST = "question.json", "manifest.json"


def default_base() -> Path:
    """Where runs are kept unless told otherwise: `$XDG_DATA_HOME/qcheck/runs`, else `~/.local/share/qcheck/runs`."""
    return data_folder() / "runs"


def make_run_id(now: datetime, random_hex: str) -> str:
    """A run's name, such as `20261123T184500-3f9a2c`: it sorts by time, and the random part tells two apart."""
    return f"{now:%Y%m%dT%H%M%S}-{random_hex}"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk; its name is the run's id."""

    path: Path

    @staticmethod
    def check_base(base: Path) -> None:
        """Raise ConfigurationError where no run can be kept in `base`; called before anything is started or sent."""
        strange = None if str(base).isprintable() else "its name holds what cannot be shown"
        if reason := strange or why_unwritable(base):
            raise ConfigurationError(
                f"runs cannot be kept in {base}: {reason}; choose another place (--run-dir, or XDG_DATA_HOME)."
            )

    @classmethod
    def create(cls, base: Path, run_id: str) -> Self:
        """A new, empty folder. Raises RunFolderError where it exists already, StorageError where it cannot be made."""
        path = base / run_id
        with as_storage_error(path):
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                raise RunFolderError(f"{path} exists already; choose another run id.") from None
        return cls(path)

    @classmethod
    def open(cls, id_or_path: str, base: Path) -> Self:
        """The run of that id in `base`, or at that path. Raises UnknownNameError or RunFolderError."""
        for path in (base / id_or_path, Path(id_or_path)):
            if any((path / name).is_file() for name in (MANIFEST, QUESTION)):
                return cls(path)
        if id_or_path and Path(id_or_path).exists():
            raise RunFolderError(f"{id_or_path} is no run folder: it holds no {MANIFEST}.")
        known = {file.parent.name for name in (MANIFEST, QUESTION) for file in base.glob(f"*/{name}")}
        raise UnknownNameError("run", id_or_path, known, "Or give the path of a run folder.")

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.path.resolve().name

    @property
    def journal(self) -> Path:
        """Where the journal is, or will be."""
        return self.path / "journal.jsonl"

    @property
    def promised(self) -> bool:
        """Whether there is a manifest; else nothing but what the endpoints offer has been asked."""
        return (self.path / MANIFEST).is_file()

    def write_question(self, question: dict[str, Any]) -> None:
        """Write what is wanted, all or nothing. Raises StorageError."""
        atomic_write(self.path / QUESTION, pretty(question))

    def read_question(self) -> dict[str, Any]:
        """What is wanted, as it was written. Raises RunFolderError."""
        return self._read_object(QUESTION)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, all or nothing. Raises StorageError."""
        atomic_write(self.path / MANIFEST, pretty(manifest))

    def read_manifest(self) -> dict[str, Any]:
        """The manifest as it was written. Raises RunFolderError."""
        return self._read_object(MANIFEST)

    def _read_object(self, name: str) -> dict[str, Any]:
        path = self.path / name
        data = _read(path)
        if data is None:
            raise RunFolderError(f"{self.path} is no run folder: it holds no {name}.")
        try:
            value = loads(data)
        except ValueError as error:
            raise RunFolderError(f"{path} is damaged ({error}); start a new run.") from error
        if not isinstance(value, dict):
            raise RunFolderError(f"{path} is damaged (it is not a JSON object); start a new run.")
        return value

    def write_result(self, result: bytes) -> None:
        """Write the result, all or nothing. Raises StorageError."""
        atomic_write(self.path / "result.json", result)

    def read_result(self) -> bytes | None:
        """The result's bytes; None where the run has none yet. Raises RunFolderError."""
        return _read(self.path / "result.json")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}.") from error
