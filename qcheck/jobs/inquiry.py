"""An endpoint asked one thing after another, until it is clear what it offers or that nothing more can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx

from qcheck.cancellation import may_have_been_sent
from qcheck.client.dialect import THOUGHT
from qcheck.client.limits import Limiter
from qcheck.client.retry import LATER, TOO_MANY
from qcheck.client.transport import Client
from qcheck.jobs.offer import MOST_LEAST
from qcheck.jobs.seen import LINE, PRODUCT, PROMPT, TOP, Seen, Trial, listed
from qcheck.records import Attempt, Message, Request, Tool
from qcheck.registry.types import Dialect, Endpoint, LogprobsForm, PromptFormat, ThinkingSwitch, Untold
from qcheck.run.budget import Budget, worst_case_usd
from qcheck.run.execute import given_up
from qcheck.run.plan import PlanItem

__all__ = ["ALL", "FOLLOW_UPS", "LONG", "MODELS", "EndOfInquiry", "Inquiry", "unknown", "worst_cases_usd"]

LONG: Final = 32  # tokens
FEWEST_KNOWN: Final = 16  # output tokens that some generate at least, whatever they are asked
FEWER: Final = 3  # requests for fewer log-probabilities, or in another form, before none are asked for
FOLLOW_UPS: Final = 2 + FEWER + 1  # at most, where requests are refused or fail: two plainer ones, and those for lists
USUAL_MOST: Final = 5  # log-probabilities that are accepted by many
MODELS: Final = "models"  # what asking `/models` is called beside the trials
SAMPLING: Final = 1.0
MOST_WARM: Final = 2.0  # the highest temperature that anybody accepts
UNANSWERED_IN_A_ROW: Final = 2
TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.05
ATTEMPTS: Final = 2

_FATAL: Final = frozenset({401, 402, 403, 410})
_NOT_OFFERED: Final = re.compile(r"not support|unsupported|not available|not allowed", re.IGNORECASE)
# A number that stands by itself, as none does in "GLM-4.6" or "/2.11/", and the word of a bound before it.
_NUMBER: Final = re.compile(
    r"(\b(?:most|max|maximum|maximum of|than|to|and|le)\b\W{1,4}|[<≤]=?\s*)?"
    r"(?<![\w./])(?<![a-z]-)(\d{1,4})(?![\w/]|\.\d)",
    re.IGNORECASE,
)
_VERBATIM: Final = PromptFormat(user="{content}", assistant="{content}", system="{content}", answer="", no_thought="")
_TOOL: Final = Tool(
    "find_place",
    "Look a place up on the map.",
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)
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
    tools: tuple[Tool, ...] = ()
    prompt: str = PROMPT

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is asked."""
        return (Message("user", self.prompt),)


# No two are the same but "sample" and "sample_again", so that a provider that keeps answers is noticed, and what is
# compared otherwise was computed twice.
_STEPS: Final = {step.trial: step for step in (
    _Step("plain", 1),
    _Step("greedy", LONG, lists=True),
    _Step("greedy_again", LONG - 1, lists=True),
    _Step("sample", LONG, SAMPLING, lists=True),
    _Step("sample_again", LONG, SAMPLING, lists=True),
    _Step("half", 1, 0.5, lists=True),
    _Step("seed", LONG, SAMPLING, lists=True, extra={"seed": 7}),
    _Step("seed_again", LONG - 1, SAMPLING, lists=True, extra={"seed": 7}),
    _Step("n", 1, SAMPLING, extra={"n": 2}, choices=2),
    _Step("tools", 1, tools=(_TOOL,)),
    _Step("json_schema", 1, extra={"response_format": _FORMAT}),
    _Step("stream", 1),
    _Step("echo", 1, extra={"echo": True}),
    _Step("product", LONG, prompt=PRODUCT),
    _Step("line", LONG, prompt=LINE),
)}  # fmt: skip
ALL: Final = tuple(trial for trial in _STEPS if trial not in ("product", "line"))


class EndOfInquiry(Exception):  # noqa: N818
    """No further request is sent."""

    def __init__(self, stopped: Literal["unavailable", "budget"], reason: str) -> None:
        super().__init__(reason)
        self.stopped: Literal["unavailable", "budget"] = stopped
        self.reason = reason


def worst_cases_usd(trials: Sequence[Trial], endpoint: Endpoint) -> list[float] | None:
    """US dollars that each of the requests costs at most; None where the price is unknown."""
    costs = [cost for trial in trials if (cost := _worst_case_usd(_STEPS[trial], endpoint)) is not None]
    return costs if len(costs) == len(trials) else None


def _worst_case_usd(step: _Step, endpoint: Endpoint) -> float | None:
    request = Request(step.trial, step.messages, step.max_tokens, 0.0, 0, step.tools)
    cost = worst_case_usd(request, endpoint.price, max(FEWEST_KNOWN, endpoint.dialect.min_tokens))
    return None if cost is None else cost * step.choices


def unknown(endpoint: Endpoint) -> Endpoint:
    """The endpoint as one of which nothing is known that an inquiry finds out."""
    dialect = replace(
        endpoint.dialect,
        top_logprobs_max=TOP,
        after_temperature=False,
        min_tokens=1,
        thinking_off=None if endpoint.dialect.thinking_off == "never" else endpoint.dialect.thinking_off,
    )
    return replace(endpoint, dialect=dialect)


class Inquiry:
    """An inquiry under way: what was seen, and in `endpoint` and the temperatures what was learned of how to ask.

    `endpoint` is asked as it says, at `temperature` unless another one is tried, for `top` log-probabilities where any
    are. `way` is how the model was seen to be kept from thinking, if that was asked. Every exchange is reserved in
    `budget` before it is sent, and handed to `on_attempt` with what it was charged. `seq` is the next request's number,
    which falls: those of a run's plan count from 0 up. `on_seen` is told how each request ended.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        key: str | None,
        budget: Budget,
        *,
        temperature: float = 0.0,
        top: int = TOP,
        seq: int = -1,
        limiter: Limiter | None = None,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        on_seen: Callable[[Trial, Seen], None] = lambda trial, seen: None,
    ) -> None:
        self.endpoint = endpoint
        self.trials: dict[Trial, Seen] = {}
        self.top = top
        self.temperature = self._usual = temperature
        self.way: ThinkingSwitch | None = None
        self._sampling = SAMPLING
        self._key, self._timeout_s, self._sleep = key, timeout_s, sleep
        self._on_attempt, self._on_seen = on_attempt, on_seen
        self._limiter = limiter or Limiter()
        self._budget = budget
        self.seq = seq
        self._unanswered = 0
        self._answered = False

    @property
    def pinned(self) -> bool:
        """Whether one temperature alone was found to be accepted."""
        return "temperature_0" in self.trials

    def learned(self, known: Dialect) -> dict[str, int | bool | str]:
        """The fields of the dialect that had to be otherwise for an answer."""
        fields = ("logprobs", "max_tokens") + (("min_tokens",) if "one_token" in self.trials else ())
        fields += ("thinking_off",) if self.way else ()
        found = {name: getattr(self.endpoint.dialect, name) for name in fields}
        return {name: value for name, value in found.items() if value != getattr(known, name)}

    async def name_model(self) -> None:
        """Ask `/models` for the only model's id where nobody has named one. Raises EndOfInquiry."""
        if self.endpoint.model_id is None:
            last, _ = await self._send(MODELS, self.endpoint, None, 0.0)
            if last.response is None:
                raise EndOfInquiry("unavailable", last.error or "no reason given")
            self.endpoint = replace(self.endpoint, model_id=last.response.reported_model)

    async def ask_as_known(self, trial: Trial) -> Seen:
        """Send one request as the endpoint is said to take it. Raises EndOfInquiry."""
        return await self._ask(_STEPS[trial])

    def tell(self, way: ThinkingSwitch | Untold | None) -> None:
        """Keep the model from thinking in this way from here on; which temperatures are accepted may depend on it."""
        self.endpoint = replace(self.endpoint, dialect=replace(self.endpoint.dialect, thinking_off=way))
        self.temperature, self._sampling = self._usual, SAMPLING
        self.trials.pop("temperature_0", None)

    async def ask_to_answer(self, trial: Trial, begun: str = "") -> Seen:
        """Send a question, and what of its answer is `begun` for the model, beyond a thought. Raises EndOfInquiry.

        The product is asked as the endpoint takes it, in three requests at most, and the line in one after it.
        """
        form = self.endpoint.prompt_format
        if form and begun:
            self.endpoint = replace(self.endpoint, prompt_format=replace(form, no_thought=form.no_thought + begun))
        try:
            return await (self._ask_as_taken if trial == "product" else self._ask)(_STEPS[trial])
        finally:
            self.endpoint = replace(self.endpoint, prompt_format=form)

    async def ask_once(self, request: Request) -> Attempt:
        """The last attempt at a request that is no trial. Raises EndOfInquiry where the budget does not allow it."""
        worst_usd = worst_case_usd(request, self.endpoint.price, self.endpoint.dialect.min_tokens)
        last, _ = await self._send(request.probe_id, self.endpoint, request, worst_usd)
        return last

    async def ask(self, trials: Sequence[Trial]) -> None:
        """Send every request of these that can show something, in this order. Raises EndOfInquiry."""
        for step in (_STEPS[trial] for trial in trials):
            if step.trial == "plain":
                await self._ask_plain(step)
            elif step.trial == "greedy":
                await self._ask_for_logprobs(step)
            elif self._can_show(step.trial):
                seen = await self._ask(step)
                if step.trial == "sample" and seen.refused:
                    self._sampling = self.temperature  # so that what is refused from here on is not its temperature

    def _can_show(self, trial: Trial) -> bool:
        if trial == "half":
            return self._sampling == SAMPLING and listed(self.trials.get("sample")) > 0
        if trial in ("sample_again", "seed_again"):
            before = self.trials["sample" if trial == "sample_again" else "seed"]
            return before.response is not None
        return True

    async def _ask_plain(self, step: _Step) -> None:
        """The plainest request, made so that the endpoint takes it, or the end."""
        seen = await self._ask_as_taken(step)
        if seen.response is None:
            raise EndOfInquiry("unavailable", seen.error)

    async def _ask_as_taken(self, step: _Step) -> Seen:
        """Send a request, and twice at most again as its refusals want it."""
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
            elif "temperature" in words and not self.temperature:
                self.trials["temperature_0"] = seen
                self.temperature = self._sampling = _pinned(words) or self.endpoint.temperature or SAMPLING
            else:
                break
            self.endpoint = replace(self.endpoint, dialect=dialect)
            seen = await self._ask(step)
        return seen

    async def _ask_for_logprobs(self, step: _Step) -> None:
        """The first request with log-probabilities: as many as are accepted, in the form that is."""
        seen = await self._ask(step)
        form, lowest = self.endpoint.dialect.logprobs, self.seq - FEWER
        if seen.failed:
            seen = await self._ask_beside_none(step, seen)
        if seen.failed or not seen.refused:
            return
        self.trials["top_20"] = seen
        tried, untried = {(self.top, form)}, _fewer(seen.error, form)
        while untried and self.seq > lowest:
            tried.add(untried[0])
            seen = await self._ask_listing(step, *untried[0])
            if not seen.refused:
                return
            named = [(k, untried[0][1]) for k in _caps(seen.error)]
            untried = [it for it in (*named, *untried) if it not in tried]
        await self._ask_listing(step, 0, form)

    async def _ask_beside_none(self, step: _Step, failed: Seen) -> Seen:
        """Ask again what the server has failed at, if it answers without log-probabilities; none where it fails again.

        What fails both times, and not between, fails because of them.
        """
        top, form = self.top, self.endpoint.dialect.logprobs
        without = await self._ask_listing(step, 0, form)
        self.top = top
        if without.response is None:
            self.trials[step.trial] = failed
            return failed
        again = await self._ask(step)
        if again.failed:
            self.top = 0
            self.trials |= {"top_20": again, step.trial: without}
        return again

    async def _ask_listing(self, step: _Step, top: int, form: LogprobsForm) -> Seen:
        """Send a request for so many log-probabilities in that form, as all are sent from here on."""
        self.top = top
        self.endpoint = replace(self.endpoint, dialect=replace(self.endpoint.dialect, logprobs=form))
        return await self._ask(step)

    async def _ask(self, step: _Step) -> Seen:
        """Send one request and note how it ended. Raises EndOfInquiry where no other can be answered."""
        temperature, top = self._temperature(step), self._lists(step)
        request = Request(step.trial, step.messages, step.max_tokens, temperature, top, step.tools)
        worst_usd = _worst_case_usd(step, self.endpoint)
        last, bodies = await self._send(step.trial, self._endpoint_of(step), request, worst_usd)
        seen = _seen(last, bodies)
        self.trials[step.trial] = seen
        self._on_seen(step.trial, seen)
        self._unanswered = 0 if seen.response or seen.refused or seen.thought else self._unanswered + 1
        self._answered |= seen.response is not None
        barred = last.fatal and last.http_status in _FATAL and step.trial != "echo"  # which goes to another address
        if barred or self._unanswered == UNANSWERED_IN_A_ROW:
            raise EndOfInquiry("unavailable", seen.error)
        return seen

    async def _send(
        self, name: str, endpoint: Endpoint, request: Request | None, worst_usd: float | None
    ) -> tuple[Attempt, list[bytes]]:
        """The last attempt at one request, None for `/models`, and the bodies of its answers. Raises EndOfInquiry."""
        provider, seq, tries, bodies = self.endpoint.name, self.seq, 0, list[bytes]()
        while (reserved := self._budget.reserve(provider, worst_usd)) == "later":
            await asyncio.sleep(POLL_S)
        if reserved != "reserved":
            raise EndOfInquiry("budget", "the budget does not allow another request")
        self.seq -= 1
        started = datetime.now(UTC)
        try:
            async with self._client(endpoint, bodies.append) as client:
                asked = client.ask(request, provider, seq) if request else client.ask_models(provider, seq, name)
                async with contextlib.aclosing(asked):
                    async for attempt in asked:
                        self._keep(attempt, worst_usd)
                        if attempt.settled:
                            return attempt, bodies
                        if not self._budget.allows_retry():
                            raise EndOfInquiry("budget", "the budget does not allow another try")
                        tries, started = tries + 1, datetime.now(UTC)
        except asyncio.CancelledError as error:
            if may_have_been_sent(error):
                self._keep(given_up(PlanItem(provider, seq, name), tries, started), worst_usd)
            raise
        finally:
            self._budget.release(worst_usd)
        raise RuntimeError(f"the client of {provider} ended without a last attempt")

    def _keep(self, attempt: Attempt, worst_usd: float | None) -> None:
        self._on_attempt(replace(attempt, charged_usd=self._budget.charge(attempt, worst_usd)))

    def _temperature(self, step: _Step) -> float:
        if step.temperature is None:
            return self.temperature
        return self._sampling if step.temperature == SAMPLING else step.temperature

    def _lists(self, step: _Step) -> int:
        return 1 if step.trial == "echo" else self.top if step.lists else 0

    def _endpoint_of(self, step: _Step) -> Endpoint:
        endpoint = replace(self.endpoint, extra_body={**self.endpoint.extra_body, **step.extra})
        if step.trial == "stream":
            return replace(endpoint, dialect=replace(endpoint.dialect, stream=True))
        if step.trial == "echo":
            # Where there is any way to have a prompt scored, it is that of the older completions.
            dialect = replace(endpoint.dialect, thinking_off="completions")
            return replace(endpoint, dialect=dialect, prompt_format=_VERBATIM, date_string=None)
        return endpoint

    def _client(self, endpoint: Endpoint, look: Callable[[bytes], None]) -> Client:
        return Client(
            endpoint,
            self._key,
            timeout_s=self._timeout_s,
            max_attempts=ATTEMPTS,
            concurrency=1,
            limiter=self._limiter,
            sleep=self._sleep,
            look=look,
            answered=self._answered,
        )


def _seen(attempt: Attempt, bodies: list[bytes]) -> Seen:
    if attempt.response is not None:
        return Seen(attempt.response, bodies[-1])
    status = attempt.http_status or 0
    refused = 400 <= status < 500 and status not in _FATAL | LATER
    # Within a success: whatever else is wrong is tried again.
    refused |= httpx.codes.is_success(status) and attempt.index < ATTEMPTS - 1 and not attempt.fatal
    error = attempt.error or "no reason given"
    thought = error.startswith(THOUGHT)
    return Seen(error=error, refused=refused and not thought, failed=_is_failure(status), thought=thought)


def _is_failure(status: int) -> bool:
    """Whether a status may speak of a failure, rather than of what was asked or of too many requests.

    TGI says 424 of a generation that failed; where something was answered before, firewalls say 403, aggregators 404.
    """
    return status in (403, 404, 424) or (status >= 500 and status not in TOO_MANY)


def _pinned(words: str) -> float | None:
    """The temperature that a refusal of 0 says is the only one accepted."""
    said = re.search(r"\bonly (\d(?:\.\d+)?)\b", words)
    return t if said and 0 < (t := float(said[1])) <= MOST_WARM else None


def _numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"\b\d{1,4}\b", words)]


def _least_tokens(words: str) -> int | None:
    """The fewest output tokens that a refusal of one token says are accepted."""
    return max((n for n in _numbers(words) if 1 < n <= MOST_LEAST), default=None) if "token" in words else None


def _caps(words: str) -> list[int]:
    """What a refusal of log-probabilities may say is the most that is accepted, the likeliest first, two at most."""
    if "logprobs" not in words:
        return []
    said = [(bool(bound), k) for bound, number in _NUMBER.findall(words) if 0 < (k := int(number)) < TOP]
    bounds = sorted({k for bound, k in said if bound}, reverse=True)
    return bounds[:2] or [max(k for _, k in said)] if said else []


def _fewer(words: str, form: LogprobsForm) -> list[tuple[int, LogprobsForm]]:
    """How many log-probabilities may be accepted, and in which form, where they are refused in these words."""
    caps = _caps(words)
    if _NOT_OFFERED.search(words):
        return [(k, form) for k in caps]
    same = list(dict.fromkeys((*caps, USUAL_MOST)))[:2]
    return [*((k, form) for k in same), (TOP, "integer" if form == "boolean" else "boolean")]
