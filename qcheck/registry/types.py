"""What the registry knows, as frozen data: providers, models, and the endpoint that a user's word resolves to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal, Protocol

__all__ = [
    "BEGUN",
    "UNTOLD",
    "WRITTEN",
    "Declared",
    "Dialect",
    "Endpoint",
    "ModelProfile",
    "PlainSamples",
    "Price",
    "PromptFormat",
    "Provider",
    "Resolver",
    "Source",
    "ThinkingSwitch",
    "Untold",
]

LogprobsForm = Literal["boolean", "integer"]
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
# A switch, an answer that is begun for the model ("partial" and what follows), a whole prompt, nothing, or no way.
ThinkingSwitch = Literal[
    "thinking.type", "chat_template_kwargs", "enable_thinking", "reasoning", "reasoning_effort",
    "partial", "prefix", "assistant", "continue_final_message",
    "completions", "none", "never",
]  # fmt: skip
PlainSamples = Literal["openai", "vllm", "llama.cpp"]
BEGUN: Final = frozenset[ThinkingSwitch]({"partial", "prefix", "assistant", "continue_final_message"})
WRITTEN: Final = BEGUN | {"completions"}  # what needs the model's `PromptFormat`
# Nobody has said a way: it is still to be found out at the endpoint, or was not to be found there.
Untold = Literal["unknown", "not found"]
UNTOLD: Final = frozenset[Untold]({"unknown", "not found"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint differs from the plain OpenAI chat-completions form.

    logprobs: "boolean" (`logprobs: true, top_logprobs: k`) or "integer" (`logprobs: k`).
    top_logprobs_max: the largest k it accepts, 0 where it gives none. after_temperature: whether what it gives are
    those of the distribution that it samples from, not the model's; None where nobody knows. min_tokens: the fewest
    output tokens it accepts. stream: whether it answers in streams alone. thinking_off: how a thinking model is brought
    to answer at once ("none": nothing needs to be said; "never": it cannot be; None: nothing is said of the provider).
    An endpoint has None where the model does not think, or thinks wherever it is served, and one of `Untold` where it
    is not known. pin: how one upstream of an aggregator is pinned: by OpenRouter's field `provider`, behind the model's
    id ("suffix"), or by Vercel's `providerOptions`. plain_samples: in whose form it is asked, at any temperature, to
    cut no tail of what it draws from and to apply no penalties, where it is known to keep to that; None where nobody
    knows, and nothing of this is asked. stated: the fields that the user's qcheck.toml gives, which nothing that is
    found at the endpoint changes.
    """

    logprobs: LogprobsForm = "boolean"
    top_logprobs_max: int = 20
    after_temperature: bool | None = None
    max_tokens: MaxTokensField = "max_tokens"
    min_tokens: int = 1
    stream: bool = False
    thinking_off: ThinkingSwitch | Untold | None = None
    pin: Literal["openrouter", "suffix", "vercel"] | None = None
    plain_samples: PlainSamples | None = None
    stated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A model's chat template for turns of plain text, for those who are given a prompt or the beginning of an answer.

    begin: what stands before the first turn, without a token that the endpoint's tokenizer adds by itself. system,
    user, assistant: a turn, with {content} where its words stand. answer: what opens the answer. no_thought: what an
    answer without a thought begins with.
    """

    user: str
    assistant: str
    system: str
    answer: str
    no_thought: str
    begin: str = ""

    def turn(self, role: str) -> str:
        """The form of a turn."""
        return {"user": self.user, "assistant": self.assistant, "system": self.system}[role]


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
class Source:
    """Where a fact was read, and when (ISO date)."""

    at: str
    read: str


@dataclass(frozen=True, slots=True)
class Provider:
    """Somebody's endpoint: base URL (up to `/v1`), key variable, dialect, and where this is documented.

    aggregator: whether it sends requests on to upstreams of others; `dialect.pin` says how one is pinned, if at all.
    plan: whether a subscription or a free quota pays for requests, which allows only so many. local: an engine on this
    machine, which needs no model id: it lists the one it was started with.
    sources: by trait, as providers.toml names them. unverified: the traits stated there without a source. undocumented:
    where the provider was seen not to say what a trait is, by trait.
    """

    name: str
    title: str
    base_url: str
    key_env: str | None
    docs: str | None
    dialect: Dialect = Dialect()
    aggregator: bool = False
    plan: bool = False
    local: bool = False
    sources: Mapping[str, Source] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    undocumented: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """An open-weight model: its ids and prices by provider, and what its sampling and template demand.

    temperature: the only accepted temperature where the vendor pins it, else None (greedy is asked).
    retires: from which day on a provider serves it no more. declared: by its id or documentation.
    thinking_off: where a provider wants it said otherwise than for its other models.
    dated_template: whether its chat template renders today's date; False where nobody knows. thinks: whether it reasons
    unless told not to; thinks_always: whatever it is told, so that the tokens of its thoughts are what is observed, at
    every provider. prompt_format: its chat template, where that is known. sources: by trait, as models.toml names them.
    unverified: the traits without a source.
    """

    name: str
    title: str
    released_precision: str | None
    first_party: str | None
    ids: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    temperature: Mapping[str, float] = field(default_factory=dict)
    retires: Mapping[str, date] = field(default_factory=dict)
    declared: Mapping[str, Declared] = field(default_factory=dict)
    thinking_off: Mapping[str, ThinkingSwitch] = field(default_factory=dict)
    thinks: bool = False
    thinks_always: bool = False
    prompt_format: PromptFormat | None = None
    dated_template: bool = False
    sources: Mapping[str, Source] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()

    def retired(self, provider: str, on: date) -> bool:
        """Whether `provider` no longer serves it on that day."""
        return provider in self.retires and on >= self.retires[provider]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider resolved for one model: all that the client needs, and no secret.

    name: the key of every table. spec: the user's word, which resolves to it again. display: what reports print as
    its address.
    model_id None: ask the endpoint's `/models` and take the only one it lists.
    declared and price are None where nobody says. thinks_always, prompt_format: the model's. date_string: the date that
    a dated chat template is given, None where it renders today's. allow_http: whether the user permits plain http to
    another machine. unpinned: whether it sends each request on to whatever upstream it likes.
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
    thinks_always: bool = False
    prompt_format: PromptFormat | None = None
    spec: str = ""
    date_string: str | None = None
    allow_http: bool = False
    unpinned: bool = False


class Resolver(Protocol):
    """Turns a user's word for a provider into an endpoint; None where the word is not its to resolve.

    Raises UsageError where it is, but wrongly put. `lab` plugs in here without the rest knowing it.
    """

    def resolve(self, spec: str, model: ModelProfile) -> Endpoint | None:
        """The endpoint for `spec`, or None."""

    def names(self) -> tuple[str, ...]:
        """The words it knows, for suggestions."""
