"""Which of the figures that were asked for are met, read from the tables of RESULTS.md themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

__all__ = ["Figure", "figures", "overview"]

MODEL = re.compile(r"\*\*(lab-\w+)\*\*")
CELL = re.compile(r"(\S+) / (\S+?)(?: \[.*\])? \(asked (\d+) / (\d+)\)")
NEVER = "–"  # not within the longest stream


@dataclass(frozen=True, slots=True)
class Figure:
    """A median and a 90 % quantile of requests, beside those asked for.

    model: of the lab. prompts: how the text before its table begins. row: the cells before the figures. share: of the
    requests that deviate.
    """

    part: str
    model: str
    prompts: str
    row: str
    share: str
    measured: tuple[str, str]
    asked: tuple[str, str]

    @property
    def is_met(self) -> bool:
        """Whether neither is larger than what was asked for."""
        return all(m != NEVER and int(m) <= int(a) for m, a in zip(self.measured, self.asked, strict=True))


def figures(part: str, text: str) -> Iterator[Figure]:
    """Every figure that was asked for in the tables of one part of RESULTS.md."""
    model, said, heads = "", "", list[str]()
    for line in text.splitlines():
        if not line.startswith("|"):
            if match := MODEL.match(line):
                model, said = match[1], ""
            elif line:
                said = re.split(r"[,:(]|\. ", line.replace("*", ""), maxsplit=1)[0].strip()
            heads = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        heads = heads or cells
        found = [(head, match) for head, cell in zip(heads, cells, strict=True) if (match := CELL.match(cell))]
        before = cells[: heads.index(found[0][0])] if found else []
        row = ", ".join(cell for cell in before if not cell.isdigit())  # how many streams there are tells no rows apart
        for head, m in found:
            yield Figure(part, model, said, row, head.removesuffix(" of requests"), (m[1], m[2]), (m[3], m[4]))


def overview(parts: Mapping[str, str]) -> str:
    """A table of how many figures are met in each table, and which are not. parts: texts by name."""
    every = [figure for part, text in parts.items() for figure in figures(part, text)]
    lines = ["| part | model | prompts | met | not met: measured (asked) |", "|---|---|---|---|---|"]
    for table, of in groupby(every, lambda f: (f.part, f.model, f.prompts)):
        here = list(of)
        missed = [f for f in here if not f.is_met]
        rows = (f"{row}: {'; '.join(map(_told, some))}" for row, some in groupby(missed, lambda f: f.row))
        lines.append(f"| {' | '.join(table)} | {len(here) - len(missed)} of {len(here)} | {'<br>'.join(rows)} |")
    return "\n".join(lines)


def _told(figure: Figure) -> str:
    (median, most), (asked, asked_most) = figure.measured, figure.asked
    return f"{figure.share} {median} / {most} ({asked} / {asked_most})"
