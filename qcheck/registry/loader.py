"""Reads what ships in `data/`: providers and models. The schema is documented at the top of each file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.address import check_base_url
from qcheck.registry.types import (
    Dialect,
    LogprobsForm,
    MaxTokensField,
    ModelProfile,
    Price,
    PromptFormat,
    Provider,
    ThinkingSwitch,
)

__all__ = [
    "DialectSettings",
    "ModelId",
    "Name",
    "PriceRow",
    "get_model",
    "load_models",
    "load_providers",
    "parse_models",
    "parse_providers",
    "parse_toml",
]

T = TypeVar("T")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
ModelId = Annotated[str, Field(pattern=r"^[!-~]+$", max_length=200)]
# Upper case only: a key pasted here by mistake is refused, and so never repeated in a message.
_Variable = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$", max_length=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PriceRow(_Strict):
    """US dollars per million tokens."""

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)

    def price(self) -> Price:
        """The same as plain data."""
        return Price(self.input, self.output)


class DialectSettings(_Strict):
    """What both providers.toml and qcheck.toml may say of an endpoint; None where they say nothing."""

    key_env: _Variable | None = None
    logprobs: LogprobsForm | None = None
    top_logprobs_max: int | None = Field(default=None, ge=0, le=100)
    after_temperature: bool | None = None
    max_tokens: MaxTokensField | None = None
    min_tokens: int | None = Field(default=None, ge=1, le=4096)
    stream: bool | None = None
    thinking_off: ThinkingSwitch | None = None

    def dialect(self, base: Dialect) -> Dialect:
        """`base` with what is said here put over it."""
        said = self.model_dump(include=set(DialectSettings.model_fields) - {"key_env"}, exclude_none=True)
        return replace(base, **said)


class _ProviderRow(DialectSettings):
    title: str = Field(min_length=1)
    base_url: str
    docs: str | None = None
    local: bool = False
    pin: Literal["openrouter", "suffix"] | None = None


class _ServedRow(_Strict):
    id: ModelId
    price: PriceRow | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)


class _PromptFormatRow(_Strict):
    user: str = Field(pattern=r"\{content\}")
    assistant: str = Field(pattern=r"\{content\}")
    system: str = Field(pattern=r"\{content\}")
    answer: str
    no_thought: str
    begin: str = ""


class _ModelRow(_Strict):
    title: str = Field(min_length=1)
    released_precision: str | None = None
    first_party: Name | None = None
    thinks: bool = False
    thinks_always: bool = False
    prompt_format: _PromptFormatRow | None = None
    dated_template: bool = False
    source: str | None = None
    providers: dict[Name, _ServedRow] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _first_party_serves(self) -> Self:
        if self.first_party is not None and self.first_party not in self.providers:
            raise ValueError("first_party names a provider without a table of its own")
        return self


def parse_toml(data: bytes, where: str, schema: TypeAdapter[T]) -> T:
    """`data` as the schema wants it.

    Raises ConfigurationError, which says where the mistake is and never repeats what stands there.
    """
    try:
        return schema.validate_python(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(f"{where}: {place!r}: {first['msg']}.") from None
    except ValueError as error:  # not UTF-8, not TOML
        raise ConfigurationError(f"{where} is not valid TOML: {error}.") from None


def parse_providers(data: bytes, where: str) -> Mapping[str, Provider]:
    """Providers by name, in file order. Raises ConfigurationError."""
    rows = parse_toml(data, where, TypeAdapter(dict[Name, _ProviderRow]))
    return MappingProxyType(
        {
            name: Provider(
                name=name,
                title=row.title,
                base_url=check_base_url(row.base_url, f"{where}: {name}"),
                key_env=row.key_env,
                docs=row.docs,
                dialect=row.dialect(Dialect(pin=row.pin)),
                aggregator=row.pin is not None,
                local=row.local,
            )
            for name, row in rows.items()
        }
    )


def parse_models(data: bytes, where: str) -> Mapping[str, ModelProfile]:
    """Model profiles by name, in file order. Raises ConfigurationError."""
    rows = parse_toml(data, where, TypeAdapter(dict[Name, _ModelRow]))
    return MappingProxyType(
        {
            name: ModelProfile(
                name=name,
                title=row.title,
                released_precision=row.released_precision,
                first_party=row.first_party,
                ids={p: served.id for p, served in row.providers.items()},
                prices={p: served.price.price() for p, served in row.providers.items() if served.price},
                temperature={p: s.temperature for p, s in row.providers.items() if s.temperature is not None},
                thinks=row.thinks,
                thinks_always=row.thinks_always,
                prompt_format=PromptFormat(**row.prompt_format.model_dump()) if row.prompt_format else None,
                dated_template=row.dated_template,
                source=row.source,
            )
            for name, row in rows.items()
        }
    )


def _shipped(name: str) -> bytes:
    return (files("qcheck.registry") / "data" / name).read_bytes()


@cache
def load_providers() -> Mapping[str, Provider]:
    """The shipped providers by name."""
    return parse_providers(_shipped("providers.toml"), "qcheck/registry/data/providers.toml")


@cache
def load_models() -> Mapping[str, ModelProfile]:
    """The shipped model profiles by name."""
    return parse_models(_shipped("models.toml"), "qcheck/registry/data/models.toml")


def get_model(name: str) -> ModelProfile:
    """The profile of a model. Raises UnknownNameError with the nearest names."""
    models = load_models()
    if name not in models:
        raise UnknownNameError("model", name, models)
    return models[name]
