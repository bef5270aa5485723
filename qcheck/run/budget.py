"""What a run may spend, and what it has spent.

An exchange is counted before it is sent, at the most it can cost, and again at what it did cost when it is over; a
retry is one more exchange. So the sum never passes the budget by more than providers charge beyond their own price
lists. Who says to charge more than `MOST_BEYOND` times the most that a request can cost by these speaks of something
else than dollars, and must not end the run for the others. What a process that was killed had in flight is not known to
the next one, which resumes the run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from qcheck.errors import ConfigurationError
from qcheck.records import Attempt, Request, Response, size_bytes
from qcheck.registry.address import is_loopback
from qcheck.registry.config import table_of
from qcheck.registry.types import Endpoint, Price

__all__ = [
    "PLAN_REQUESTS",
    "Budget",
    "Limits",
    "Reservation",
    "charge_usd",
    "check_plans",
    "check_prices",
    "cost_usd",
    "is_estimate",
    "is_plan",
    "worst_case_usd",
]

Reservation = Literal["reserved", "later", "max_requests", "budget"]

TEMPLATE_TOKENS = 256
MESSAGE_TOKENS = 16
ROUNDING = 1e-9
MOST_BEYOND = 10  # a convention: no price list is so much out of date
PLAN_REQUESTS = 100  # to a provider whose requests a plan pays for, unless the user says how many


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user allows; None is no limit.

    max_requests: requests per provider, retries not counted; whoever scores answers may be sent as many for each
    provider. budget_usd: US dollars for the whole run.
    deadline_s: seconds from the start until no new request is sent.
    """

    max_requests: int | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None

    def after(self, spent_s: float) -> Limits:
        """What is left of them when so many seconds are over; what was asked meanwhile counts from a journal."""
        return self if self.deadline_s is None else replace(self, deadline_s=max(0.0, self.deadline_s - spent_s))

    def over(self, before: Limits) -> Limits:
        """These limits, and where they say nothing those before."""
        said = {name: limit for name, limit in asdict(self).items() if limit is not None}
        return replace(before, **said)

    def most_requests(self, *, plan: bool) -> int | None:
        """The most requests to one provider, whose requests a plan pays for or not."""
        return PLAN_REQUESTS if plan and self.max_requests is None else self.max_requests


def check_prices(limits: Limits, endpoints: Iterable[Endpoint]) -> None:
    """Raise ConfigurationError where a budget cannot be kept, since somebody's price is unknown."""
    unknown = [e.name for e in endpoints if e.price is None]
    if limits.budget_usd is not None and unknown:
        raise ConfigurationError(
            f"--budget cannot be kept for {', '.join(unknown)}: the price is unknown; give it as "
            f"price = {{ input = …, output = … }} (USD per million tokens) under {table_of(unknown[0], 'MODEL')} in "
            "qcheck.toml, or leave --budget out."
        )


def check_plans(limits: Limits, endpoints: Iterable[Endpoint], needed: int) -> None:
    """Raise ConfigurationError where a plan pays for more requests to somebody than are sent unless told otherwise."""
    plans = [e.name for e in endpoints if is_plan(e)]
    if plans and limits.max_requests is None and needed > PLAN_REQUESTS:
        raise ConfigurationError(
            f"a plan pays for requests to {', '.join(plans)}, so that at most {PLAN_REQUESTS} are sent unless told "
            f"otherwise, and this needs {needed}: give --max-requests {needed}."
        )


def is_plan(endpoint: Endpoint) -> bool:
    """Whether a request costs nothing because a subscription pays for it, which allows only so many."""
    return endpoint.price == Price(0.0, 0.0) and not is_loopback(endpoint.base_url)


def worst_case_usd(request: Request, price: Price | None, min_tokens: int = 1) -> float | None:
    """The most that one exchange can cost; None where the price is unknown.

    min_tokens: the fewest output tokens that the endpoint accepts, which are asked for where a request wants fewer.

    No tokenizer makes more tokens than bytes; what a chat template adds is allowed for generously.
    """
    if price is None:
        return None
    said = size_bytes(request.messages, request.tools) + len((request.scored or "").encode("utf-8", "surrogatepass"))
    said += MESSAGE_TOKENS * (len(request.messages) + len(request.tools))
    return ((TEMPLATE_TOKENS + said) * price.input + max(request.max_tokens, min_tokens) * price.output) / 1e6


def cost_usd(response: Response, price: Price | None) -> float | None:
    """What an answer cost: as the provider says, else by its tokens and price; None where neither is known."""
    if response.cost_usd is not None:
        return response.cost_usd
    if price is None or response.prompt_tokens is None or response.completion_tokens is None:
        return None
    return (response.prompt_tokens * price.input + response.completion_tokens * price.output) / 1e6


def charge_usd(attempt: Attempt, price: Price | None, worst_usd: float | None) -> float | None:
    """What an exchange is counted at; None where that is unknown, for want of a price.

    An answer: what it says to have cost, believed up to `MOST_BEYOND` times `worst_usd`, at least its tokens at their
    price, or `worst_usd` where it says neither. What was lost on its way, or came with a success (HTTP 200 to 299) and
    could not be used, may well be billed, too: `worst_usd`. An error, and what was never sent: nothing.
    """
    if r := attempt.response:
        listed = cost_usd(replace(r, cost_usd=None), price)  # a provider may tell less than is billed elsewhere
        told = min(r.cost_usd, MOST_BEYOND * worst_usd) if r.cost_usd is not None and worst_usd else r.cost_usd
        return max((cost for cost in (told, listed) if cost is not None), default=worst_usd)
    return worst_usd if attempt.sent and (attempt.http_status is None or attempt.http_status // 100 == 2) else 0.0


def is_estimate(attempt: Attempt) -> bool:
    """Whether an exchange is counted at the most it can have cost, since its usage is not known."""
    r = attempt.response
    return r is None or (r.cost_usd is None and (r.prompt_tokens is None or r.completion_tokens is None))


def _counted(provider: str, scores: str | None) -> str | None:
    """For whom a request counts: what a provider is asked again, to judge its own answer, is its own."""
    return None if scores == provider else scores


class Budget:
    """Counts requests per provider and dollars over all of them.

    `prices` holds the known ones. A provider without a price is never held back by the budget, only by what it
    reports to have cost. `plans` names the providers that a plan pays for. `before` are the attempts of the same run
    in an earlier process. `min_tokens` holds the fewest output tokens that providers accept, where it is not one.
    """

    def __init__(
        self,
        limits: Limits,
        prices: Mapping[str, Price],
        before: Iterable[Attempt] = (),
        plans: Iterable[str] = (),
        min_tokens: Mapping[str, int] | None = None,
    ) -> None:
        self.limits = limits
        self._prices, self._min_tokens = prices, min_tokens or {}
        earlier = list(before)
        self._requests = Counter((a.provider, _counted(a.provider, a.scores)) for a in earlier if a.settled)
        self._plans = frozenset(plans)
        self.spent_usd = sum(attempt.charged_usd or 0.0 for attempt in earlier)
        self._reserved: list[float] = []

    def worst_case_usd(self, provider: str, request: Request) -> float | None:
        """The most that one exchange of `request` can cost at `provider`; None where the price is unknown."""
        return worst_case_usd(request, self._prices.get(provider), self._min_tokens.get(provider, 1))

    def reserve(self, provider: str, worst_usd: float | None, scores: str | None = None) -> Reservation:
        """Count one request before it is sent; only after "reserved" may it be, and it must be released.

        scores: whose answer it asks `provider` to score, if it does, or is asked again to judge.

        "later": it may fit once requests in flight have turned out cheaper than they could have been.
        "max_requests", "budget": it does not fit, now or ever.
        """
        worst = worst_usd or 0.0
        most, scores = self.limits.most_requests(plan=provider in self._plans), _counted(provider, scores)
        if most is not None and self._requests[provider, scores] >= most:
            return "max_requests"
        if self._left_usd < worst:
            return "budget"
        if self._left_usd < worst + sum(self._reserved):
            return "later"
        self._requests[provider, scores] += 1
        self._reserved.append(worst)
        return "reserved"

    @property
    def _left_usd(self) -> float:
        if self.limits.budget_usd is None:
            return math.inf
        return self.limits.budget_usd * (1 + ROUNDING) - self.spent_usd

    def charge(self, attempt: Attempt, worst_usd: float | None) -> float | None:
        """Count what an exchange has cost; its request stays reserved, for one more. US dollars, None for unknown."""
        charged = charge_usd(attempt, self._prices.get(attempt.provider), worst_usd)
        self.spent_usd += charged or 0.0
        return charged

    def allows_retry(self) -> bool:
        """Whether all requests that are reserved may still be sent, after what their earlier attempts have cost."""
        return self._left_usd >= sum(self._reserved)

    def release(self, worst_usd: float | None) -> None:
        """Give back what was reserved for a request that is over."""
        self._reserved.remove(worst_usd or 0.0)
