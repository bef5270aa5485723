"""What the lab can serve: its models, and for each of them deployments, honest and not.

A deployment is weights in a format on an engine with settings. A provider of the lab is a deployment behind the
gateway, which may add traits (`spec.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from qcheck.errors import UnknownNameError

__all__ = [
    "CONTEXT_TOKENS",
    "MODELS",
    "PREFIX",
    "CudaSettings",
    "Deployment",
    "EngineSettings",
    "Format",
    "Kind",
    "LabModel",
    "Source",
    "TorchSettings",
    "Weights",
    "deployments_of",
]

# ggml's formats by their own names, then those that are made by rounding (`rounding.py`).
Format = Literal[
    "F16", "F32", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K",
    "INT8", "FP8", "INT4", "NF4", "PRUNED",
]  # fmt: skip
Kind = Literal["reference", "second", "held-out", "variant", "unrecorded", "gpu-honest", "gpu-variant"]
Source = Literal["release", "other-model", "finetuned", "finetuned-light"]

PREFIX: Final = "lab/"  # of a lab provider's name wherever other providers stand beside it
CONTEXT_TOKENS: Final = 320


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one llama.cpp server runs. With one slot and no prompt cache its answers repeat bit for bit.

    batch, ubatch: logical and physical batch size in tokens. repack: whether weights may be re-laid for the CPU.
    kv: the format of the key-value cache.
    """

    threads: int = 1
    slots: int = 1
    batch: int = CONTEXT_TOKENS
    ubatch: int = CONTEXT_TOKENS
    flash_attention: bool = False
    cache_prompt: bool = False
    repack: bool = True
    kv: Literal["F16", "Q8_0", "Q4_0"] = "F16"


@dataclass(frozen=True, slots=True)
class TorchSettings:
    """How one PyTorch server runs.

    dtype: of weights, activations and logits. batch: how many requests it computes together when so many wait; a
    smaller group is filled up to it with padding rows. pad_to: prompts are padded on the left to a multiple of this.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch: int = 1
    pad_to: int = 1
    threads: int = 1


@dataclass(frozen=True, slots=True)
class CudaSettings(TorchSettings):
    """The same on an NVIDIA GPU.

    tf32: whether float32 matrices are multiplied in TensorFloat-32. fp8: whether the layers' matrices, weights and
    activations, are multiplied in FP8, which needs bfloat16 elsewhere.
    """

    tf32: bool = False
    fp8: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """An F16 GGUF file of the models folder, and a LoRA adapter there to merge into it."""

    file: str
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One concrete way of serving a model.

    kind: "reference" (honest, belongs in the baseline), "second" (honest, another configuration of an arithmetic that
    one reference alone has: what it changes is tried in benchmarks), "held-out" (honest, kept out of the baseline so
    that the envelope can be tested), "variant" (a known deviation), "unrecorded" (one that no baseline has, on which
    those that it has are tried), "gpu-honest" and "gpu-variant" (on a GPU, which nothing may depend on: in no
    baseline). source: whose weights.
    """

    name: str
    kind: Kind
    description: str
    format: Format = "F16"
    settings: EngineSettings | TorchSettings = EngineSettings()
    source: Source = "release"

    @property
    def needs_gpu(self) -> bool:
        """Whether it runs on a GPU alone."""
        return isinstance(self.settings, CudaSettings)


@dataclass(frozen=True, slots=True)
class LabModel:
    """A model of the lab. template: values that its chat template gets unless a request says otherwise."""

    name: str
    description: str
    sources: Mapping[Source, Weights]
    template: Mapping[str, str | bool] = field(default_factory=dict)


_TINY, _TWIN, _MOE = Weights("lab-tiny-f16.gguf"), Weights("lab-twin-f16.gguf"), Weights("lab-moe-f16.gguf")

MODELS: Final[Mapping[str, LabModel]] = {
    m.name: m
    for m in (
        LabModel(
            "lab-tiny",
            "4.7 million parameters, dense",
            {
                "release": _TINY,
                "other-model": _TWIN,
                "finetuned": Weights("lab-tiny-f16.gguf", "lab-tiny-finetuned-lora.gguf"),
                "finetuned-light": Weights("lab-tiny-f16.gguf", "lab-tiny-finetuned-light-lora.gguf"),
            },
        ),
        LabModel("lab-twin", "lab-tiny from another seed and data order", {"release": _TWIN, "other-model": _TINY}),
        LabModel("lab-moe", "a mixture of 8 experts of which 2 answer each token", {"release": _MOE}),
        LabModel(
            "lab-thinking",
            "lab-tiny, taught to reason before it answers unless told not to",
            {"release": Weights("lab-tiny-f16.gguf", "lab-thinking-lora.gguf")},
            {"thinking": True},
        ),
        LabModel(
            "lab-dated", "lab-tiny with a chat template that renders the date", {"release": _TINY}, {"dated": True}
        ),
    )
}

_GGML: Final[tuple[tuple[str, Format], ...]] = (
    ("q8_0", "Q8_0"),
    ("q6_k", "Q6_K"),
    ("q4_k_m", "Q4_K_M"),
    ("q4_0", "Q4_0"),
)
_ROUNDED: Final[tuple[tuple[str, Format, str], ...]] = (
    ("int8", "INT8", "rounded to int8 per output channel"),
    ("fp8", "FP8", "rounded to fp8 E4M3 per output channel"),
    ("int4", "INT4", "rounded to int4 in groups of 128"),
    ("nf4", "NF4", "rounded to NF4 in blocks of 64"),
)

_DEPLOYMENTS: Final = (
    Deployment("honest", "reference", "llama.cpp, F16 weights, one request at a time, nothing cached"),
    Deployment(
        "honest-flash",
        "reference",
        "llama.cpp, F16 weights, flash attention",
        settings=EngineSettings(flash_attention=True),
    ),
    Deployment(
        "honest-batch",
        "reference",
        "llama.cpp, F16 weights, 8 slots and a prompt cache: the noise of batching",
        settings=EngineSettings(slots=8, cache_prompt=True),
    ),
    Deployment("honest-f32", "reference", "llama.cpp, F32 weights", "F32"),
    Deployment("honest-bf16", "reference", "llama.cpp, BF16 weights", "BF16"),
    Deployment(
        "honest-ubatch",
        "reference",
        "llama.cpp, F16 weights, prompts in pieces of 4 tokens, a prompt cache",
        settings=EngineSettings(ubatch=4, cache_prompt=True),
    ),
    Deployment(
        "honest-torch-bf16",
        "reference",
        "PyTorch, bfloat16 throughout, one request at a time",
        settings=TorchSettings(),
    ),
    Deployment(
        "honest-torch-bf16-batch",
        "reference",
        "PyTorch, bfloat16 throughout, batches of 8, prompts padded to multiples of 32",
        settings=TorchSettings(batch=8, pad_to=32),
    ),
    Deployment(
        "honest-torch-fp16",
        "reference",
        "PyTorch, float16 throughout, batches of 4",
        settings=TorchSettings("float16", batch=4),
    ),
    Deployment("honest-torch-f32", "reference", "PyTorch, float32 throughout", settings=TorchSettings("float32")),
    Deployment(
        "honest-bf16-flash",
        "second",
        "llama.cpp, BF16 weights, 4 slots, prompt cache, flash attention, prompts in pieces of 4 tokens",
        "BF16",
        EngineSettings(slots=4, ubatch=4, flash_attention=True, cache_prompt=True),
    ),
    Deployment(
        "honest-bf16-ubatch",
        "second",
        "llama.cpp, BF16 weights, 3 slots, prompt cache, prompts in pieces of 12 tokens",
        "BF16",
        EngineSettings(slots=3, ubatch=12, cache_prompt=True),
    ),
    Deployment(
        "honest-f32-flash",
        "second",
        "llama.cpp, F32 weights, 4 slots, prompt cache, flash attention, prompts in pieces of 4 tokens",
        "F32",
        EngineSettings(slots=4, ubatch=4, flash_attention=True, cache_prompt=True),
    ),
    Deployment(
        "honest-torch-fp16-single",
        "second",
        "PyTorch, float16 throughout, one request at a time",
        settings=TorchSettings("float16"),
    ),
    Deployment(
        "honest-torch-f32-batch",
        "second",
        "PyTorch, float32 throughout, batches of 8, prompts padded to multiples of 32",
        settings=TorchSettings("float32", batch=8, pad_to=32),
    ),
    Deployment(
        "honest-b",
        "held-out",
        "llama.cpp, F32 weights, flash attention, prompts in pieces of 32 tokens",
        "F32",
        EngineSettings(ubatch=32, flash_attention=True),
    ),
    Deployment(
        "honest-c",
        "held-out",
        "llama.cpp, F16 weights, 4 slots, prompt cache, flash attention, no repacking, prompts in pieces of 12 tokens",
        settings=EngineSettings(slots=4, ubatch=12, flash_attention=True, cache_prompt=True, repack=False),
    ),
    Deployment(
        "honest-torch-b",
        "held-out",
        "PyTorch, bfloat16 throughout, batches of 3, prompts padded to multiples of 7",
        settings=TorchSettings(batch=3, pad_to=7),
    ),
    Deployment("q8_0", "variant", "quantised to Q8_0", "Q8_0"),
    Deployment("q6_k", "variant", "quantised to Q6_K", "Q6_K"),
    Deployment("q5_k_m", "variant", "quantised to Q5_K_M", "Q5_K_M"),
    Deployment("q4_k_m", "variant", "quantised to Q4_K_M", "Q4_K_M"),
    Deployment("q4_0", "variant", "quantised to Q4_0", "Q4_0"),
    Deployment("q3_k_m", "variant", "quantised to Q3_K_M", "Q3_K_M"),
    Deployment("q2_k", "variant", "quantised to Q2_K", "Q2_K"),
    *(Deployment(name, "variant", f"{how}, f32 arithmetic", fmt) for name, fmt, how in _ROUNDED),
    *(
        Deployment(f"{name}-bf16", "unrecorded", f"{how}, PyTorch bf16", fmt, TorchSettings())
        for name, fmt, how in _ROUNDED
    ),
    Deployment(
        "kv-q8_0",
        "variant",
        "F16 weights, key-value cache in Q8_0",
        settings=EngineSettings(flash_attention=True, kv="Q8_0"),
    ),
    Deployment(
        "kv-q4_0",
        "variant",
        "F16 weights, key-value cache in Q4_0",
        settings=EngineSettings(flash_attention=True, kv="Q4_0"),
    ),
    Deployment("pruned", "variant", "the smallest fifth of each matrix's weights set to zero", "PRUNED"),
    Deployment("finetuned-light", "variant", "a LoRA-sized change: fine-tuned for few steps", source="finetuned-light"),
    Deployment("finetuned", "variant", "fine-tuned for more steps", source="finetuned"),
    Deployment("other-model", "variant", "another model of the same family", source="other-model"),
    *(
        Deployment(
            f"{name}-torch", "unrecorded", f"quantised to {fmt}, computed by PyTorch in bf16", fmt, TorchSettings()
        )
        for name, fmt in _GGML
    ),
    Deployment(
        "honest-cuda-bf16",
        "gpu-honest",
        "PyTorch on a GPU, bfloat16 throughout, one request at a time",
        settings=CudaSettings(),
    ),
    Deployment(
        "honest-cuda-bf16-batch",
        "gpu-honest",
        "PyTorch on a GPU, bfloat16 throughout, batches of 16, prompts padded to multiples of 32",
        settings=CudaSettings(batch=16, pad_to=32),
    ),
    Deployment(
        "honest-cuda-fp16",
        "gpu-honest",
        "PyTorch on a GPU, float16 throughout, batches of 4",
        settings=CudaSettings("float16", batch=4),
    ),
    Deployment(
        "honest-cuda-tf32",
        "gpu-honest",
        "PyTorch on a GPU, float32 multiplied in TensorFloat-32, routers too, batches of 2, prompts padded",
        settings=CudaSettings("float32", batch=2, pad_to=8, tf32=True),
    ),
    Deployment(
        "honest-cuda-f32", "gpu-honest", "PyTorch on a GPU, float32 throughout", settings=CudaSettings("float32")
    ),
    *(
        Deployment(f"{name}-cuda", "gpu-variant", f"{how}, PyTorch bf16 on a GPU", fmt, CudaSettings())
        for name, fmt, how in (*((name, fmt, f"quantised to {fmt}") for name, fmt in _GGML), *_ROUNDED)
    ),
    Deployment(
        "fp8-native",
        "gpu-variant",
        "weights and activations in fp8 E4M3, scaled by row, multiplied so by a GPU",
        settings=CudaSettings(fp8=True),
    ),
)


@cache
def deployments_of(model: str) -> Mapping[str, Deployment]:
    """The deployments of a lab model by name, those first that belong in its baseline. Raises UnknownNameError."""
    if model not in MODELS:
        raise UnknownNameError("lab model", model, MODELS)
    return {d.name: d for d in _DEPLOYMENTS if d.source in MODELS[model].sources}
