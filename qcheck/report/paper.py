"""What every report for a terminal is set on: a width, colour or none, and cells that can hold anybody's text.

Names and messages come from providers, and are hostile until proven otherwise: all of it passes through `cell`, which
drops whatever acts on a terminal, and rich never parses it as markup.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qcheck.client.redact import plain

__all__ = ["Paper", "cell", "count", "entry", "grid", "put_on"]

HANGING = 28  # columns: of the longest indent, and of the longest name that a table never breaks
WORD = 9  # columns: of the longest word that a narrow column never breaks
CELL_LIMIT = 2000  # characters; no honest name or message comes near it


@dataclass(frozen=True, slots=True)
class Paper:
    """Width in columns, and whether colour is wanted."""

    width: int = 100
    colour: bool = False


def cell(text: str, style: str = "") -> Text:
    """`text` on one line with nothing in it that acts on a terminal."""
    shown = plain(text)
    return Text(shown if len(shown) <= CELL_LIMIT else shown[: CELL_LIMIT - 1] + "…", style=style)


def count(number: int, noun: str) -> str:
    """`1 answer`, `2 answers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def entry(head: str, text: str) -> RenderableType:
    """A line `head: text`, wrapped with a hanging indent if the head is of a usual length."""
    first, rest = cell(head + ": "), cell(text)
    first.append(" ")
    if len(first) > HANGING:
        return first.append_text(rest)
    line = Table.grid(padding=0)
    line.add_column(no_wrap=True)
    line.add_column(overflow="fold")
    line.add_row(first, rest)
    return line


def grid(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Sequence[int] = ()) -> RenderableType:
    """A table; `right` are the columns set flush right.

    Neither they, nor usual names in the first column, nor usual words in the others are ever broken.
    """
    lines = [[_as_text(value) for value in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for index, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index == 0 or index in right,
            min_width=min(WORD, max((len(word) for line in lines for word in line[index].plain.split()), default=0)),
            header_style="bold",
        )
    for name, *values in lines:
        table.add_row(_folded(name), *values)
    return Padding(table, (0, 0, 1, 0))


def _as_text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else cell(value)


def _folded(name: Text) -> Text:
    """A name that is longer than names are, in pieces below each other."""
    return Text("\n").join(name.divide(range(HANGING, len(name), HANGING)))


def put_on(paper: Paper, parts: Iterable[RenderableType]) -> str:
    """The parts as text, one below the other, without trailing spaces or lines."""
    sheet = io.StringIO()
    console = Console(
        file=sheet,
        width=paper.width,
        force_terminal=paper.colour,
        color_system="standard" if paper.colour else None,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in sheet.getvalue().rstrip().split("\n")) + "\n"
