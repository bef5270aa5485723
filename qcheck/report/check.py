"""What an endpoint was found to offer, at a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from qcheck.jobs.check import Offer
from qcheck.jobs.offer import Capability
from qcheck.jsonio import pretty
from qcheck.report.paper import Paper, cell, count, entry, grid, put_on

__all__ = ["NAMES", "OF_THINKING", "render"]

STYLES = {"yes": "green", "no": "yellow", "unknown": "magenta"}
NAMES = {
    "logprobs": "log-probabilities",
    "raw_logprobs": "before temperature",
    "lattice": "on a grid",
    "prompt_logprobs": "of the prompt",
    "greedy": "greedy decoding",
    "seed": "seed",
    "n": "several choices (n)",
    "one_token": "one-token answers",
    "tools": "tools",
    "json_schema": "JSON schema",
    "stream_usage": "usage of streams",
    "model": "model's name",
    "fingerprint": "fingerprint",
    "caching": "cached prompts",
}
OF_THINKING = {"thinking_off": "kept from thinking"}  # of models that think unless they are told not to


def render(offer: Offer, paper: Paper) -> str:
    """The report."""
    return put_on(paper, _parts(offer))


def _parts(offer: Offer) -> Iterator[RenderableType]:
    yield grid(("what", "offered", "how much", "shown by"), map(_row, offer.capabilities), right=(2,))
    if offer.reason is not None:
        yield entry(offer.stopped or "stopped", offer.reason)
    yield entry(
        "endpoint", f"{offer.provider} ({offer.endpoint}), {offer.model} as {offer.model_id or 'an unknown id'}"
    )
    cost = "cost unknown (no price known)" if offer.cost_usd is None else f"{offer.cost_usd:.4f} USD"
    spent = (
        f"{count(offer.requests, 'request')}, {offer.tokens.input} + {offer.tokens.output} tokens (in + out), {cost}"
    )
    yield entry("checked", f"{offer.checked}; {spent}")
    if offer.settings:
        lines = (f"{name} = {pretty(value).strip()}" for name, value in offer.settings.items())
        yield entry("in qcheck.toml", f'{", ".join(lines)}, under [providers."{offer.provider}"]')


def _row(capability: Capability) -> tuple[str | Text, ...]:
    value = capability.value
    shown = f"{value:g}" if isinstance(value, int | float) else ""  # a text stands in the evidence
    name = (NAMES | OF_THINKING)[capability.name]
    return name, cell(capability.offered, STYLES[capability.offered]), shown, capability.evidence
