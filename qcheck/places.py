"""Where the user's own files are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """`$XDG_DATA_HOME/qcheck`, else `~/.local/share/qcheck`: runs, baselines, and what was read or found."""
    data_home = os.environ.get("XDG_DATA_HOME")
    return (Path(data_home) if data_home else Path.home() / ".local" / "share") / "qcheck"
