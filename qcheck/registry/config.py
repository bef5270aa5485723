"""What the user brings along: `qcheck.toml`, keys in the environment, and `--env-file`.

[providers.NAME]                     # a registry provider, or the NAME of NAME=https://…
key_env = "EXAMPLE_API_KEY"          # the variable that holds the key, never the key itself
logprobs = "integer"                 # else "boolean"
top_logprobs_max = 5                 # else 20; 0 where none are given
after_temperature = true             # its log-probabilities are those of what is sampled from; false: the model's
max_tokens = "max_completion_tokens" # else "max_tokens"
min_tokens = 16                      # the fewest output tokens it accepts; else 1
stream = true                        # it answers in streams alone
thinking_off = "enable_thinking"     # how a thinking model is brought to answer at once (docs/dialects.md)
plain_samples = "vllm"               # asked in vLLM's form, it cuts no tail and penalises nothing (docs/scored-text.md)
date_string = "26 Jul 2024"          # the date for a chat template that renders one, where the endpoint passes it on

[providers.NAME.models."kimi-k2.6"]  # what holds for one model alone; a name with a dot needs its quotes
model_id = "org/Model"               # else the profile's id, else the only one that /models lists
price = { input = 0.5, output = 2.0 }  # US dollars per million tokens; zeros for what a plan pays for
declared = "fp8"                     # the precision that the provider declares
thinking_off = "none"                # where this model is told otherwise than the others
prompt_format = { … }                # its chat template, for text that the endpoint is to score (docs/scored-text.md)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.loader import get_model
from qcheck.registry.rows import DialectSettings, Line, ModelId, PriceRow, PromptFormatRow, Row, must, parse_toml
from qcheck.registry.types import Dialect, Endpoint, ThinkingSwitch

__all__ = [
    "EndpointSettings",
    "ModelSettings",
    "ProviderSettings",
    "UserConfig",
    "load_env_file",
    "load_user_config",
    "read_key",
    "table_of",
]

_Word = Annotated[
    str, must(r"[a-z0-9][a-z0-9._/-]{0,199}", "a provider as --providers takes it, or the NAME of NAME=https://…")
]
_KEY = re.compile(r"[!-~]+")
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")


def _known_model(name: str) -> str:
    try:
        return get_model(name).name
    except UnknownNameError as error:
        raise ValueError(f'names an {error} A name with a dot stands in quotes, as in models."kimi-k2.6".') from None


class ModelSettings(Row):
    """One table `[providers.NAME.models.MODEL]` of qcheck.toml: what holds for one model alone."""

    model_id: ModelId | None = None
    price: PriceRow | None = None
    declared: Line | None = None
    thinking_off: ThinkingSwitch | None = None
    prompt_format: PromptFormatRow | None = None


class ProviderSettings(DialectSettings):
    """One table `[providers.NAME]` of qcheck.toml; None where it says nothing."""

    date_string: Line | None = None
    models: dict[Annotated[str, AfterValidator(_known_model)], ModelSettings] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_one_model(cls, table: Any) -> Any:
        """An id that held for every model would have the wrong weights asked, and an honest provider accused."""
        misplaced = (name for name in ("model_id", "price", "declared") if isinstance(table, dict) and name in table)
        if name := next(misplaced, None):
            raise ValueError(f"says {name} of no model in particular: put it into a table `models.MODEL` below.")
        return table


class EndpointSettings(DialectSettings):
    """What all tables together say of one model at one provider."""

    date_string: str | None = None
    model_id: str | None = None
    price: PriceRow | None = None
    declared: str | None = None
    prompt_format: PromptFormatRow | None = None

    def dialect(self, base: Dialect) -> Dialect:
        """`base` with what the user states put over it, and marked as stated."""
        return replace(super().dialect(base), stated=tuple(self._said()))


class UserConfig(Row):
    """`qcheck.toml`: a table for each provider it speaks of."""

    providers: dict[_Word, ProviderSettings] = Field(default_factory=dict)

    def misspelt(self, known: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Tables that are those of no `known` provider, and the known one that each may have been meant for."""
        names = list(known)
        for word in dict.fromkeys(table.partition("/")[0] for table in self.providers):
            if word not in names and (near := difflib.get_close_matches(word, names, n=1, cutoff=0.8)):
                yield word, near[0]

    def settings(self, spec: str, model: str) -> EndpointSettings:
        """What is said of `model` at the provider `spec`.

        Field by field the more specific table wins: `openrouter/novita/fp8` goes over `openrouter/novita`, and that
        over `openrouter`; and of each, its table for the model goes over the rest.
        """
        said: dict[str, Any] = {}
        words = spec.split("/")
        for length in range(1, len(words) + 1):
            if table := self.providers.get("/".join(words[:length])):
                for part in filter(None, (table, table.models.get(model))):
                    said |= {name: value for name, value in part if name in part.model_fields_set}
        said.pop("models", None)
        return EndpointSettings(**said)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or type(error).__name__}.") from error


def load_user_config(path: Path | None = None) -> UserConfig:
    """The configuration at `path`, or in ./qcheck.toml if there is one, else an empty one.

    Raises ConfigurationError where the file cannot be read or does not hold what it should.
    """
    if path is None:
        path = Path("qcheck.toml")
        if not (path.exists() or path.is_symlink()):
            return UserConfig()
    return parse_toml(_read(path), str(path), TypeAdapter(UserConfig))


def table_of(provider: str, model: str) -> str:
    """The head of the table of qcheck.toml that holds for one model alone."""

    def quoted(name: str) -> str:
        return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'

    return f"[providers.{quoted(provider)}.models.{quoted(model)}]"


def read_key(endpoint: Endpoint, environ: Mapping[str, str]) -> str | None:
    """The key for `endpoint`, or None where it needs none.

    Raises ConfigurationError, which names the variable and never its value, where it is missing or unusable.
    """
    if endpoint.key_env is None:
        return None
    key = environ.get(endpoint.key_env, "").strip()
    if not key:
        raise ConfigurationError(
            f"{endpoint.name} needs a key: set the environment variable {endpoint.key_env}, or use an --env-file."
        )
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"the key in {endpoint.key_env} holds a space or another character no key has.")
    return key


def _env_value(text: str) -> str | None:
    """The value in `text`, which may be quoted and followed by a comment; None where a quote is not closed."""
    if text[:1] not in ("'", '"'):
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
    value, closed, rest = text[1:].partition(text[0])
    return value if closed and (not rest.strip() or rest.lstrip().startswith("#")) else None


def load_env_file(path: Path) -> dict[str, str]:
    """The variables of an `--env-file`: lines `KEY=VALUE`, with `export`, quotes, comments and empty lines allowed.

    Raises ConfigurationError that gives the number of the line and never what stands there.
    """
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text.") from None
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(stripped)
        value = _env_value(match[2]) if match else None
        if match is None or value is None:
            raise ConfigurationError(f"{path} line {number}: write KEY=VALUE, with every quote closed.")
        if match[1] in variables:
            raise ConfigurationError(f"{path} line {number}: {match[1]} stands twice.")
        variables[match[1]] = value
    return variables
