"""What a command finds around it: variables that hold keys, resolvers of provider names, places of baselines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qcheck.baselines import baseline_roots
from qcheck.cli.messages import Messages
from qcheck.errors import ConfigurationError
from qcheck.lab.catalog import PROVIDERS as LAB_PROVIDERS
from qcheck.lab.supervisor import Lab, LabResolver
from qcheck.registry.config import load_env_file, load_user_config, read_key
from qcheck.registry.resolve import RegistryResolver
from qcheck.registry.types import Endpoint, Resolver
from qcheck.run.folder import default_base

__all__ = ["Environment", "baseline_folders", "keys_for", "open_environment"]

LAB = "lab/"


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables (those of the env file win), resolvers in the order of their precedence, folders of baselines."""

    variables: Mapping[str, str]
    resolvers: tuple[Resolver, ...]
    baseline_roots: tuple[Path, ...]


def baseline_folders() -> tuple[Path, ...]:
    """Where baselines are looked for, nearest first."""
    return baseline_roots(default_base().parent)


@contextlib.contextmanager
def open_environment(messages: Messages, env_file: Path | None, specs: Sequence[str]) -> Iterator[Environment]:
    """The environment of a command about the providers `specs`; what it started has ended when it closes.

    Local engines start when the first lab provider is resolved, all that `specs` want side by side. Raises
    ConfigurationError for a qcheck.toml or an env file that cannot be read.
    """
    variables = dict(os.environ) | (load_env_file(env_file) if env_file else {})
    wanted = [s.removeprefix(LAB) for s in specs if s.startswith(LAB) and s.removeprefix(LAB) in LAB_PROVIDERS]

    def open_lab() -> Lab:
        messages.note(f"starting local engines for {', '.join(wanted)}")
        lab = Lab(on_progress=messages.detail)
        try:
            lab.endpoints(wanted)
        except BaseException:
            lab.close()
            raise
        return lab

    with LabResolver(open_lab) as lab_resolver:
        yield Environment(variables, (RegistryResolver(load_user_config()), lab_resolver), baseline_folders())


def keys_for(endpoints: Sequence[Endpoint], variables: Mapping[str, str]) -> dict[str, str | None]:
    """The key of every endpoint by its name; None where none is needed. Raises ConfigurationError for all at once."""
    keys: dict[str, str | None] = {}
    problems = []
    for endpoint in endpoints:
        try:
            keys[endpoint.name] = read_key(endpoint, variables)
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError(" ".join(problems))
    return keys
