"""Streams that are closed, pipes that nobody reads, and targets of --json that are no plain files."""

import os
import subprocess
import sys
import threading

import pytest

from qcheck.errors import ConfigurationError
from qcheck.report.json import check_target, write_value

QCHECK = (sys.executable, "-c", "from qcheck.cli.main import run; run()")


def ended(shell: str) -> int:
    """The exit code of a command of qcheck's, with the shell's words behind it."""
    return subprocess.run(["/bin/sh", "-c", f'"$@" {shell}', "sh", *QCHECK], check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("verify nope 2>&-", 2),
        ("verify nope 2>/dev/full", 2),
        ("suite list >&-", 0),
        ("suite list <&-", 0),
        ("--help >/dev/full 2>/dev/null", 4),
        ("suite list >/dev/full 2>/dev/null", 4),
    ],
)
def test_no_stream_that_is_closed_or_full_looks_like_a_verdict(shell, code):
    assert ended(shell) == code


def test_help_that_nobody_reads_is_no_error():
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [*QCHECK, "compare", "--help"], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    check_target(str(pipe))
    write_value({"a": 1}, str(pipe), print)
    reader.join(timeout=10)
    assert got == ['{\n  "a": 1\n}\n']
    assert pipe.is_fifo()


def test_a_link_stays_one_and_what_it_points_to_is_written(tmp_path):
    (tmp_path / "kept").mkdir()
    real, link = tmp_path / "kept" / "real.json", tmp_path / "link.json"
    link.symlink_to(real)
    check_target(str(link))
    write_value([], str(link), print)
    assert link.is_symlink()
    assert real.read_text() == "[]\n"
    link.unlink()
    link.symlink_to(tmp_path / "gone" / "real.json")
    with pytest.raises(ConfigurationError, match="there is no folder"):
        check_target(str(link))
