"""Read the lab's models and write others that differ from them in their tensors alone.

The models are in F16 as llama.cpp's converter writes them: matrices, and stacks of them (one for each expert), in F16;
norms and the routers of a mixture of experts in F32. What the lab does to weights, it does to the F16 tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType
from numpy.typing import NDArray

from qcheck.errors import LabError

__all__ = ["ARCHITECTURE", "Tensor", "open_gguf", "open_model", "write_like", "write_tensors"]

ARCHITECTURE: Final = "llama"

# A name; values, or the bytes of a quantised type with rows as their last dimension; the type.
Tensor = tuple[str, NDArray[Any], GGMLQuantizationType]


def open_gguf(path: Path) -> gguf.GGUFReader:
    """The reader of a model or adapter of the llama architecture. Raises LabError."""
    try:
        reader = gguf.GGUFReader(path)
        architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LabError(f"cannot read {path} as a llama model: {error}; reinstall qcheck or name another.") from error
    if architecture != ARCHITECTURE:
        raise LabError(f"cannot use {path}: its architecture is {architecture}; name a llama model.")
    return reader


def open_model(path: Path) -> gguf.GGUFReader:
    """The reader of an F16 model. Raises LabError."""
    reader = open_gguf(path)
    if others := {t.tensor_type.name for t in reader.tensors} - {"F16", "F32"}:
        raise LabError(f"cannot use {path}: it holds {', '.join(sorted(others))}; name the F16 model it was made from.")
    return reader


def write_like(source: gguf.GGUFReader, target: Path, tensors: Iterable[Tensor], file_type: LlamaFileType) -> None:
    """Write `tensors` with all metadata of `source` but the file type to `target`."""
    writer = gguf.GGUFWriter(target, ARCHITECTURE)
    names = gguf.Keys.General
    for key, field in source.fields.items():
        if not key.startswith("GGUF.") and key not in (names.ARCHITECTURE, names.FILE_TYPE, names.QUANTIZATION_VERSION):
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, inner[-1] if inner else None)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(file_type)
    write_tensors(writer, tensors)


def write_tensors(writer: gguf.GGUFWriter, tensors: Iterable[Tensor]) -> None:
    """Write the file of `writer`, whose metadata are complete, and close it."""
    for name, values, kind in tensors:
        writer.add_tensor(name, np.ascontiguousarray(values), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
