"""What the supervisor tells the lab's child processes, one JSON line each."""

from __future__ import annotations

from dataclasses import dataclass

from qcheck.lab.catalog import EngineSettings

__all__ = ["EngineStart", "GatewayStart", "Upstream"]


@dataclass(frozen=True, slots=True)
class EngineStart:
    """The first and only message to an engine: a GGUF file and how to serve it."""

    model: str
    settings: EngineSettings


@dataclass(frozen=True, slots=True)
class GatewayStart:
    """The first message to the gateway: the file that who really answered is appended to."""

    truth_log: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """A later message to the gateway: where one provider's requests go.

    engines: (deployment, URL) pairs, the usual one first. The second, if there is one, gets each request with
    probability `fraction`, drawn from `seed` and the provider's name.
    """

    provider: str
    engines: tuple[tuple[str, str], ...]
    fraction: float
    system_prompt: str | None
    seed: int
