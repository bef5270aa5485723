"""What the registry knows, as frozen data: providers, models, and the endpoint that a user's word resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

__all__ = ["Declared", "Dialect", "Endpoint", "ModelProfile", "Price", "Provider", "Resolver"]

LogprobsForm = Literal["boolean", "integer"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
ThinkingSwitch = Literal["thinking.type", "chat_template_kwargs", "enable_thinking", "reasoning", "none"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint differs from the plain OpenAI chat-completions form.

    logprobs: "boolean" (`logprobs: true, top_logprobs: k`) or "integer" (`logprobs: k`).
    top_logprobs_max: the largest k it accepts, 0 where it gives none. thinking_off: how a thinking model is told
    not to ("none": nothing needs to be said; None: nobody knows). An endpoint has None where the model does not think.
    pin: the field that pins one upstream of an aggregator, e.g. OpenRouter's `provider`.
    """

    logprobs: LogprobsForm = "boolean"
    top_logprobs_max: int = 20
    max_tokens: MaxTokensField = "max_tokens"
    thinking_off: ThinkingSwitch | None = None
    pin: Literal["openrouter"] | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Declared:
    """The precision a provider declares, where it says so, and when that was read (ISO date)."""

    precision: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody's endpoint: base URL (up to `/v1`), key variable, dialect, and where this is documented.

    local: an engine on this machine, which needs no model id: it lists the one it was started with.
    """

    name: str
    title: str
    base_url: str
    key_env: str | None
    docs: str | None
    dialect: Dialect = Dialect()
    aggregator: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """An open-weight model: its ids and prices by provider, and what its sampling and template demand.

    temperature: the only accepted temperature where the vendor pins it, else None (greedy is asked).
    dated_template: whether its chat template renders today's date. thinks: whether it reasons unless told not to.
    """

    name: str
    title: str
    released_precision: str | None
    first_party: str | None
    ids: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    temperature: Mapping[str, float] = field(default_factory=dict)
    thinks: bool = False
    dated_template: bool = False
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider resolved for one model: all that the client needs, and no secret.

    name: the key of every table. spec: the user's word, which resolves to it again. display: what reports print as
    its address.
    model_id None: ask the endpoint's `/models` and take the only one it lists.
    declared and price are None where nobody says.
    """

    name: str
    display: str
    base_url: str
    model_id: str | None
    key_env: str | None
    dialect: Dialect = Dialect()
    price: Price | None = None
    declared: Declared | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 0.0
    spec: str = ""


class Resolver(Protocol):
    """Turns a user's word for a provider into an endpoint; None where the word is not its to resolve.

    Raises UsageError where it is, but wrongly put. `lab` plugs in here without the rest knowing it.
    """

    def resolve(self, spec: str, model: ModelProfile) -> Endpoint | None:
        """The endpoint for `spec`, or None."""

    def names(self) -> tuple[str, ...]:
        """The words it knows, for suggestions."""
