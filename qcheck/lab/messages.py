"""What the supervisor tells the lab's child processes, one JSON line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qcheck.lab.catalog import EngineSettings, TorchSettings

__all__ = ["EngineStart", "GatewayStart", "Upstream"]


@dataclass(frozen=True, slots=True)
class EngineStart:
    """The first and only message to an engine: a GGUF file, how to serve it, and values for its chat template."""

    model: str
    settings: EngineSettings | TorchSettings
    template: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayStart:
    """The first message to the gateway: the file that who really answered is appended to."""

    truth_log: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """A later message to the gateway: one more provider.

    path: where it is served, `/PATH/v1`. provider: its spec, as the truth log names it. engines: URL by deployment.
    seed: of its draws.
    """

    path: str
    provider: str
    model_id: str
    engines: Mapping[str, str]
    seed: int
