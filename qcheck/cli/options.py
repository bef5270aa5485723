"""Options that several commands share, and what typer cannot parse by itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from qcheck.cli.messages import Messages
from qcheck.errors import ConfigurationError

__all__ = [
    "AllowHttp",
    "Budget",
    "Concurrency",
    "Deadline",
    "DryRun",
    "EnvFile",
    "FailOn",
    "Json",
    "MaxRequests",
    "Run",
    "Seed",
    "duration_s",
    "examples",
    "messages_of",
    "positive_usd",
    "split",
]

AllowHttp = Annotated[
    bool, typer.Option("--allow-http", help="Accept URLs of plain http on other machines, too; keys can be read there.")
]
Budget = Annotated[
    float | None, typer.Option(metavar="USD", help="The most that the whole run may cost.", show_default=False)
]
Concurrency = Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Requests in flight at each provider.")]
Deadline = Annotated[
    str | None, typer.Option(metavar="TIME", help="Send nothing after 90s, 10m or 2h.", show_default=False)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and what it would cost; send no prompt to anybody.")
]
EnvFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read keys from the KEY=VALUE lines of FILE, too.", show_default=False),
]
FailOn = Annotated[
    Literal["deviates", "inconclusive"],
    typer.Option(help="With `deviates`, undecided providers end in exit code 0 instead of 3."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - prints it alone.", show_default=False),
]
MaxRequests = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="The most requests to each provider, retries not counted.",
        show_default="all, or 100 to one whose requests a plan pays for",
    ),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the path of its folder.")]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Fixes the order of the probes.", show_default="random")
]

UNITS_S = {"s": 1, "m": 60, "h": 3600}


def messages_of(context: typer.Context) -> Messages:
    """Where the command speaks, as the global options want it."""
    messages = context.obj
    assert isinstance(messages, Messages)
    return messages


def examples(*lines: str) -> str:
    r"""An epilog of example lines, kept as they are (`\b` is how typer is told so)."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def split(text: str, option: str = "--providers", listed: str = "qcheck providers list") -> list[str]:
    """The words between commas; `listed` is the command that lists possible ones. Raises ConfigurationError if none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise ConfigurationError(f"{option} names nothing; see `{listed}`.")
    return words


def duration_s(text: str | None, option: str) -> float | None:
    """`90s`, `10m` or `2h` in seconds. Raises ConfigurationError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigurationError(f"{option} {text!r} is no length of time; write it as 90s, 10m or 2h.")
    return float(match[1]) * UNITS_S[match[2]]


def positive_usd(amount: float | None) -> float | None:
    """An amount of dollars above zero. Raises ConfigurationError."""
    if amount is not None and not 0 < amount < math.inf:
        raise ConfigurationError(f"--budget must be an amount of US dollars above zero, not {amount:g}.")
    return amount
