"""LoRA adapters as GGUF files in llama.cpp's format: write one, merge one into an F16 model.

An adapter changes a matrix W (rows, columns) to W + (alpha / rank) · B·A with A (rank, columns) and B (rows, rank)
(Hu et al. 2021, LoRA, arXiv:2106.09685, section 4.1). Its tensors are named `NAME.lora_a` and `NAME.lora_b` after the
tensor they change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType
from numpy.typing import NDArray

from qcheck.errors import LabError
from qcheck.lab.gguf_files import ARCHITECTURE, open_gguf, open_model, write_like, write_tensors

__all__ = ["merge_adapter", "write_adapter"]

F16 = GGMLQuantizationType.F16
Factors = tuple[NDArray[Any], NDArray[Any]]


def write_adapter(path: Path, factors: Mapping[str, Factors], alpha: float, name: str) -> None:
    """Write an adapter called `name` to `path`, in F16.

    factors: (A, B) by the name of the tensor in the base model, `blk.0.attn_q.weight`; for a stack of matrices each
    has one more dimension in front.
    """
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    tensors = (
        (f"{tensor}.lora_{letter}", matrix.astype(np.float16), F16)
        for tensor, (a, b) in factors.items()
        for letter, matrix in (("a", a), ("b", b))
    )
    write_tensors(writer, tensors)


def _read_adapter(path: Path) -> dict[str, NDArray[np.float32]]:
    """What the adapter adds to each tensor, by the tensor's name."""
    reader = open_gguf(path)
    try:
        kind = reader.fields[gguf.Keys.Adapter.TYPE].contents()
        alpha = reader.fields[gguf.Keys.Adapter.LORA_ALPHA].contents()
        matrices = {t.name: t.data.astype(np.float32) for t in reader.tensors}
        if kind != "lora":
            raise ValueError(f"it is of type {kind}")
        bases = dict.fromkeys(key.rpartition(".lora_")[0] for key in matrices)
        pairs = {base: (matrices[f"{base}.lora_a"], matrices[f"{base}.lora_b"]) for base in bases}
        return {base: np.float32(alpha / a.shape[-2]) * (b @ a) for base, (a, b) in pairs.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise LabError(f"cannot read {path} as a LoRA adapter: {error}; name one of llama.cpp's format.") from error


def merge_adapter(base: Path, adapter: Path, target: Path) -> None:
    """Write the F16 model `base` with `adapter` merged into it to `target`, in F16 again.

    Raises LabError for a file that is neither, and for an adapter of another model.
    """
    reader = open_model(base)
    changes = _read_adapter(adapter)
    shapes = {t.name: t.data.shape for t in reader.tensors if t.tensor_type == F16}
    for name, change in changes.items():
        if shapes.get(name) != change.shape:
            raise LabError(f"{adapter} does not fit {base}: no matrix {name} of shape {change.shape}; name its base.")
    merged = (
        (t.name, (t.data + changes[t.name]).astype(np.float16) if t.name in changes else t.data, t.tensor_type)
        for t in reader.tensors
    )
    write_like(reader, target, merged, LlamaFileType.MOSTLY_F16)
