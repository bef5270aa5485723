"""The entry point: the tree of commands, global options, and how every error becomes a sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import tempfile
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from qcheck import __version__
from qcheck.cli import compare, demo, resume, verify
from qcheck.cli.baseline import app as baseline_app
from qcheck.cli.interrupts import Interrupted, listen_to_signals
from qcheck.cli.lab import app as lab_app
from qcheck.cli.messages import Messages
from qcheck.cli.options import examples
from qcheck.cli.providers import app as providers_app
from qcheck.cli.suite import app as suite_app
from qcheck.errors import QcheckError

__all__ = ["app", "main", "run"]

USAGE, INTERNAL, INTERRUPTED = 2, 4, 130
UNREADABLE = (errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)  # where Python asks whether there is such a file
FULL = "cannot write the output: no space left; free space and try again"
HELP = {"-h", "--help", "--version"}
GLOBAL_FLAGS = ("--quiet", "--verbose")
# typer.BadParameter is public and its parent, which all mistakes on the command line share, is not.
CommandLineError = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="qcheck",
    help="Does a provider serve the open-weight model that it sells?",
    epilog=examples(
        "qcheck demo",
        "qcheck compare kimi-k2.6 --providers openrouter/novita,openrouter/parasail --dry-run",
        "qcheck compare kimi-k2.6 --providers openrouter/novita,openrouter/parasail --budget 1.00",
        "qcheck providers list",
    ),
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=compare.EPILOG, short_help="Say who serves the model that was released.")(compare.compare)
app.command(epilog=resume.EPILOG, short_help="Go on with an interrupted run.")(resume.resume)
app.command(epilog=verify.EPILOG, short_help="Make a run's result again from its journal.")(verify.verify)
app.command(epilog=demo.EPILOG, short_help="See it work: no keys, no network, no cost.")(demo.demo)
app.add_typer(baseline_app, name="baseline")
app.add_typer(suite_app, name="suite")
app.add_typer(providers_app, name="providers")
app.add_typer(lab_app, name="lab")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qcheck {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print details; keep tracebacks.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose exclude each other")
    context.obj = Messages(quiet, verbose)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; no exception leaves."""
    # --quiet and --verbose may stand anywhere; typer knows them before the command only.
    flags = [a for a in GLOBAL_FLAGS if a in arguments]
    rest = [a for a in arguments if a not in GLOBAL_FLAGS]
    messages = Messages(verbose="--verbose" in flags)
    given = [a.partition("=")[0] for a in rest if a.startswith("--")]
    if twice := next((a for a in given if given.count(a) > 1), None):  # of which the last would be taken silently
        messages.error(f"{twice} is given twice: give it once, with commas where it takes several.")
        return USAGE
    for before, word in pairwise(("", *rest)):  # such as a variable that is not set
        if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
            empty = word.rstrip("=") or (before if before.startswith("--") else "an argument")
            messages.error(f"{empty} is empty: leave it out, or say what it is.")
            return USAGE
    try:
        code = typer.main.get_command(app).main([*flags, *rest], prog_name="qcheck", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except QcheckError as error:
        messages.error(str(error))
        return error.exit_code
    except (Interrupted, KeyboardInterrupt, typer.Abort) as error:
        messages.error("; ".join(filter(None, ("interrupted", str(error)))))
        return INTERRUPTED
    except SystemExit:  # by the parser, where a pipe is closed: of help, when nobody reads it any more
        return 0 if HELP.intersection(arguments) else _unforeseen(BrokenPipeError(), messages)
    except Exception as error:
        return _explain_usage(error, messages) if isinstance(error, CommandLineError) else _unforeseen(error, messages)


def _unforeseen(error: Exception, messages: Messages) -> int:
    """Say what became of a command that ended with an error of Python's own."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError) and number in UNREADABLE and error.filename is not None:
        messages.error(f"cannot read {error.filename}: {error.strerror}; check the path and who may read it.")
        return USAGE
    full = number == errno.ENOSPC
    messages.error(f"{FULL}." if full else _internal(error, keep=messages.verbose))
    return INTERNAL


def _explain_usage(error: Exception, messages: Messages) -> int:
    context = getattr(error, "ctx", None)
    text = _plainly(getattr(error, "format_message", lambda: "")())
    where = f"{context.command_path if context else 'qcheck'} --help"
    if type(error).__name__ == "NoArgsIsHelpError":
        messages.sheet(text + "\n")
    else:
        messages.error(f"{text} See `{where}`." if text.endswith("?") else f"{text.rstrip('.')}; see `{where}`.")
    return USAGE


def _plainly(text: str) -> str:
    """What is wrong with an option's value without the parser's own words."""
    text = re.sub(r", unable to parse .*", "", text)
    return text.replace("Value error, ", "").replace("Input should be", "it must be")


def _internal(error: Exception, *, keep: bool) -> str:
    """A sentence on an error nobody foresaw. Neither it nor the kept traceback repeats the error's own text.

    That text may hold a key, such as one that no HTTP header can carry.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    sentence = f"internal error ({type(error).__name__}{place}), which is a defect of qcheck"
    if not keep:
        return f"{sentence}; run it again with --verbose to keep a traceback."
    with tempfile.NamedTemporaryFile("w", prefix="qcheck-traceback-", suffix=".txt", delete=False) as file:
        cause: BaseException | None = error
        while cause is not None:
            file.write("".join(traceback.format_tb(cause.__traceback__)) + type(cause).__name__ + "\n\n")
            cause = cause.__cause__ or cause.__context__
    return f"{sentence}; the traceback is in {file.name}."


def run() -> None:
    """The console script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed: what is opened next would be written to in its place
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115  # as long as the process lives
    listen_to_signals()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # what is not a TextIO
    sys.exit(main(sys.argv[1:]))
