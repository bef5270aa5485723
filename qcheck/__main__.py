"""`python -m qcheck` is `qcheck`."""

from qcheck.cli.main import run

run()
