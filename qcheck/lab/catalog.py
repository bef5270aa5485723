"""What the lab can serve: deployments of one small model, and the providers that sell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "CONTEXT_TOKENS",
    "DEPLOYMENTS",
    "MODEL_ID",
    "PREFIX",
    "PROVIDERS",
    "Deployment",
    "EngineSettings",
    "Format",
    "Kind",
    "LabProvider",
    "Route",
]

Format = Literal["F16", "F32", "BF16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K"]
Kind = Literal["reference", "held-out", "variant", "gateway"]

MODEL_ID: Final = "lab-tiny"
PREFIX: Final = "lab/"  # of a lab provider's name wherever other providers stand beside it
CONTEXT_TOKENS: Final = 320

_RELEASE: Final = "lab-tiny-f16.gguf"
_FINETUNED: Final = "lab-tiny-finetuned-f16.gguf"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one llama.cpp server runs. With one slot and no prompt cache its answers repeat bit for bit.

    batch, ubatch: logical and physical batch size in tokens. repack: whether weights may be re-laid for the CPU.
    """

    threads: int = 1
    slots: int = 1
    batch: int = CONTEXT_TOKENS
    ubatch: int = CONTEXT_TOKENS
    flash_attention: bool = False
    cache_prompt: bool = False
    repack: bool = True


@dataclass(frozen=True, slots=True)
class Deployment:
    """One concrete way of serving weights: an F16 file of the models folder, the format it is brought to, settings."""

    name: str
    description: str
    format: Format = "F16"
    settings: EngineSettings = EngineSettings()
    model_file: str = _RELEASE


@dataclass(frozen=True, slots=True)
class Route:
    """A share of the requests, drawn request by request, that another deployment answers."""

    fraction: float
    deployment: str


@dataclass(frozen=True, slots=True)
class LabProvider:
    """One provider of the lab, `lab/NAME` to users.

    kind: "reference" (honest, belongs in the baseline), "held-out" (honest, kept out of it so that the envelope
    can be tested), "variant" (other weights), "gateway" (an honest deployment behind something that is not).
    """

    name: str
    deployment: str
    description: str
    kind: Kind
    route: Route | None = None
    system_prompt: str | None = None

    @property
    def deployments(self) -> tuple[str, ...]:
        """The deployments that may answer, the usual one first."""
        return (self.deployment, self.route.deployment) if self.route else (self.deployment,)


_REFERENCE = (
    Deployment("honest", "F16 weights, one request at a time, nothing cached"),
    Deployment("honest-flash", "F16 weights, flash attention", settings=EngineSettings(flash_attention=True)),
    Deployment(
        "honest-batch",
        "F16 weights, 8 slots and a prompt cache: the noise of batching",
        settings=EngineSettings(slots=8, cache_prompt=True),
    ),
    Deployment("honest-f32", "F32 weights", "F32"),
    Deployment("honest-bf16", "BF16 weights", "BF16"),
    Deployment(
        "honest-ubatch",
        "F16 weights, prompts in pieces of 4 tokens, a prompt cache",
        settings=EngineSettings(ubatch=4, cache_prompt=True),
    ),
)
_HELD_OUT = (
    Deployment(
        "honest-b",
        "F32 weights, flash attention, prompts in pieces of 32 tokens",
        "F32",
        EngineSettings(ubatch=32, flash_attention=True),
    ),
    Deployment(
        "honest-c",
        "F16 weights, 4 slots, a prompt cache, flash attention, no repacking, prompts in pieces of 12 tokens",
        settings=EngineSettings(slots=4, ubatch=12, flash_attention=True, cache_prompt=True, repack=False),
    ),
)
_VARIANTS = (
    Deployment("q8_0", "quantised to Q8_0", "Q8_0"),
    Deployment("q6_k", "quantised to Q6_K", "Q6_K"),
    Deployment("q4_k_m", "quantised to Q4_K_M", "Q4_K_M"),
    Deployment("q2_k", "quantised to Q2_K", "Q2_K"),
    Deployment("other-model", "a fine-tuned copy in F16", model_file=_FINETUNED),
)


def _routed(percent: int, deployment: str) -> LabProvider:
    return LabProvider(
        f"route-{percent}pct-{deployment}",
        "honest",
        f"honest, but {percent} % of the requests go to {deployment}",
        "gateway",
        route=Route(percent / 100, deployment),
    )


_GATEWAYS = (
    _routed(5, "q4_k_m"),
    _routed(10, "q4_k_m"),
    _routed(50, "q4_k_m"),
    _routed(10, "other-model"),
    LabProvider(
        "hidden-prompt",
        "honest",
        "honest, but a system prompt is put before the messages",
        "gateway",
        system_prompt="You are a helpful assistant.",
    ),
)


def _plain(deployments: tuple[Deployment, ...], kind: Kind) -> tuple[LabProvider, ...]:
    return tuple(LabProvider(d.name, d.name, d.description, kind) for d in deployments)


DEPLOYMENTS: Final[Mapping[str, Deployment]] = {d.name: d for d in _REFERENCE + _HELD_OUT + _VARIANTS}
PROVIDERS: Final[Mapping[str, LabProvider]] = {
    p.name: p
    for p in (
        *_plain(_REFERENCE, "reference"),
        *_plain(_HELD_OUT, "held-out"),
        *_plain(_VARIANTS, "variant"),
        *_GATEWAYS,
    )
}
