"""`qcheck baseline`: recorded references."""

from __future__ import annotations

from typing import Annotated

import typer

from qcheck.cli import record
from qcheck.cli.options import examples, messages_of
from qcheck.errors import BaselineError

__all__ = ["app"]

app = typer.Typer(help="Record, list, show and verify references.", no_args_is_help=True)
app.command("record", epilog=record.EPILOG)(record.record)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A baseline's name, or the path of its folder.")]
ALPHA = 0.01  # of the visibilities that `show` prints: the default of `qcheck compare`


@app.command("list", epilog=examples("qcheck baseline list"))
def list_(context: typer.Context) -> None:
    """List the baselines of the working folder, the user's data folder and the package."""
    from qcheck.baselines import list_baselines, load_baseline  # --help must not load numpy
    from qcheck.cli.environment import baseline_folders
    from qcheck.report.paper import grid, put_on

    messages = messages_of(context)
    rows = []
    for name, folder in list_baselines(baseline_folders()).items():
        try:
            baseline = load_baseline(folder)
        except BaselineError as error:
            messages.note(f"warning: {error}")
            continue
        suite = baseline.manifest.suite
        counts = f"{len(baseline.references)} + {len(baseline.variants)}"
        rows.append((name, baseline.manifest.model, f"{suite.name} {suite.version}", counts, str(folder)))
    if not rows:
        messages.note("no baseline; record one with `qcheck baseline record MODEL --provider PROVIDER`")
        return
    headings = ("name", "model", "suite", "references + variants", "folder")
    messages.sheet(put_on(messages.paper(), [grid(headings, rows, right=(3,))]))


@app.command(epilog=examples("qcheck baseline show lab-tiny", "qcheck baseline show ./baselines/kimi-k2.6"))
def show(context: typer.Context, name: Name) -> None:
    """Show a baseline's deployments, and what its calibration can see."""
    from qcheck.baselines import find_baseline  # --help must not load numpy
    from qcheck.cli.environment import baseline_folders
    from qcheck.report.baseline import render

    messages = messages_of(context)
    messages.sheet(render(find_baseline(name, baseline_folders()), ALPHA, messages.paper()))


@app.command(epilog=examples("qcheck baseline verify lab-tiny"))
def verify(context: typer.Context, name: Name) -> None:
    """Check every hash of a baseline and unpack every file. Exit code 2 where something is wrong."""
    from qcheck.baselines import find_baseline  # --help must not load numpy
    from qcheck.cli.environment import baseline_folders
    from qcheck.jobs.integrity import check_files

    messages = messages_of(context)
    baseline = find_baseline(name, baseline_folders())
    checked = check_files(baseline)
    table = "calibration table" if baseline.table else "no calibration table"
    messages.result(
        f"baseline {baseline.name}: verified. {checked.files} files, answers to {checked.probes} probes and {table} "
        f"are what the manifest ({baseline.hash}) states."
    )
    if checked.left_out:
        messages.result(
            f"The calibration answers of {', '.join(checked.left_out)} are not kept here; "
            "their counts are in the calibration table."
        )
