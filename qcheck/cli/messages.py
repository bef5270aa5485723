"""What a command says: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from qcheck.client.redact import plain
from qcheck.errors import StorageError

if TYPE_CHECKING:
    from qcheck.report.paper import Paper

__all__ = ["Messages"]

UNLIMITED_WIDTH = 100  # of what does not go to a terminal
MIN_WIDTH = 60


def _put(stream: TextIO, text: str) -> None:
    """Write all of `text` now. Nobody reading any more is no error; a full disk is a StorageError where that loses
    what was asked for: what is said beside it must not end a run, nor hide how it ended.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        # Python would try to flush once more when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is not sys.stderr and not isinstance(error, BrokenPipeError):
            raise StorageError(f"cannot write the output: {error.strerror}; free space and try again.") from error


def _colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class Messages:
    """Speaks to the user. quiet: nothing but results and errors. verbose: details as well."""

    quiet: bool = False
    verbose: bool = False

    @property
    def live(self) -> bool:
        """Whether progress may be drawn anew in place."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def result(self, text: str) -> None:
        """One line that was asked for."""
        _put(sys.stdout, plain(text) + "\n")

    def sheet(self, text: str) -> None:
        """Lines that were asked for, as they are: what `qcheck.report` has set, or ASCII."""
        _put(sys.stdout, text)

    def note(self, text: str) -> None:
        """One line that may be useful."""
        if not self.quiet:
            _put(sys.stderr, plain(text) + "\n")

    def detail(self, text: str) -> None:
        """One line for those who want to know more."""
        if self.verbose:
            self.note(text)

    def error(self, text: str) -> None:
        """One sentence on why the command ends."""
        _put(sys.stderr, f"qcheck: {plain(text)}\n")

    def paper(self) -> Paper:
        """What results are set on: as wide as the terminal, in colour if that is wanted."""
        from qcheck.report.paper import Paper

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED_WIDTH
        return Paper(max(MIN_WIDTH, width), _colour(sys.stdout))
