"""The error tree. Every message is one clear sentence that says what to do next.

QcheckError                exit 4   something that should not have happened
├── UsageError             exit 2   the user can mend it before anything is sent
│   ├── UnknownNameError            no such provider, model, suite, baseline or variant
│   ├── ConfigurationError          a key, setting or option is missing or contradicts another
│   ├── SuiteError                  a probe suite does not hold what it promises
│   ├── BaselineError               a baseline cannot be read, is damaged or does not fit the suite
│   └── RunFolderError              a run folder is missing, damaged or in use
├── StorageError           exit 4   a file cannot be written
├── LabError               exit 4   a local engine did not start
├── DownloadError          exit 3   a public file cannot be had, or is not what it should be
└── RecordingError         exit 3   an endpoint stopped answering before it was recorded (`qcheck.jobs.record`)

What a provider does wrong is never an exception: it is data (`qcheck.records.Attempt`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BaselineError",
    "ConfigurationError",
    "DownloadError",
    "LabError",
    "QcheckError",
    "RunFolderError",
    "StorageError",
    "SuiteError",
    "UnknownNameError",
    "UsageError",
]


class QcheckError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 4


class UsageError(QcheckError):
    """Something the user can mend; raised before anything is sent."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that nothing answers to, with the nearest known ones.

    Parameters: `kind` in words ("provider"), the `name` given, the `known` names, and a `hint` sentence.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        choices = sorted(set(known))
        spelt = {choice.lower(): choice for choice in choices}
        near = [spelt[word] for word in difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)]
        if near:
            advice = f"did you mean {' or '.join(near)}?"
        elif choices:
            shown = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
            advice = f"known: {shown}."
        else:
            advice = "none is known."
        super().__init__(" ".join(filter(None, (f"unknown {kind} {name!r}: {advice}", hint))))


class ConfigurationError(UsageError):
    """A missing key, a malformed setting, options that exclude each other."""


class SuiteError(UsageError):
    """A probe suite that does not hold what its manifest promises."""


class BaselineError(UsageError):
    """A baseline that cannot be read, fails its hashes, or was recorded with another suite."""


class RunFolderError(UsageError):
    """A run folder that is missing, damaged, or in use by another process."""


class StorageError(QcheckError):
    """A file or folder that cannot be written."""


class LabError(QcheckError):
    """A local engine or gateway that did not start or died."""


class DownloadError(QcheckError):
    """A public file that cannot be had, or is not what it should be. What was there before stays in force."""

    exit_code = 3
