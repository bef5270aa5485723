"""What a command finds around it: variables that hold keys, resolvers of provider names, places of baselines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from qcheck.baselines import baseline_roots
from qcheck.cli.messages import Messages
from qcheck.client.listing import openrouter_listing
from qcheck.client.redact import KeyFilter
from qcheck.errors import ConfigurationError
from qcheck.lab.catalog import PREFIX
from qcheck.lab.supervisor import Lab, LabResolver
from qcheck.places import data_folder
from qcheck.registry.config import load_env_file, load_user_config, read_key
from qcheck.registry.loader import load_providers
from qcheck.registry.openrouter import Listing
from qcheck.registry.resolve import RegistryResolver
from qcheck.registry.types import Endpoint, Resolver

__all__ = ["Environment", "baseline_folders", "keys_for", "listings", "open_environment"]


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables (those of the env file win), resolvers in the order of their precedence, folders of baselines.

    started: gives endpoints with the local engines among them running, which start side by side.
    """

    variables: Mapping[str, str]
    resolvers: tuple[Resolver, ...]
    baseline_roots: tuple[Path, ...]
    started: Callable[[Sequence[Endpoint]], tuple[Endpoint, ...]]


def baseline_folders() -> tuple[Path, ...]:
    """Where baselines are looked for, nearest first."""
    return baseline_roots(data_folder())


@contextlib.contextmanager
def open_environment(
    messages: Messages, env_file: Path | None, seed: int | None = None, *, allow_http: bool = False
) -> Iterator[Environment]:
    """The environment of a command; what it started has ended when it closes. `seed` is of the lab's routing.

    Raises ConfigurationError for a qcheck.toml or an env file that cannot be read.
    """
    variables = dict(os.environ) | (load_env_file(env_file) if env_file else {})

    with LabResolver(lambda: Lab(seed=seed, on_progress=messages.detail)) as lab:

        def started(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
            if local := [e.name.removeprefix(PREFIX) for e in endpoints if e.name.startswith(PREFIX)]:
                messages.note(f"starting local engines for {', '.join(local)}")
            return lab.started(endpoints)

        config = load_user_config()
        for word, near in config.misspelt(load_providers()):
            messages.note(
                f"note: qcheck.toml has a table for {word}, which holds for {word}=https://… alone: is it {near}?"
            )
        registry = RegistryResolver(
            config,
            allow_http=allow_http,
            listing=listings(messages),
            tell=lambda words: messages.note(f"note: {words}"),
        )
        yield Environment(variables, (lab, registry), baseline_folders(), started)


def listings(messages: Messages) -> Callable[[str], Listing | None]:
    """What OpenRouter lists of the upstreams of a model, by its id there: asked for once, and never needed."""

    @cache
    def listing(model_id: str) -> Listing | None:
        return openrouter_listing(model_id, datetime.now(UTC), lambda failure: messages.note(f"note: {failure}"))

    return listing


def keys_for(endpoints: Sequence[Endpoint], variables: Mapping[str, str]) -> dict[str, str | None]:
    """The key of every endpoint by its name; None where none is needed. Raises ConfigurationError for all at once."""
    keys: dict[str, str | None] = {}
    problems = []
    for endpoint in endpoints:
        try:
            key = keys[endpoint.name] = read_key(endpoint, variables)
            if KeyFilter(key).found_in(endpoint.base_url):
                raise ConfigurationError(
                    f"the URL of {endpoint.name} holds the key in {endpoint.key_env}, and would stand in the run's "
                    "files: give the address without it."
                )
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError(" ".join(problems))
    return keys
