"""What a run may spend, and what it has spent.

A request is counted before it is sent, at the most it can cost, and again at what it did cost when it is over. So
the sum never passes the budget by more than providers charge beyond their own price lists.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from qcheck.errors import ConfigurationError
from qcheck.records import Attempt, Request, Response
from qcheck.registry.types import Endpoint, Price
from qcheck.run.journal import settled_requests

__all__ = ["Budget", "Limits", "Reservation", "check_prices", "cost_usd", "worst_case_usd"]

Reservation = Literal["reserved", "later", "max_requests", "budget"]

TEMPLATE_TOKENS = 256
MESSAGE_TOKENS = 16
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user allows; None is no limit.

    max_requests: requests per provider, retries not counted. budget_usd: US dollars for the whole run.
    deadline_s: seconds from the start until no more is sent.
    """

    max_requests: int | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None


def check_prices(limits: Limits, endpoints: Iterable[Endpoint]) -> None:
    """Raise ConfigurationError where a budget cannot be kept, since somebody's price is unknown."""
    unknown = [e.name for e in endpoints if e.price is None]
    if limits.budget_usd is not None and unknown:
        table = unknown[0] if re.fullmatch(r"[a-z0-9_-]+", unknown[0]) else f'"{unknown[0]}"'
        raise ConfigurationError(
            f"--budget cannot be kept for {', '.join(unknown)}: the price is unknown; give it as "
            f"price = {{ input = …, output = … }} (USD per million tokens) under [providers.{table}] in qcheck.toml, "
            "or leave --budget out."
        )


def worst_case_usd(request: Request, price: Price | None) -> float | None:
    """The most that one exchange can cost; None where the price is unknown.

    No tokenizer makes more tokens than bytes; what a chat template adds is allowed for generously.
    """
    if price is None:
        return None
    said = sum(len(m.content.encode("utf-8", "surrogatepass")) + MESSAGE_TOKENS for m in request.messages)
    return ((TEMPLATE_TOKENS + said) * price.input + request.max_tokens * price.output) / 1e6


def cost_usd(response: Response, price: Price | None) -> float | None:
    """What an answer cost: as the provider says, else by its tokens and price; None where neither is known."""
    if response.cost_usd is not None:
        return response.cost_usd
    if price is None or response.prompt_tokens is None or response.completion_tokens is None:
        return None
    return (response.prompt_tokens * price.input + response.completion_tokens * price.output) / 1e6


class Budget:
    """Counts requests per provider and dollars over all of them.

    `prices` holds the known ones. A provider without a price is never held back by the budget, only by what it
    reports to have cost. `before` are the attempts of the same run in an earlier process.
    """

    def __init__(self, limits: Limits, prices: Mapping[str, Price], before: Iterable[Attempt] = ()) -> None:
        self.limits = limits
        self._prices = prices
        self._requests: Counter[str] = Counter()
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._reserved: list[float] = []
        earlier = list(before)
        for attempt in earlier:
            self._count(attempt, 0.0)
        self._requests.update(provider for provider, _ in settled_requests(earlier))

    @property
    def spent_usd(self) -> float:
        """US dollars over all providers, as far as known."""
        return sum(self._spent.values())

    def worst_case_usd(self, provider: str, request: Request) -> float | None:
        """The most that `request` can cost at `provider`, for `reserve` and `settle`."""
        return worst_case_usd(request, self._prices.get(provider))

    def reserve(self, provider: str, worst_case_usd: float | None) -> Reservation:
        """Count one request before it is sent; only after "reserved" may it be, and it must be settled.

        "later": it may fit once requests in flight have turned out cheaper than they could have been.
        "max_requests", "budget": it does not fit, now or ever.
        """
        worst = worst_case_usd or 0.0
        if self.limits.max_requests is not None and self._requests[provider] >= self.limits.max_requests:
            return "max_requests"
        if self.limits.budget_usd is not None:
            allowed = self.limits.budget_usd * (1 + ROUNDING) - self.spent_usd - worst
            if allowed < 0:
                return "budget"
            if allowed < sum(self._reserved):
                return "later"
        self._requests[provider] += 1
        self._reserved.append(worst)
        return "reserved"

    def settle(self, provider: str, worst_case_usd: float | None, attempts: Iterable[Attempt]) -> None:
        """Replace a reservation by what the request's attempts cost.

        An attempt whose answer was lost on the way (no HTTP status), or a request given up before its last attempt,
        may well be billed: each is charged at its worst case.
        """
        worst = worst_case_usd or 0.0
        self._reserved.remove(worst)
        ended = False
        for attempt in attempts:
            self._count(attempt, worst)
            ended = ended or attempt.settled
        if not ended:
            self._spent[provider] += worst

    def _count(self, attempt: Attempt, worst_usd: float) -> None:
        response, provider = attempt.response, attempt.provider
        if response is None:
            self._spent[provider] += worst_usd if attempt.http_status is None else 0.0
            return
        cost = cost_usd(response, self._prices.get(provider))
        self._spent[provider] += worst_usd if cost is None else cost
