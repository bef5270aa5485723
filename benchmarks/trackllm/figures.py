"""Two small figures as SVG text, in the style of small multiples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["Timeline", "cuts_figure", "timeline_figure"]

Array = NDArray[np.float64]
WIDTH, LEFT, RIGHT, TOP, GAP = 720, 60, 12, 22, 26
DATA, FOUND, PUBLISHED, GREY = "#2b6cb0", "#c05621", "#2f855a", "#888888"


@dataclass(frozen=True, slots=True)
class Timeline:
    """One panel: name, times and values (answers,) in [0, 1], changes found and published, and the first list's day."""

    name: str
    times: NDArray[np.datetime64]
    values: Array
    found: Sequence[np.datetime64]
    published: Sequence[np.datetime64]


def cuts_figure(shares: Mapping[str, Sequence[float]]) -> str:
    """Bars by the hour at which days are cut, from 12:00 over 00:00 to 11:00; shares[name] begins with hour 0."""
    height, slot = 44, (WIDTH - LEFT - RIGHT) / 24
    body = []
    for row, (name, by_hour) in enumerate(shares.items()):
        base = TOP + row * (height + GAP) + height
        body.append(_text(LEFT, base - height - 6, name, "start"))
        body.append(_axis(base, height))
        for column in range(24):
            share = by_hour[(column + 12) % 24]
            x, size = LEFT + slot * column + 3, share * height
            body.append(
                f'<rect x="{x:.1f}" y="{base - size:.1f}" width="{slot - 6:.1f}" height="{size:.1f}" fill="{DATA}"/>'
            )
    bottom = TOP + len(shares) * (height + GAP) - GAP + 16
    hours = range(0, 24, 3)
    body += [_text(LEFT + slot * (c + 0.5), bottom, f"{(c + 12) % 24:02d}:00", "middle") for c in hours]
    title = "Share of consecutive days that have no list in common, by the hour (UTC) at which days are cut"
    return _document(bottom + 10, title, body)


def timeline_figure(panels: Sequence[Timeline]) -> str:
    """Dots over time; a line where a change was found, a dashed one where it was published."""
    height, body = 56, []
    for row, panel in enumerate(panels):
        base = TOP + row * (height + GAP + 14) + height
        days = panel.times.astype("datetime64[D]")
        first, last = days[0], days[-1] + 1
        scale = (WIDTH - LEFT - RIGHT) / float((last - first) / np.timedelta64(1, "s"))

        def x(time: np.datetime64, first: np.datetime64 = first, scale: float = scale) -> float:
            return LEFT + scale * float((time - first) / np.timedelta64(1, "s"))

        body.append(_text(LEFT, base - height - 6, panel.name, "start"))
        body.append(_axis(base, height))
        for times, colour, dash in ((panel.found, FOUND, ""), (panel.published, PUBLISHED, ' stroke-dasharray="4 3"')):
            body += [
                f'<path d="M{x(time):.1f} {base}v-{height}" stroke="{colour}" stroke-width="1.5"{dash}/>'
                for time in times
            ]
        pairs = zip(panel.times, panel.values, strict=True)
        dots = "".join(f"M{x(time):.1f} {base - value * height:.1f}h0" for time, value in pairs)
        body.append(f'<path d="{dots}" stroke="{DATA}" stroke-width="3" stroke-linecap="round"/>')
        for day in np.arange(first, last, max(1, int((last - first).astype(int)) // 8)):
            body.append(_text(x(day), base + 14, str(day)[5:], "middle"))
    title = (
        "Total variation between each answer and the endpoint's commonest list; "
        "change found (line), change published by TrackLLM (dashed)"
    )
    return _document(TOP + len(panels) * (height + GAP + 14) - 14, title, body)


def _axis(base: float, height: float) -> str:
    marks = _text(LEFT - 6, base + 4, "0", "end") + _text(LEFT - 6, base - height + 4, "1", "end")
    return f'<path d="M{LEFT} {base - height}V{base}H{WIDTH - RIGHT}" fill="none" stroke="{GREY}"/>' + marks


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(height: float, title: str, body: Iterable[str]) -> str:
    lines = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" '
        f'font-size="11" role="img">\n<title>{escape(title)}</title>\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{lines}\n</svg>\n"
    )
