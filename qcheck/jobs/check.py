"""Find out what an endpoint offers, with a few cheap requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from qcheck import __version__
from qcheck.client.limits import Limiter
from qcheck.client.transport import Client
from qcheck.jobs.offer import MOST_LEAST, PROMPT, TOP, Capability, Seen, Trial, capabilities, listed, settings
from qcheck.records import Attempt, Message, Request
from qcheck.registry.types import Dialect, Endpoint, LogprobsForm, PromptFormat
from qcheck.run.budget import Budget, Limits, check_prices, worst_case_usd

__all__ = ["Offer", "Tokens", "check", "planned"]

LONG: Final = 32  # tokens
FEWEST_KNOWN: Final = 16  # output tokens that some generate at least, whatever they are asked
FOLLOW_UPS: Final = 5  # at most, where requests are refused: two plainer ones, three for fewer log-probabilities
SAMPLING: Final = 1.0
UNANSWERED_IN_A_ROW: Final = 2
TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 2

_FATAL: Final = frozenset({401, 402, 403, 410})
_LATER: Final = frozenset({408, 409, 429})
_NOT_OFFERED: Final = re.compile(r"not support|unsupported|not available|not allowed", re.IGNORECASE)
_MESSAGES: Final = (Message("user", PROMPT),)
_VERBATIM: Final = PromptFormat(user="{content}", assistant="{content}", system="{content}", answer="", no_thought="")
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "find_place",
        "description": "Look a place up on the map.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
_SCHEMA: Final = {
    "type": "object",
    "properties": {"story": {"type": "string"}},
    "required": ["story"],
    "additionalProperties": False,
}
_FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "story", "strict": True, "schema": _SCHEMA}}


@dataclass(frozen=True, slots=True)
class _Step:
    """One request. temperature: None for the usual one. lists: whether log-probabilities are asked for."""

    trial: Trial
    max_tokens: int
    temperature: float | None = None
    lists: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    choices: int = 1


# No two are the same but "sample" and "sample_again", so that a provider that keeps answers is noticed, and what is
# compared otherwise was computed twice.
_STEPS: Final = (
    _Step("plain", 1),
    _Step("greedy", LONG, lists=True),
    _Step("greedy_again", LONG - 1, lists=True),
    _Step("sample", LONG, SAMPLING, lists=True),
    _Step("sample_again", LONG, SAMPLING, lists=True),
    _Step("half", 1, 0.5, lists=True),
    _Step("seed", LONG, SAMPLING, lists=True, extra={"seed": 7}),
    _Step("seed_again", LONG - 1, SAMPLING, lists=True, extra={"seed": 7}),
    _Step("n", 1, SAMPLING, extra={"n": 2}, choices=2),
    _Step("tools", 1, extra={"tools": [_TOOL]}),
    _Step("json_schema", 1, extra={"response_format": _FORMAT}),
    _Step("stream", 1),
    _Step("echo", 1, extra={"echo": True}),
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in and out, as far as usage tells."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What an endpoint was found to offer.

    checked: when, UTC. stopped: what ended the check before everything was asked, `reason` in words. settings: what
    qcheck.toml should say of it. requests: exchanges. cost_usd: at most; None where the price is unknown.
    """

    schema_version: int
    qcheck_version: str
    provider: str
    endpoint: str
    model: str
    model_id: str | None
    checked: str
    stopped: Literal["unavailable", "budget"] | None
    reason: str | None
    capabilities: tuple[Capability, ...]
    settings: Mapping[str, int | bool | str]
    requests: int
    tokens: Tokens
    cost_usd: float | None


class _EndOfCheck(Exception):  # noqa: N818
    """No further request is sent."""

    def __init__(self, stopped: Literal["unavailable", "budget"], reason: str) -> None:
        super().__init__(reason)
        self.stopped: Literal["unavailable", "budget"] = stopped
        self.reason = reason


def planned(endpoint: Endpoint) -> tuple[int, int, float | None]:
    """The usual number of requests, the most there can be, and US dollars that these cost at most (None: unknown)."""
    costs = [cost for step in _STEPS if (cost := _worst_case_usd(step, endpoint)) is not None]
    total = sum(costs) + FOLLOW_UPS * max(costs) if costs else None
    return len(_STEPS), len(_STEPS) + FOLLOW_UPS, total


def _worst_case_usd(step: _Step, endpoint: Endpoint) -> float | None:
    request = Request(step.trial, _MESSAGES, step.max_tokens, 0.0, 0)
    cost = worst_case_usd(request, endpoint.price, max(FEWEST_KNOWN, endpoint.dialect.min_tokens))
    return None if cost is None else cost * step.choices


async def check(
    model: str,
    endpoint: Endpoint,
    key: str | None,
    limits: Limits,
    *,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_seen: Callable[[Trial, Seen], None] = lambda trial, seen: None,
) -> Offer:
    """Ask `endpoint` one thing after another, and say what its answers show.

    Whatever the provider does is data. Raises ConfigurationError alone, for what nothing can be sent through and for a
    budget without a price. `on_seen` is told how each request ended.
    """
    check_prices(limits, [endpoint])
    checked = datetime.now(UTC).isoformat(timespec="seconds")
    asking = _Check(endpoint, key, limits, timeout_s, sleep, on_seen)
    end = None
    try:
        await asking.ask_everything()
    except _EndOfCheck as early:
        end = early
    found = capabilities(asking.trials)
    answers = [a.response for a in asking.attempts if a.response]
    charges = [a.charged_usd for a in asking.attempts]
    return Offer(
        schema_version=1,
        qcheck_version=__version__,
        provider=endpoint.name,
        endpoint=endpoint.display,
        model=model,
        model_id=asking.endpoint.model_id,
        checked=checked,
        stopped=end.stopped if end else None,
        reason=end.reason if end else None,
        capabilities=found,
        settings=settings(found, endpoint.dialect) | asking.learned(endpoint.dialect),
        requests=sum(a.sent for a in asking.attempts),
        tokens=Tokens(sum(r.prompt_tokens or 0 for r in answers), sum(r.completion_tokens or 0 for r in answers)),
        cost_usd=None if None in charges else sum(c for c in charges if c is not None),
    )


class _Check:
    """A check under way: what was seen, and in `endpoint` and the temperatures what was learned of how to ask."""

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None,
        limits: Limits,
        timeout_s: float,
        sleep: Callable[[float], Awaitable[None]],
        on_seen: Callable[[Trial, Seen], None],
    ) -> None:
        # Nothing of what is to be found out is taken from what is known.
        dialect = replace(
            endpoint.dialect,
            top_logprobs_max=TOP,
            after_temperature=False,
            min_tokens=1,
            thinking_off=None if endpoint.dialect.thinking_off == "never" else endpoint.dialect.thinking_off,
        )
        self.endpoint = replace(endpoint, dialect=dialect)
        self.trials: dict[Trial, Seen] = {}
        self.attempts: list[Attempt] = []
        self._usual, self._sampling = 0.0, SAMPLING
        self._k = TOP
        self._key, self._timeout_s, self._sleep, self._on_seen = key, timeout_s, sleep, on_seen
        self._limiter = Limiter()
        self._budget = Budget(limits, {endpoint.name: endpoint.price} if endpoint.price else {})
        self._unanswered = 0

    def learned(self, known: Dialect) -> dict[str, int | bool | str]:
        """The fields of the dialect that had to be otherwise for an answer."""
        fields = ("logprobs", "max_tokens") + (("min_tokens",) if "one_token" in self.trials else ())
        found = {name: getattr(self.endpoint.dialect, name) for name in fields}
        return {name: value for name, value in found.items() if value != getattr(known, name)}

    async def ask_everything(self) -> None:
        """Send every request that can show something. Raises _EndOfCheck."""
        async with self._client(self.endpoint) as client:
            model_id, reason = await client.model_id()
        if model_id is None:
            raise _EndOfCheck("unavailable", reason)
        self.endpoint = replace(self.endpoint, model_id=model_id)
        for step in _STEPS:
            if step.trial == "plain":
                await self._ask_plain(step)
            elif step.trial == "greedy":
                await self._ask_for_logprobs(step)
            elif self._can_show(step.trial):
                seen = await self._ask(step)
                if step.trial == "sample" and seen.refused:
                    self._sampling = self._usual  # so that what is refused from here on is not its temperature

    def _can_show(self, trial: Trial) -> bool:
        if trial == "half":
            return self._sampling == SAMPLING and listed(self.trials.get("sample")) > 0
        if trial in ("sample_again", "seed_again"):
            before = self.trials["sample" if trial == "sample_again" else "seed"]
            return before.response is not None
        return True

    async def _ask_plain(self, step: _Step) -> None:
        """The plainest request, made so that the endpoint takes it, or the end."""
        seen = await self._ask(step)
        for _ in range(2):
            dialect, words = self.endpoint.dialect, seen.error.lower()
            if not seen.refused:
                break
            if least := _least_tokens(words):
                self.trials["one_token"] = seen
                dialect = replace(dialect, min_tokens=least)
            elif "max_completion_tokens" in words:
                dialect = replace(dialect, max_tokens="max_completion_tokens")
            elif "temperature" in words and not self._usual:
                self.trials["temperature_0"] = seen
                self._usual = self._sampling = _pinned(words) or self.endpoint.temperature or SAMPLING
            else:
                break
            self.endpoint = replace(self.endpoint, dialect=dialect)
            seen = await self._ask(step)
        if seen.response is None:
            raise _EndOfCheck("unavailable", seen.error)

    async def _ask_for_logprobs(self, step: _Step) -> None:
        """The first request with log-probabilities: as many as are accepted, in the form that is."""
        seen = await self._ask(step)
        if not seen.refused:
            return
        self.trials["top_20"] = seen
        form = self.endpoint.dialect.logprobs
        other: LogprobsForm = "integer" if form == "boolean" else "boolean"
        fewer: list[tuple[int, LogprobsForm]] = [(5, form), (TOP, other)]
        if cap := _cap(seen.error):
            fewer = [(cap, form)]
        elif _NOT_OFFERED.search(seen.error):
            fewer = []
        for k, asked in (*fewer, (0, form)):
            self._k = k
            self.endpoint = replace(self.endpoint, dialect=replace(self.endpoint.dialect, logprobs=asked))
            if not (await self._ask(step)).refused:
                return

    async def _ask(self, step: _Step) -> Seen:
        """Send one request and note how it ended. Raises _EndOfCheck where no other can be answered."""
        worst_usd = _worst_case_usd(step, self.endpoint)
        if self._budget.reserve(self.endpoint.name, worst_usd) != "reserved":
            raise _EndOfCheck("budget", "the budget does not allow another request")
        bodies: list[bytes] = []
        request = Request(step.trial, _MESSAGES, step.max_tokens, self._temperature(step), self._lists(step))
        async with self._client(self._endpoint_of(step), bodies.append) as client:
            async for attempt in client.ask(request, self.endpoint.name, len(self.attempts)):
                self.attempts.append(replace(attempt, charged_usd=self._budget.charge(attempt, worst_usd)))
                if not attempt.settled and not self._budget.allows_retry():
                    raise _EndOfCheck("budget", "the budget does not allow another try")
        self._budget.release(worst_usd)
        seen = _seen(self.attempts[-1], bodies)
        self.trials[step.trial] = seen
        self._on_seen(step.trial, seen)
        self._unanswered = 0 if seen.response or seen.refused else self._unanswered + 1
        barred = self.attempts[-1].http_status in _FATAL and step.trial != "echo"  # which goes to another address
        if barred or self._unanswered == UNANSWERED_IN_A_ROW:
            raise _EndOfCheck("unavailable", seen.error)
        return seen

    def _temperature(self, step: _Step) -> float:
        if step.temperature is None:
            return self._usual
        return self._sampling if step.temperature == SAMPLING else step.temperature

    def _lists(self, step: _Step) -> int:
        return 1 if step.trial == "echo" else self._k if step.lists else 0

    def _endpoint_of(self, step: _Step) -> Endpoint:
        endpoint = replace(self.endpoint, extra_body={**self.endpoint.extra_body, **step.extra})
        if step.trial == "stream":
            return replace(endpoint, dialect=replace(endpoint.dialect, stream=True))
        if step.trial == "echo":
            # Where there is any way to have a prompt scored, it is that of the older completions.
            dialect = replace(endpoint.dialect, thinking_off="completions")
            return replace(endpoint, dialect=dialect, prompt_format=_VERBATIM, date_string=None)
        return endpoint

    def _client(self, endpoint: Endpoint, look: Callable[[bytes], None] = lambda _: None) -> Client:
        return Client(
            endpoint,
            self._key,
            timeout_s=self._timeout_s,
            max_attempts=ATTEMPTS,
            concurrency=1,
            limiter=self._limiter,
            sleep=self._sleep,
            look=look,
        )


def _seen(attempt: Attempt, bodies: list[bytes]) -> Seen:
    if attempt.response is not None:
        return Seen(attempt.response, bodies[-1])
    status = attempt.http_status or 0
    refused = 400 <= status < 500 and status not in _FATAL | _LATER
    return Seen(error=attempt.error or "no reason given", refused=refused)


def _pinned(words: str) -> float | None:
    """The temperature that a refusal of 0 says is the only one accepted."""
    said = re.search(r"\bonly (\d(?:\.\d+)?)\b", words)
    return float(said[1]) if said else None


def _numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"\b\d{1,4}\b", words)]


def _least_tokens(words: str) -> int | None:
    """The fewest output tokens that a refusal of one token says are accepted."""
    return max((n for n in _numbers(words) if 1 < n <= MOST_LEAST), default=None) if "token" in words else None


def _cap(words: str) -> int | None:
    """The most log-probabilities that a refusal of 20 says are accepted."""
    return max((n for n in _numbers(words) if 0 < n < TOP), default=None) if "logprobs" in words else None
