"""`qcheck suite`: the probes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli import mine
from qcheck.cli.options import examples, messages_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from qcheck.suites import Suite

__all__ = ["app"]

app = typer.Typer(help="List, show, validate and make probe suites.", no_args_is_help=True)
app.command("new", epilog=mine.EPILOG)(mine.new)


@app.command("list", epilog=examples("qcheck suite list"))
def list_(context: typer.Context) -> None:
    """List the suites that ship with qcheck."""
    from qcheck.report.paper import grid, put_on
    from qcheck.suites import list_suites, load_suite

    messages = messages_of(context)
    suites = [load_suite(name) for name in list_suites()]
    rows = [(s.name, s.manifest.version, str(len(s.fold("evaluation"))), s.manifest.description) for s in suites]
    headings = ("name", "version", "evaluation probes", "description")
    messages.sheet(put_on(messages.paper(), [grid(headings, rows, right=(2,))]))


@app.command(epilog=examples("qcheck suite show logprobs", "qcheck suite show ./my-suite"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped suite, or the path of a suite's folder.")],
) -> None:
    """Show what a suite asks, how, and with how many probes."""
    from qcheck.report.paper import put_on
    from qcheck.suites import load_suite

    messages = messages_of(context)
    messages.sheet(put_on(messages.paper(), _description(load_suite(name))))


@app.command(epilog=examples("qcheck suite validate ./my-suite"))
def validate(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder with suite.json and probes.jsonl.")],
) -> None:
    """Check that a folder is a suite. Exit code 2 where it is not."""
    from qcheck.errors import SuiteError
    from qcheck.suites import load_suite

    if not path.is_dir():
        raise SuiteError(f"{path} is no folder; a suite is one with suite.json and probes.jsonl.")
    suite = load_suite(str(path.resolve()))
    messages_of(context).result(
        f"valid: {suite.name} {suite.manifest.version}, {len(suite.probes)} probes, {suite.hash}"
    )


def _description(suite: Suite) -> list[RenderableType]:
    from qcheck.report.paper import entry, grid
    from qcheck.suites import FOLDS

    m = suite.manifest
    asked = f"{m.max_tokens} tokens"
    if m.top_logprobs:
        asked += f", the {m.top_logprobs} most probable ones at each, or as many as a provider gives"
    rows = []
    for fold in FOLDS:
        probes = suite.fold(fold)
        rows.append((fold, str(len(probes)), str(len({p.cluster for p in probes}))))
    first = suite.fold("evaluation")[0]
    return [
        entry("suite", f"{m.name} {m.version} ({m.licence}), in {suite.folder}"),
        entry("about", m.description),
        entry("hash", suite.hash),
        entry("observes", ", ".join(observable.replace("_", " ") for observable in m.observes)),
        entry("asks for", asked),
        *([entry("declares", ", ".join(m.tools))] if m.tools else []),
        "",
        grid(("fold", "probes", "clusters"), rows, right=(1, 2)),
        entry("for example", first.messages[-1].content),
    ]
