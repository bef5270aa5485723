"""The schema of the registry's TOML files and of qcheck.toml, and what is said where a file does not keep to it.

`docs/registry.md` documents every field for people.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.types import (
    Dialect,
    LogprobsForm,
    MaxTokensField,
    PlainSamples,
    Price,
    PromptFormat,
    Source,
    ThinkingSwitch,
)

__all__ = [
    "MODEL_TRAITS",
    "PROVIDER_TRAITS",
    "DialectSettings",
    "Line",
    "ModelId",
    "ModelRow",
    "Name",
    "OfferRow",
    "OffersFile",
    "PlaceRow",
    "PriceRow",
    "PromptFormatRow",
    "ProviderRow",
    "Row",
    "ServedRow",
    "SourceRow",
    "by_trait",
    "must",
    "parse_toml",
]

T = TypeVar("T")

PROVIDER_TRAITS = (
    "base_url", "key_env", "aggregator", "pin", "plan", "logprobs", "top_logprobs_max", "after_temperature",
    "max_tokens", "min_tokens", "stream", "thinking_off", "plain_samples",
)  # fmt: skip
MODEL_TRAITS = ("released_precision", "thinks", "dated_template")
MAX_LINE = 300
MOST_USD = 1e6  # per million tokens: no price is higher, and sums of such stay numbers
# Printable to Python, yet nothing is seen: Unicode's Default_Ignorable_Code_Point, and Braille without a dot.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def must(pattern: str, words: str) -> AfterValidator:
    """Accepts what `pattern` matches as a whole; `words` tell what that is. What stands there is never repeated."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}")
        return text

    return AfterValidator(check)


def _line(text: str) -> str:
    """A text that reads as it is: what cannot be seen would make one word look like another."""
    if not (text.strip() and len(text) <= MAX_LINE and text.isprintable() and not _BLANK.search(text)):
        raise ValueError(f"must be a line of at most {MAX_LINE} characters, none of them invisible")
    return text


Name = Annotated[
    str,
    must(r"[a-z0-9][a-z0-9._-]{0,63}", "a name of at most 64 lower-case letters, digits, dots, dashes, underscores"),
]
ModelId = Annotated[str, must(r"[!-~]{1,200}", "an id of at most 200 printable characters without spaces")]
Line = Annotated[str, AfterValidator(_line)]
_Turn = Annotated[str, must(r"(?s:.*\{content\}.*)", "a text with {content} where the turn's words stand")]
# Upper case only: a key pasted here by mistake is refused.
_Variable = Annotated[
    str, must(r"[A-Z0-9_]{1,100}", "the name of an environment variable in capitals, never the key itself")
]


class Row(BaseModel):
    """A table. A field that does not belong there is named, with those that do."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, table: Any) -> Any:
        unknown = (
            next((name for name in table if name not in cls.model_fields), None) if isinstance(table, dict) else None
        )
        if unknown is not None:
            raise ValueError(f"has an {UnknownNameError('field', str(unknown), cls.model_fields)}")
        return table


class PriceRow(Row):
    """US dollars per million tokens."""

    input: float = Field(ge=0, le=MOST_USD, allow_inf_nan=False)
    output: float = Field(ge=0, le=MOST_USD, allow_inf_nan=False)

    def price(self) -> Price:
        """The same as plain data."""
        return Price(self.input, self.output)


class PlaceRow(Row):
    """Where something was read, and when."""

    at: Line
    read: date


class SourceRow(PlaceRow):
    """Where the named traits of an entry were read, or looked for."""

    traits: list[str] = Field(min_length=1)


def by_trait(rows: Iterable[SourceRow]) -> dict[str, Source]:
    """The same by trait."""
    return {trait: Source(row.at, row.read.isoformat()) for row in rows for trait in row.traits}


class _Sourced(Row):
    sources: list[SourceRow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _sources_name_what_is_stated(self) -> Self:
        for trait in (trait for row in self.sources for trait in row.traits):
            if trait not in self.model_fields_set:
                raise ValueError(f"gives a source for {trait!r}, which it does not state")
        return self


class DialectSettings(Row):
    """What both providers.toml and qcheck.toml may say of an endpoint; None where they say nothing."""

    key_env: _Variable | None = None
    logprobs: LogprobsForm | None = None
    top_logprobs_max: int | None = Field(default=None, ge=0, le=100)
    after_temperature: bool | None = None
    max_tokens: MaxTokensField | None = None
    min_tokens: int | None = Field(default=None, ge=1, le=4096)
    stream: bool | None = None
    thinking_off: ThinkingSwitch | None = None
    plain_samples: PlainSamples | None = None

    def dialect(self, base: Dialect) -> Dialect:
        """`base` with what is said here put over it."""
        return replace(base, **self._said())

    def _said(self) -> dict[str, Any]:
        return self.model_dump(include=set(DialectSettings.model_fields) - {"key_env"}, exclude_none=True)


class ProviderRow(DialectSettings, _Sourced):
    """An entry of providers.toml."""

    title: Line
    base_url: str
    docs: Line | None = None
    local: bool = False
    aggregator: bool = False
    plan: bool = False
    pin: Literal["openrouter", "suffix", "vercel"] | None = None
    models_dev: Line | None = None
    undocumented: list[SourceRow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _nothing_stated_is_undocumented(self) -> Self:
        unstated = set(PROVIDER_TRAITS) - self.model_fields_set
        if wrong := by_trait(self.undocumented).keys() - unstated:
            raise ValueError(f"calls {min(wrong)!r} undocumented, which it states or which is no trait")
        return self


class OfferRow(Row):
    """A model at a provider, as models.dev lists it."""

    id: ModelId
    price: PriceRow | None = None
    declared: Line | None = None


class OffersFile(Row):
    """offers.toml: by provider and model."""

    source: Line
    read: date
    offers: dict[Name, dict[Name, OfferRow]]


class ServedRow(Row):
    """What models.toml knows of a model at a provider. It goes over what offers.toml says."""

    id: ModelId
    price: PriceRow | None = None
    declared: Line | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    thinking_off: ThinkingSwitch | None = None
    retires: date | None = None
    source: PlaceRow | None = None

    @model_validator(mode="after")
    def _facts_have_a_source(self) -> Self:
        if self.source is None and self.model_fields_set - {"id", "price"}:
            raise ValueError("states what needs a source = { at = …, read = … }")
        return self

    def over(self, offer: OfferRow | None) -> Self:
        """What is said here, and where nothing is, what `offer` says of the same id."""
        if offer is None or offer.id != self.id:
            return self
        return self.model_copy(update={name: value for name, value in offer if getattr(self, name) is None})


class PromptFormatRow(Row):
    """A model's chat template for turns of plain text."""

    user: _Turn
    assistant: _Turn
    system: _Turn
    answer: str
    no_thought: str
    begin: str = ""

    def prompt_format(self) -> PromptFormat:
        """The same as plain data."""
        return PromptFormat(**self.model_dump())


class ModelRow(_Sourced):
    """An entry of models.toml."""

    title: Line
    aka: list[Name] = Field(default_factory=list)
    released_precision: Line | None = None
    first_party: Name | None = None
    thinks: Literal["never", "switchable", "always"] = "never"
    prompt_format: PromptFormatRow | None = None
    dated_template: bool = False
    providers: dict[Name, ServedRow] = Field(default_factory=dict)


def parse_toml(data: bytes, where: str, schema: TypeAdapter[T]) -> T:
    """`data` as the schema wants it.

    Raises ConfigurationError, which says in which file, entry and field the mistake is and what is allowed there, and
    never repeats the value.
    """
    try:
        return schema.validate_python(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_explained(error)}") from None
    except RecursionError:
        raise ConfigurationError(
            f"{where} is nested too deeply: it holds tables in tables, and nothing deeper."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{where} is not UTF-8 text.") from None
    except ValueError as error:
        raise ConfigurationError(f"{where} is not valid TOML: {error}.") from None


def _explained(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]") or "the file"
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
    else:
        message = first["msg"].replace("Input should", "must").replace("Field required", "is missing")
        message = re.sub(r"a valid dictionary( or instance of \w+)?", "a table", message)
    return f"{place!r} {message}" + ("" if message.endswith(("?", ".")) else ".")
