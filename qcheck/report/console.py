"""The result at a terminal: a table of verdicts, what they mean, and what they rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from qcheck.jobs.outcome import WITHHELD
from qcheck.report.paper import Paper, cell, count, entry, grid, put_on
from qcheck.result import ProviderResult, ReferenceInfo, Result, Totals
from qcheck.verdict import percent

__all__ = ["as_power_of_ten", "render"]

STYLES = {"consistent": "green", "deviates": "bold red", "inconclusive": "yellow", "unavailable": "magenta"}
HEADINGS = ("provider", "verdict", "answers", "deviating", "e-value", "routing\nfraction", "likely cause")
ROOM_FOR_CAUSES = 96  # columns; where there are fewer, causes stand below the table
NUMBERS = (2, 3, 4, 5)
# With what a run goes on that was cut short, by the reason for which it was.
RAISED = {"max_requests": " --max-requests N", "budget": " --budget USD", "deadline": "", "interrupted": ""}
DIFFERENT = "they do not serve the same distribution: at least one differs from the release"
GET_A_REFERENCE = (
    "record a deployment that you trust with `qcheck baseline record {model} --provider …`, "
    "or compare with a live one with --reference live:PROVIDER"
)


def as_power_of_ten(natural_log: float) -> str:
    """A number by its natural logarithm: `10^2.7`, `1` for 10^0."""
    exponent = round(natural_log / math.log(10), 1)
    return f"10^{exponent:.1f}" if exponent else "1"


def render(result: Result, paper: Paper, run: str) -> str:
    """The report. `run` is the word that finds the run again: its id, or its folder's path."""
    return put_on(paper, _parts(result, run, paper.width))


def _parts(result: Result, run: str, width: int) -> Iterator[RenderableType]:
    columns = len(HEADINGS) if width >= ROOM_FOR_CAUSES else len(HEADINGS) - 1
    yield grid(HEADINGS[:columns], (_row(p, result)[:columns] for p in result.providers), right=NUMBERS)
    summaries: dict[str, list[str]] = {}
    for provider in result.providers:
        summaries.setdefault(provider.summary, []).append(provider.name)
    for summary, names in summaries.items():
        yield entry(", ".join(names), summary)
    for provider in result.providers:
        if len(result.suites) > 1:
            yield entry(f"{provider.name}, by suite", _by_suite(provider))
        if columns < len(HEADINGS) and provider.likely_cause:
            yield entry(f"{provider.name}, likely cause", _cause(provider))
        for finding in provider.findings:
            if finding.kind == WITHHELD:
                yield entry(f"{provider.name}, withheld", finding.text)
            elif finding.severity != "info" and finding.text not in provider.summary:
                yield entry(f"{provider.name}, {finding.severity}", finding.text)
    yield Text("")
    if result.groups is not None:
        yield from _agreement(result)
    yield entry("model", f"{result.model}, released as {result.released_precision or 'an unknown precision'}")
    for suite in result.suites:
        head = f"reference, {suite.name}" if len(result.suites) > 1 else "reference"
        yield entry(head, _reference(suite.reference))
    yield entry("run", f"{result.run_id}, seed {result.seed}, alpha {result.alpha:g}, tolerance {result.tolerance:g}")
    yield entry("total", _total(result.totals))
    cut_short = [
        RAISED[p.stop_reason] for p in result.providers if p.verdict == "inconclusive" and p.stop_reason in RAISED
    ]
    for option in dict.fromkeys(cut_short):
        yield entry("next", f"`qcheck resume {run}{option}` asks on, nothing twice")
    yield entry("next", f"`qcheck verify {run}` makes the same result from the recorded answers")


def _row(provider: ProviderResult, result: Result) -> tuple[str | Text, ...]:
    answers, asked = provider.deviating.of, provider.requests - provider.discovery
    judged = result.reference.kind != "none" and answers > 0
    fraction = provider.routing_fraction
    return (
        provider.name,
        cell(provider.verdict, STYLES[provider.verdict]),
        str(answers if result.reference.kind != "none" else max(0, asked - provider.failures)),
        str(provider.deviating.answers) if judged else "–",
        as_power_of_ten(provider.log_e_value),
        f"{_least(provider)} – {percent(fraction.high)}" if judged else "–",
        _cause(provider),
    )


def _by_suite(provider: ProviderResult) -> str:
    """The e-value of each suite's answers."""
    betting = (part for part in provider.evidence if part.weight)
    return "; ".join(
        f"{part.suite} {as_power_of_ten(part.log_e_value)} from {count(part.requests, 'answer')}" for part in betting
    )


def _least(provider: ProviderResult) -> str:
    """The lower bound of the routing fraction; `deviates` proves that it is above zero, if not by how much."""
    shown = percent(provider.routing_fraction.low, down=True).removesuffix(" %")
    return "> 0" if provider.verdict == "deviates" and float(shown) == 0 else shown


def _cause(provider: ProviderResult) -> str:
    cause = provider.likely_cause
    if cause is None:
        return ""
    return cause.text if cause.probability is None else f"{cause.text} ({_probability(cause.probability)})"


def _probability(probability: float) -> str:
    return ">99%" if probability > 0.99 else f"{100 * probability:.0f}%"


def _agreement(result: Result) -> Iterator[RenderableType]:
    groups = result.groups or ()
    yield entry("groups", "; ".join(" = ".join(group) for group in groups) or "nobody answered")
    if result.different:
        yield entry("this means", DIFFERENT)
    elif len(groups) > 1:
        yield entry("this means", "who agrees with whom is not fully known yet; separate groups may still be the same")
    yield entry("to get verdicts", GET_A_REFERENCE.format(model=result.model))


def _reference(reference: ReferenceInfo) -> str:
    if reference.kind == "none":
        return "none"
    text = f"{reference.name}, {reference.kind}, {reference.provenance or 'provenance unknown'}"
    if reference.deployments:
        text += f"; deployments: {', '.join(reference.deployments)}"
    if reference.margin_nats is not None:
        text += f"; no envelope, so that only more than {reference.margin_nats:g} nats per token count as deviating"
        text += f" ({reference.margin_source})"
    if reference.variants:
        text += f"; looked for: {', '.join(reference.variants)}"
    return text


def _total(totals: Totals) -> str:
    cost = "cost unknown (not every price is known)" if totals.cost_usd is None else f"{totals.cost_usd:.4f} USD"
    if totals.cost_usd is not None and totals.estimated_usd:
        cost += f", of which {totals.estimated_usd:.4f} at most (estimated where no usage was told)"
    return (
        f"{count(totals.requests, 'request')}, {totals.tokens.input} + {totals.tokens.output} tokens (in + out), {cost}"
    )
