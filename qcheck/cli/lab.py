"""`qcheck lab`: real engines on this machine."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from qcheck.cli.options import examples, messages_of

__all__ = ["app"]

app = typer.Typer(help="Serve a small model here, faithfully or not.", no_args_is_help=True)

USUAL = ("honest", "q4_k_m", "route-10pct-q4_k_m", "hidden-prompt")


@app.command(epilog=examples("qcheck lab up", "qcheck lab up honest q2_k"))
def up(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Lab providers.", show_default=", ".join(USUAL)),
    ] = None,
) -> None:
    """Serve lab providers at URLs until Ctrl-C, and print the command that compares them."""
    from qcheck.lab.catalog import MODEL_ID, PREFIX
    from qcheck.lab.supervisor import Lab

    messages = messages_of(context)
    wanted = list(dict.fromkeys(name.removeprefix(PREFIX) for name in names or USUAL))
    try:
        with Lab(on_progress=messages.note) as lab:
            urls = (f"{name}={e.base_url}" for name, e in zip(wanted, lab.endpoints(wanted), strict=True))
            messages.result(f"qcheck compare {MODEL_ID} --providers {','.join(urls)}")
            messages.note("serving; Ctrl-C ends it")
            while True:
                signal.pause()
    except KeyboardInterrupt:
        messages.note("the lab has ended")


@app.command("list", epilog=examples("qcheck lab list"))
def list_(context: typer.Context) -> None:
    """List what the lab can serve."""
    from qcheck.lab.catalog import PROVIDERS
    from qcheck.report.paper import grid, put_on

    messages = messages_of(context)
    rows = [(p.name, p.kind, p.description) for p in PROVIDERS.values()]
    messages.sheet(put_on(messages.paper(), [grid(("name", "kind", "what it serves"), rows)]))
