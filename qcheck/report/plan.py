"""What a run will cost and what it could detect: in short before every run, in full for `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from qcheck.jobs.estimate import DISCOVERY, Detectable, Estimate, ProviderEstimate
from qcheck.report.paper import Paper, count, entry, grid, put_on

__all__ = ["cannot_reject", "full", "in_dollars", "in_short"]

HEADINGS = ("provider", "role", "asked", "at\nmost", "expected", "tokens\nin", "tokens\nout", "USD ≈", "min")
NUMBERS = 3  # from this column on
ABOUT = "about {:.4f} USD"


def in_short(plan: Estimate) -> str:
    """One line: requests, tokens, dollars and minutes for everybody together."""
    everyone = plan.providers
    tokens = sum(p.input_tokens + p.output_tokens for p in everyone)
    names = dict.fromkeys(p.name for p in everyone)
    shares = {name: [p.cost_usd for p in everyone if p.name == name] for name in names}
    costs = {name: None if None in mine else sum(filter(None, mine)) for name, mine in shares.items()}
    minutes = max((sum(p.minutes for p in everyone if p.name == name) for name in names), default=0.0)
    asked = f"{count(plan.requests_max, 'request')} to {count(len(names), 'endpoint')}"
    expected = [p.requests_expected for p in everyone if p.requests_expected is not None]
    if everyone and len(expected) == len(everyone):
        asked += f" (about {sum(expected)} if all are consistent)"
    return f"at most {asked}, about {tokens} tokens, {in_dollars(costs, ABOUT)}, about {max(1, round(minutes))} min"


def in_dollars(costs_usd: Mapping[str, float | None], amount: str = "at most {:.4f} USD, retries apart") -> str:
    """What everybody together can cost, in words. costs_usd: by name, None where the price is unknown."""
    unknown, known = [name for name, cost in costs_usd.items() if cost is None], sum(filter(None, costs_usd.values()))
    if unknown and len(unknown) == len(costs_usd):
        return "cost unknown (no price known)"
    if not unknown:
        return amount.format(known) if known else "free of charge"
    return f"{amount.format(known)}, and what {', '.join(unknown)} will charge (price unknown)"


def cannot_reject(plan: Estimate) -> str | None:
    """A warning where no answers whatsoever could lead to `deviates`; else None."""
    if plan.could_reject:
        return None
    return "these limits allow too few requests: nobody can be found to deviate, whatever is answered"


def full(plan: Estimate, paper: Paper) -> str:
    """Everything that is known beforehand."""
    return put_on(paper, _parts(plan))


def _parts(plan: Estimate) -> Iterator[RenderableType]:
    several = len({p.suite for p in plan.providers} - {DISCOVERY}) > 1
    rows = map(_row, plan.providers)
    yield grid(HEADINGS, rows, right=range(NUMBERS, len(HEADINGS)))
    yield entry("plan", in_short(plan))
    yield entry("observables", ", ".join(name.replace("_", " ") for name in plan.observables) or "none")
    yield entry("offers", "; ".join(_known(plan)))
    for name, how in plan.thinking.items():
        yield entry("thinking", f"{name}: {how}")
    for provider in plan.providers:
        for observable, why in provider.lost.items():
            yield entry("lost", f"{observable.replace('_', ' ')} of {provider.name}: {why}")
    for name in dict.fromkeys(p.name for p in plan.providers if p.unpinned):
        yield entry("upstreams", f"{name} routes to unknown ones: none can be pinned, and who answers may vary")
    for name, texts in plan.withheld.items():
        for text in texts:
            yield entry("withheld", f"{name}: {text}")
    for name, why in plan.unjudged.items():
        yield entry("not judged", f"{name}, {why}")
    if warning := cannot_reject(plan):
        yield entry("warning", warning)
    yield entry("can detect", plan.detectability)
    for suites in dict.fromkeys(d.suites for d in plan.detectable):
        price = _usd_per_request([p for p in plan.providers if p.suite in suites.split(", ") and p.requests_max])
        of = f" of {suites}" if several else ""
        and_cost = ", and about what they cost in USD where that is most" if price else ""
        yield Text("")
        yield Text(
            f"median requests{of} until `deviates`{and_cost}, by the share of requests that the deviation answers:"
        )
        mine = [d for d in plan.detectable if d.suites == suites]
        fractions = sorted({d.fraction for d in mine}, reverse=True)
        medians = (_detectable_row(v, fractions, mine, price) for v in dict.fromkeys(d.variant for d in mine))
        yield grid(
            ("variant", *(f"{fraction:.0%}" for fraction in fractions)), medians, right=range(1, len(fractions) + 1)
        )


def _known(plan: Estimate) -> Iterator[str]:
    """Where that is known from which everybody is asked."""
    yield from (f"{name} as found on {day}" for name, day in plan.found.items())
    if others := [name for name in dict.fromkeys(p.name for p in plan.providers) if name not in plan.found]:
        yield f"{', '.join(others)} as the registry and qcheck.toml have it, until it is found out"


def _row(share: ProviderEstimate) -> tuple[str, ...]:
    return (
        share.name,
        share.role,
        share.suite,
        str(share.requests_max),
        "unknown" if (expected := share.requests_expected) is None else f"about {expected}" if expected else "none",
        str(share.input_tokens),
        str(share.output_tokens),
        "unknown" if share.cost_usd is None else f"{share.cost_usd:.4f}",
        f"{share.minutes:.1f}",
    )


def _usd_per_request(shares_of_suites: Sequence[ProviderEstimate]) -> float | None:
    """What a request costs of the provider that charges most, and with it those of references and live variants; None
    where a price is unknown."""
    each: dict[tuple[str, str], list[ProviderEstimate]] = {}
    for share in shares_of_suites:
        each.setdefault((share.role, share.name), []).append(share)
    judged: list[float] = []
    beside: list[float] = []
    for (role, _), shares in each.items():
        costs = [share.cost_usd for share in shares]
        if None in costs:
            return None
        cost = sum(filter(None, costs)) / sum(share.requests_max for share in shares)
        (judged if role == "provider" else beside).append(cost)
    return max(judged, default=0.0) + sum(beside)


def _detectable_row(
    variant: str, fractions: list[float], all_of_them: list[Detectable], price: float | None
) -> tuple[str, ...]:
    medians = {d.fraction: d.median_requests for d in all_of_them if d.variant == variant}

    def cell(median: int | None) -> str:
        if median is None:
            return "more"
        return f"{median} ({price * median:.2g})" if price else str(median)

    return (variant, *(cell(medians.get(f)) for f in fractions))
