"""What every report for a terminal is set on: a width, colour or none, and cells that can hold anybody's text.

Names and messages come from providers, and are hostile until proven otherwise: all of it passes through `cell`, which
drops whatever acts on a terminal, and rich never parses it as markup.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from qcheck.client.redact import plain

__all__ = ["Paper", "cell", "count", "entry", "grid", "put_on"]

HANGING = 28  # columns: of the longest indent, and of the longest name that a table never breaks
SHORTEST = 12  # columns: of the pieces that names are broken into, at least
WORD = 12  # columns: of the longest word that a narrow column never breaks
GAP = 2  # columns between those of a table
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

    Neither they, nor usual names in the first column, nor usual words in the others are ever broken: names are where
    there is less room, and where that is not enough each row is set as an entry of its own.
    """
    return _Grid(headings, [[_as_text(value) for value in row] for row in rows], frozenset(right))


@dataclass(frozen=True, slots=True)
class _Grid:
    headings: Sequence[str]
    lines: Sequence[Sequence[Text]]
    right: Collection[int]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        others = sum(map(self._least, range(1, len(self.headings)))) + GAP * (len(self.headings) - 1)
        names = max([len(self.headings[0]), *(len(line[0]) for line in self.lines)])
        room = min(HANGING, max(options.max_width - others, 1))
        if room < min(names, SHORTEST):
            for name, *values in self.lines:
                shown = zip(self.headings[1:], values, strict=True)
                yield entry(
                    name.plain, ", ".join(f"{' '.join(head.split())} {v.plain}" for head, v in shown if v.plain)
                )
            yield Text("")
        else:
            yield Padding(self._table(room), (0, 0, 1, 0))

    def _least(self, column: int) -> int:
        """How many columns of the terminal a column of the table takes at least."""
        cells = [self.headings[column], *(line[column].plain for line in self.lines)]
        if column in self.right:
            return max(len(part) for text in cells for part in text.split("\n"))
        return min(WORD, max((len(word) for text in cells for word in text.split()), default=0))

    def _table(self, room: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for index, heading in enumerate(self.headings):
            table.add_column(
                heading,
                justify="right" if index in self.right else "left",
                overflow="fold",
                no_wrap=index == 0 or index in self.right,
                min_width=self._least(index) if index else None,
                header_style="bold",
            )
        for name, *values in self.lines:
            table.add_row(Text("\n").join(name.divide(range(room, len(name), room))), *values)
        return table


def _as_text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else cell(value)


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
