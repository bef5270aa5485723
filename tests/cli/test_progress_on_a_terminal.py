"""Progress on a real terminal (a pseudo-terminal): drawn in place, and gone before the report."""

import os
import pty
import subprocess
import sys

import pytest


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_on_a_terminal_a_table_is_drawn_and_colour_used_unless_unwanted(provider, no_colour):
    specs = f"a={provider()},b={provider(1.0)}"
    arguments = ["compare", "lab-tiny", "--providers", specs, "--reference", "none", "--max-requests", "6"]
    script = "from qcheck.cli.main import run; run()"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "NO_COLOR": no_colour, "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side has closed
        pass
    assert process.wait(30) == 3
    os.close(ours)
    assert b"answers" in shown.partition(b"verdict")[0]
    assert (b"\x1b[33minconclusive" in shown) == (not no_colour)
    assert b"asking a, b" not in shown
