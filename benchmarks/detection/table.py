"""The tables of the detection benchmark, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby, product

import numpy as np

from benchmarks.detection.agreement import consistent_stops
from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops, count
from benchmarks.detection.false_alarms import OBSERVABLES, FalseAlarms, cases
from benchmarks.detection.material import ALPHA, Material
from benchmarks.detection.power import LIMIT, STREAMS, Cell
from benchmarks.detection.published import Needed
from benchmarks.detection.rows import FRACTIONS
from qcheck.baselines import Baseline
from qcheck.evidence.views import VIEWS
from qcheck.tailcounts import FULL

__all__ = [
    "consistent_table",
    "false_alarm_table",
    "interval",
    "markdown",
    "mixture_table",
    "oracle_table",
    "power_table",
    "published_table",
    "quantiles",
    "stranger_table",
]

TOLERANCE = 0.05
MIXTURE_STREAMS, MIXTURE_REQUESTS = 250, 1000
OURS_TOKENS = 4  # of output to a request, as the suite asks for


def markdown(header: str, rows: Iterable[Sequence[str]]) -> str:
    """A table of a header line and rows of cells."""
    lines = [header, "|" + "---|" * (header.count("|") - 1), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _by_row(cells: Sequence[Cell]) -> Iterable[tuple[list[str], list[Cell]]]:
    """What a line begins with, and its cells from the largest fraction to the smallest."""
    for row, group in groupby(cells, lambda cell: cell.row):
        own = list(group)
        yield [row.given, row.deviation], own


def power_table(cells: Sequence[Cell]) -> str:
    """Requests until *deviates*: median and 90 % quantile, by what is given, what deviates, and how often."""

    def text(cell: Cell) -> str:
        measured = f"{quantiles(cell.ours)}{interval(cell.ours)}"
        asked, index = cell.row.asked, FRACTIONS.index(cell.fraction)
        return measured + (f" (asked {asked[index]})" if index < len(asked) else "")

    rows = ([*start, str(STREAMS), *map(text, own)] for start, own in _by_row(cells))
    return markdown("| given | deviation | streams | 100 % of requests | 10 % | 5 % | 1 % |", rows)


def interval(found: Stops) -> str:
    """The median's confidence interval in brackets; nothing where no end of it is known."""
    ends = found.interval(0.5)
    return "" if ends == (None, None) else f" [{', '.join(map(count, ends))}]"


def quantiles(found: Stops) -> str:
    """Median and 90 % quantile."""
    return f"{count(found.quantile(0.5))} / {count(found.quantile(0.9))}"


def oracle_table(cells: Sequence[Cell]) -> str:
    """The oracle's requests in the same streams, and what a request adds to qcheck's evidence, to that of the same bets
    that know the honest side, and to the oracle's."""

    def text(cell: Cell) -> str:
        g = cell.growth
        return f"{quantiles(cell.oracle)}; {g.ours:.2g} ({g.informed:.2g}) / {g.oracle:.2g} = {g.ours / g.oracle:.2f}"

    rows = ([*start, *map(text, own)] for start, own in _by_row(cells))
    return markdown("| given | deviation | 100 % of requests | 10 % | 5 % | 1 % |", rows)


def published_table(cells: Sequence[Cell], found: Sequence[Needed]) -> str:
    """Requests and output tokens to 90 % power: qcheck's at its guaranteed error, the others' at a measured 1 %."""
    fractions = sorted({n.fraction for n in found}, reverse=True)

    def text(requests: int | None, tokens: int) -> list[str]:
        return ["not reached", "–"] if requests is None else [str(requests), str(tokens * requests)]

    rows = []
    for row in dict.fromkeys(n.row for n in found):
        ours = {cell.fraction: cell.ours.quantile(0.9) for cell in cells if cell.row == row}
        rows.append([row.deviation, "qcheck", *(t for f in fractions for t in text(ours[f], OURS_TOKENS))])
        for method in dict.fromkeys(n.method for n in found):
            own = {n.fraction: n for n in found if n.row == row and n.method == method}
            rows.append([row.deviation, method, *(t for f in fractions for t in text(own[f].requests, own[f].tokens))])
    columns = " | ".join(f"{f:.0%}: requests | tokens".replace("%", " %") for f in fractions)
    return markdown(f"| deviation | method | {columns} |", rows)


def consistent_table(material: Material) -> str:
    """Requests until *consistent* of honest deployments that the baseline does not know."""
    observed, rng = material.observed(FULL, material.honest), np.random.default_rng(0)
    floor = np.log(1 / ALPHA) / TOLERANCE
    rows = []
    for name in material.honest:
        found = consistent_stops(observed, material.envelope, name, TOLERANCE, rng, STREAMS, LIMIT)
        rows.append([name, str(STREAMS), quantiles(found), f"{floor:.0f}"])
    return markdown("| honest deployment | streams | requests: median / 90 % | floor log(1/α) / tolerance |", rows)


def mixture_table(material: Material) -> str:
    """Alarms of two honest deployments that answer half of the requests each, one at least unknown to the baseline."""
    unknown, known = material.honest, material.references
    observed = material.observed(FULL, (*unknown, *known), repeat=-1)
    kinds = {
        "two that the baseline does not know": list(combinations(unknown, 2)),
        "one of them and one that it knows": list(product(unknown, known)),
    }
    rows = []
    for kind, pairs in kinds.items():
        alarms = []
        for number, (one, other) in enumerate(pairs):
            rng = np.random.default_rng(number)
            what = observed, material.envelope, [one], other, 0.5, observed.variants, rng
            found = stops(*what, MIXTURE_STREAMS, MIXTURE_REQUESTS)
            alarms.append(int((found.requests <= found.limit).sum()))
        rows.append([kind, str(len(pairs)), str(sum(alarms)), str(MIXTURE_STREAMS * len(pairs)), str(max(alarms))])
    return markdown("| half and half | pairs | alarms | of streams | most of a pair |", rows)


def stranger_table(material: Material, honest: Sequence[str]) -> str:
    """Alarms of honest deployments that the baseline does not know, by view, all its null bounds in use."""
    alarms: dict[str, list[str]] = {name: [] for name in honest}
    for view in VIEWS:
        observed = material.observed(view.name, honest)
        for number, name in enumerate(honest):
            rng = np.random.default_rng(number)
            what = observed, material.envelope, [name], name, 1.0, observed.variants, rng
            found = stops(*what, STREAMS, LIMIT)
            alarms[name].append(str(int((found.requests <= found.limit).sum())))
    columns = " | ".join(view.name for view in VIEWS)
    rows = [[name, *counted, str(STREAMS)] for name, counted in alarms.items()]
    return markdown(f"| honest, not known | {columns} | of streams |", rows)


def counted_table(baseline: Baseline) -> str:
    """Of the full view's events, on how many prompts honest deployments show them, and who does."""
    rows = []
    for event in baseline.table.seen(FULL) if baseline.table else ():
        for stratum, counted in event.counts.items():
            whose = sorted(counted.honest.items(), key=lambda pair: -pair[1])
            named = ", ".join(f"{name} {number}" for name, number in whose if number)
            prompts = f"{counted.honest_any} of {counted.clusters}"
            rows.append([event.score, f"{event.threshold:.3g}", stratum, prompts, named or "–"])
    return markdown(
        "| score | above | stratum | prompts on which an honest deployment shows it | who; the first bounds it |",
        rows,
    )


def false_alarm_table(found: FalseAlarms, honest: Sequence[str]) -> str:
    """Alarms of honest deployments that were left out of the envelope, alone or with those that are like them."""
    rows = []
    for case in cases(honest):
        left_out = found.of(case)
        others = [name for name in case.absent if name != case.provider]
        marked = "" if left_out.noisiest >= left_out.size else " (none as noisy remains)"
        rows.append(
            [
                case.provider,
                ", ".join(others) or "–",
                f"{left_out.size:.2f}",
                f"{left_out.noisiest:.2f}{marked}",
                *(str(left_out.alarms[name]) for name in OBSERVABLES),
                str(left_out.streams),
            ]
        )
    columns = " | ".join(OBSERVABLES)
    header = f"| left out | and with it | mean size | of the noisiest reference | {columns} | of streams |"
    return markdown(header, rows)
