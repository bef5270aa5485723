"""`--help` teaches, and is quick because nothing heavy is loaded for it."""

import os
import resource
import subprocess
import sys

import pytest

from qcheck import __version__

COMMANDS = [
    ["compare"],
    ["resume"],
    ["verify"],
    ["demo"],
    *(["baseline", c] for c in ("record", "list", "show", "verify")),
    *(["suite", c] for c in ("list", "show", "validate", "new")),
    *(["providers", c] for c in ("list", "show", "check", "update")),
    *(["lab", c] for c in ("up", "list")),
]
HEAVY = {"numpy", "scipy", "pandas", "httpx", "pydantic", "rich"}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_ends_with_an_example_of_it(qcheck, command):
    spoken = qcheck(*command, "--help")
    assert spoken.code == 0
    assert spoken.err == ""
    assert f"  qcheck {' '.join(command)}" in spoken.out.partition("Examples:")[2]


def test_no_command_at_all_gives_the_help(qcheck):
    assert "Commands:" in qcheck().out


def test_the_version(qcheck):
    spoken = qcheck("--version")
    assert (spoken.code, spoken.out) == (0, f"qcheck {__version__}\n")


def test_nothing_heavy_is_imported():
    script = "import sys, qcheck.cli.main; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_takes_less_than_a_third_of_a_second_of_cpu():
    """Of an idle machine: where others use it, all takes longer, a bare interpreter too."""

    def cpu_s(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", *arguments], stdout=subprocess.DEVNULL, check=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    bare = min(cpu_s("pass") for _ in range(6))
    assert min(cpu_s("from qcheck.cli.main import run; run()", "--help") for _ in range(6)) < max(1 / 3, 20 * bare)
