"""`qcheck lab`: real engines on this machine."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcheck.cli.options import examples, messages_of
from qcheck.errors import ConfigurationError
from qcheck.jsonio import why_unwritable

if TYPE_CHECKING:
    from qcheck.lab.catalog import Weights

__all__ = ["app"]

app = typer.Typer(help="Serve a small model here, faithfully or not.", no_args_is_help=True)

NOTICED_WITHIN_S = 0.5
USUAL = ("honest", "q4_k_m", "q4_k_m?route=0.1", "honest?system=You+are+a+helpful+assistant.")

Model = Annotated[str, typer.Option(metavar="MODEL", help="Which of the lab's models is served.")]


@app.command(epilog=examples("qcheck lab up", "qcheck lab up honest 'q2_k?route=0.05&sticky=key'"))
def up(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Deployments, with traits if you like: see `qcheck lab list`.", show_default=False
        ),
    ] = None,
    model: Model = "lab-tiny",
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of the gateway's draws.", show_default="random")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where logs go.", show_default="a temporary folder, removed at the end"),
    ] = None,
) -> None:
    """Serve lab providers at URLs until Ctrl-C, and print the command that compares them.

    The file truth.jsonl of the logs' folder tells which deployment answered each request.
    """
    from qcheck.lab.catalog import PREFIX
    from qcheck.lab.supervisor import Lab

    messages = messages_of(context)
    if state and (reason := why_unwritable(state)):
        raise ConfigurationError(f"logs cannot be kept in {state}: {reason}; choose another --state.")
    wanted = list(dict.fromkeys(name.removeprefix(PREFIX) for name in names or USUAL))
    try:
        with Lab(state, seed=seed, on_progress=messages.note) as lab:
            endpoints = lab.endpoints(wanted, model)
            urls = (f"{name}={e.base_url}" for name, e in zip(_as_names(wanted), endpoints, strict=True))
            messages.result(f"qcheck compare {model} --providers {','.join(urls)}")
            messages.note(f"seed {lab.seed}; who really answers stands in {lab.truth_log}")
            messages.note("serving; Ctrl-C ends it")
            while True:  # `signal.pause` would sleep on where a signal comes just before it
                time.sleep(NOTICED_WITHIN_S)
    except KeyboardInterrupt:
        messages.note("the lab has ended")


def _absence(weights: Weights) -> str:
    from qcheck.lab.supervisor import MODELS_DIR

    return "" if (MODELS_DIR / weights.file).is_file() else " (only in a clone of qcheck's repository)"


def _as_names(specs: list[str]) -> list[str]:
    """Specs as names of endpoints that are given by URL, no two alike."""
    names: list[str] = []
    for spec in specs:
        name = re.sub(r"[^a-z0-9._-]+", "-", spec.lower()).strip("-")[:56]
        names.append(f"{name}-{len(names) + 1}" if name in names else name)
    return names


@app.command("list", epilog=examples("qcheck lab list", "qcheck lab list --model lab-moe"))
def list_(context: typer.Context, model: Model = "lab-tiny") -> None:
    """List the lab's models, the deployments of one of them, and the traits that a provider may have."""
    from qcheck.lab.catalog import MODELS, deployments_of
    from qcheck.lab.spec import known_traits
    from qcheck.report.paper import entry, grid, put_on

    messages = messages_of(context)
    deployments = deployments_of(model).values()
    parts = [
        grid(
            ("model", "what it is"), [(m.name, m.description + _absence(m.sources["release"])) for m in MODELS.values()]
        ),
        "",
        grid(
            (f"deployment of {model}", "kind", "what it serves"),
            [(d.name, d.kind, d.description + _absence(MODELS[model].sources[d.source])) for d in deployments],
        ),
        "",
        grid(
            ("trait", "for example", "what the provider does"), [(t.name, t.example, t.about) for t in known_traits()]
        ),
        "",
        entry("a provider", "lab/DEPLOYMENT[?TRAIT[=VALUE]&…], as in 'lab/q4_k_m?route=0.05&sticky=key'"),
    ]
    messages.sheet(put_on(messages.paper(), parts))
