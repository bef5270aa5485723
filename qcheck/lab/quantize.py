"""Bring an F16 GGUF file to another format with ggml's own quantiser and llama.cpp's choice of types.

The inference wheel exports ggml's `ggml_quantize_chunk`; which type each tensor gets follows
`llama_tensor_get_type_impl` in llama.cpp's `src/llama-quant.cpp` for a dense llama with tied embeddings and fewer
than four query heads a key-value head, without importance matrix. Other models are refused.
"""

from __future__ import annotations

import ctypes
import functools
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType, LlamaFileType
from numpy.typing import NDArray

from qcheck.errors import LabError
from qcheck.jsonio import atomic_write, content_hash
from qcheck.lab.catalog import Format

__all__ = ["quantise", "quantised_file", "tensor_type"]

RECIPE: Final = 1  # raise when the choice of types or metadata below changes: files made before are then not reused
BLOCK: Final = 256  # K-quants need rows of a multiple of this

_FORMATS: Final[dict[Format, tuple[GGMLQuantizationType, LlamaFileType]]] = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "BF16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q6_K": (GGMLQuantizationType.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "Q4_K_M": (GGMLQuantizationType.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q2_K": (GGMLQuantizationType.Q2_K, LlamaFileType.MOSTLY_Q2_K),
}
_REWRITTEN: Final = ("general.architecture", "general.file_type", "general.quantization_version")


def _gets_more_bits(layer: int, layers: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def tensor_type(name: str, fmt: Format, layers: int) -> GGMLQuantizationType:
    """The type llama.cpp gives the matrix `name` of a model of `layers` layers in `fmt`."""
    default = _FORMATS[fmt][0]
    if name == "token_embd.weight":  # tied, so it is the output matrix too
        return GGMLQuantizationType.Q6_K if fmt in ("Q4_K_M", "Q2_K") else default
    _, layer, part, _ = name.split(".")
    if fmt == "Q4_K_M" and part in ("attn_v", "ffn_down") and _gets_more_bits(int(layer), layers):
        return GGMLQuantizationType.Q6_K
    if fmt == "Q2_K" and part in ("attn_v", "attn_output", "ffn_down"):
        return GGMLQuantizationType.Q3_K
    return default


@functools.cache
def _ggml_quantize_chunk() -> Any:
    function = ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_quantize_chunk
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    function.restype = ctypes.c_size_t
    return function


def _quantise_matrix(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[np.uint8]:
    """The rows of `values` in ggml's byte form."""
    rows, columns = values.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, columns // block * size), dtype=np.uint8)
    written = _ggml_quantize_chunk()(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if written != out.nbytes:
        raise LabError(f"the quantiser wrote {written} bytes of {kind.name} where {out.nbytes} were due.")
    return out


def _open(source: Path) -> gguf.GGUFReader:
    """The reader of a model that the type choices here are right for."""
    try:
        reader = gguf.GGUFReader(source)
        architecture, heads, kv_heads = (
            reader.fields[key].contents()
            for key in ("general.architecture", "llama.attention.head_count", "llama.attention.head_count_kv")
        )
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise LabError(f"cannot read {source} as a llama model: {error}; reinstall qcheck or name another.") from error
    matrices = [t for t in reader.tensors if len(t.shape) > 1]
    fits = (
        architecture == "llama"
        and heads < 4 * kv_heads
        and all(t.name != "output.weight" and t.shape[0] % BLOCK == 0 for t in matrices)
        and all(t.tensor_type == GGMLQuantizationType.F16 for t in matrices)
    )
    if not fits:
        raise LabError(f"cannot quantise {source}: only F16 dense llama models with tied embeddings are known here.")
    return reader


def quantise(source: Path, target: Path, fmt: Format) -> None:
    """Write `source`, an F16 model, to `target` in `fmt`; norms stay F32, all other metadata is copied.

    Raises LabError where `source` is no model these rules are right for.
    """
    reader = _open(source)
    layers = reader.fields["llama.block_count"].contents()
    writer = gguf.GGUFWriter(target, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in _REWRITTEN:
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, inner[-1] if inner else None)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(_FORMATS[fmt][1])
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            type_ = tensor_type(tensor.name, fmt, layers)
            matrix = np.ascontiguousarray(tensor.data, dtype=np.float32)
            writer.add_tensor(tensor.name, _quantise_matrix(matrix, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantised_file(source: Path, fmt: Format, cache: Path, on_progress: Callable[[str], None]) -> Path:
    """The F16 model `source` in `fmt`: made once and kept in the folder `cache`, by the hash of all that it depends on.

    Raises LabError for a file that is no fitting model, StorageError where `cache` cannot be written.
    """
    try:
        identity = content_hash(source.read_bytes())
    except OSError as error:
        raise LabError(f"cannot read the model {source}: {error.strerror}; reinstall qcheck.") from error
    key = content_hash([identity, fmt, RECIPE, version("xllamacpp"), version("gguf")]).removeprefix("sha256:")
    target = cache / f"{source.stem}-{fmt}-{key[:16]}.gguf"
    if not target.exists():
        on_progress(f"quantising {source.name} to {fmt}")
        with tempfile.TemporaryDirectory() as scratch:
            draft = Path(scratch, target.name)
            quantise(source, draft, fmt)
            atomic_write(target, draft.read_bytes())
    return target
