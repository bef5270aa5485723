"""The journal of a run: one canonical JSON line for every attempt, only ever appended to.

A response is *answered* once `Journal.append` has returned: its line is then with the operating system and survives
the death of this process. The disk is synchronised about once a second and on close, which is what a power cut can
cost. A line is whole when its newline is there; a last line without one was torn by a crash and counts as unwritten.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from qcheck.errors import RunFolderError
from qcheck.jsonio import as_storage_error, canonical, fsync_folder, loads
from qcheck.records import Attempt, attempt_from_row, attempt_to_row

__all__ = ["Journal", "read_journal", "settled_requests", "settled_scores"]

SYNC_EVERY_S = 1.0


class Journal:
    """A journal open for appending, locked against every other process. Use `Journal.open` in a `with` block."""

    def __init__(self, path: Path, handle: int, clock: Callable[[], float]) -> None:
        self._path = path
        self._handle = handle
        self._clock = clock
        self._size = os.fstat(handle).st_size
        self._synced_at = clock()

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """Open or create the journal at `path`, lock it, and cut off a torn last line.

        Raises RunFolderError where another process holds it, StorageError where it cannot be written.
        """
        with as_storage_error(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, _whole(path.read_bytes()))
                fsync_folder(path.parent)
                return cls(path, handle, clock)
            except BlockingIOError:
                os.close(handle)
                raise RunFolderError(f"{path} is in use by another process; wait until that run has ended.") from None
            except BaseException:
                os.close(handle)
                raise

    def append(self, attempt: Attempt) -> None:
        """Write one attempt through to the operating system. Raises StorageError, and then leaves no torn line."""
        line = canonical(attempt_to_row(attempt)) + b"\n"
        with as_storage_error(self._path):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._handle, line[written:])
            except OSError:
                os.ftruncate(self._handle, self._size)
                raise
            self._size += len(line)
            if self._clock() - self._synced_at >= SYNC_EVERY_S:
                self._sync()

    def close(self) -> None:
        """Synchronise with the disk and unlock. Raises StorageError."""
        with as_storage_error(self._path):
            try:
                self._sync()
            finally:
                os.close(self._handle)

    def _sync(self) -> None:
        os.fsync(self._handle)
        self._synced_at = self._clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _whole(data: bytes) -> int:
    """How many bytes the whole lines of `data` take."""
    return data.rfind(b"\n") + 1


def read_journal(path: Path) -> list[Attempt]:
    """All attempts, in the order they were written; a torn last line is passed over.

    Raises RunFolderError where the file cannot be read or holds anything that this version would not have written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"cannot read the journal {path}: {error.strerror}.") from error
    attempts = []
    for number, line in enumerate(data[: _whole(data)].split(b"\n")[:-1], 1):
        try:
            attempts.append(attempt_from_row(loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(
                f"{path} line {number} is damaged or of another version of qcheck; start a new run, or remove the line "
                "and `qcheck resume` asks that request again."
            ) from error
    return attempts


def settled_requests(attempts: Iterable[Attempt]) -> dict[tuple[str, int], Attempt]:
    """The attempt that ended each request of a plan, by (provider, seq); what was only retried is not there."""
    return {(a.provider, a.seq): a for a in attempts if a.settled and a.scores is None}


def settled_scores(attempts: Iterable[Attempt]) -> dict[tuple[str, int], dict[str, Attempt]]:
    """By whom answers were scored, and the attempt that ended that; by the (provider, seq) of each answer."""
    found: dict[tuple[str, int], dict[str, Attempt]] = {}
    for a in attempts:
        if a.settled and a.scores is not None:
            found.setdefault((a.scores, a.seq), {})[a.provider] = a
    return found
