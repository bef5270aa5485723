"""The detection benchmark's figure, an SVG: requests to 90 % power by the share of requests that deviate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from scipy import stats

from benchmarks.detection.power import LIMIT, Cell
from benchmarks.detection.published import Needed
from benchmarks.detection.rows import FRACTIONS
from qcheck.verdict import MIN_DEVIATING

__all__ = ["figure"]

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 240, 40, 34, 22  # of a panel, and what surrounds it, in pixels
LEGEND = 44
TICKS = (1, 3, 10, 30, 100, 300, 1000)
COLOURS = ("#1b6ca8", "#d1495b", "#8a8a8a", "#2a9d8f", "#e9a23b", "#7b5ea7", "#8c564b", "#bc7fb0", "#4d4d4d")

Series = Mapping[float, int | None]  # requests by fraction, None where not reached


def figure(cells: Sequence[Cell], found: Sequence[Needed]) -> str:
    """One panel for each deviation that the published methods were tried on."""
    panels = {}
    for row in dict.fromkeys(n.row for n in found):
        own = [cell for cell in cells if cell.row == row]
        lines: dict[str, Series] = {
            "qcheck": {cell.fraction: cell.ours.quantile(0.9) for cell in own},
            "oracle": {cell.fraction: cell.oracle.quantile(0.9) for cell in own},
            "second deviating answer": {f: _second(f) for f in FRACTIONS},
        }
        for n in found:
            if n.row == row:
                lines[n.method] = {**lines.get(n.method, {}), n.fraction: n.requests}
        panels[row.deviation] = lines
    return _svg(panels)


def _second(fraction: float) -> int:
    """Requests within which the deviating answers that a verdict needs have come in 90 % of streams."""
    return MIN_DEVIATING + int(stats.nbinom.ppf(0.9, MIN_DEVIATING, fraction)) if fraction < 1 else MIN_DEVIATING


def _x(fraction: float) -> float:
    return WIDTH * (1 - math.log(fraction) / math.log(min(FRACTIONS))) if fraction < 1 else float(WIDTH)


def _y(requests: float) -> float:
    return HEIGHT * (1 - math.log(requests) / math.log(LIMIT))


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(words)}</text>'


def _series(points: Series, colour: str) -> Iterable[str]:
    at = [(_x(f), _y(n)) for f, n in sorted(points.items()) if n is not None]
    if len(at) > 1:
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in at)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}"/>'
    yield from (f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{colour}"/>' for x, y in at)


def _svg(panels: Mapping[str, Mapping[str, Series]]) -> str:
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    colours = dict(zip(names, COLOURS, strict=False))
    step = WIDTH + LEFT + GAP
    width, height = step * len(panels), TOP + HEIGHT + GAP + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 12, "requests until 90 % of streams are told, by the share of requests that deviate", "start"),
    ]
    for number, (deviation, lines) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({LEFT + number * step},{TOP})">')
        parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>')
        parts.append(_text(WIDTH / 2, -6, deviation))
        parts += [_text(-4, _y(tick) + 4, str(tick), "end") for tick in TICKS]
        parts += [_text(_x(f), HEIGHT + 14, f"{100 * f:.0f} %") for f in FRACTIONS]
        parts += [mark for name, points in lines.items() for mark in _series(points, colours[name])]
        parts.append("</g>")
    columns = math.ceil(len(names) / 2)
    for number, name in enumerate(names):
        x = LEFT + (number % columns) * (width - LEFT) / columns
        y = TOP + HEIGHT + GAP + 16 + 18 * (number // columns)
        parts.append(f'<circle cx="{x:.0f}" cy="{y - 4:.0f}" r="4" fill="{colours[name]}"/>')
        parts.append(_text(x + 8, y, name, "start"))
    return "\n".join([*parts, "</svg>\n"])
