"""Bring an F16 GGUF file to another format of ggml with its own quantiser and llama.cpp's choice of types.

The inference wheel exports ggml's `ggml_quantize_chunk`; which type each tensor gets follows
`llama_tensor_get_type_impl` in llama.cpp's `src/llama-quant.cpp` for a llama, dense or a mixture of experts, with tied
embeddings and fewer than four query heads a key-value head, without importance matrix. Other models are refused.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType
from numpy.typing import NDArray

from qcheck.errors import LabError
from qcheck.lab.catalog import Format
from qcheck.lab.gguf_files import open_model, write_like

__all__ = ["GGML_FORMATS", "quantise", "tensor_type"]

BLOCK: Final = 256  # K-quants need rows of a multiple of this

GGML_FORMATS: Final[dict[Format, tuple[Type, LlamaFileType]]] = {
    "F32": (Type.F32, LlamaFileType.ALL_F32),
    "BF16": (Type.BF16, LlamaFileType.MOSTLY_BF16),
    "Q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q6_K": (Type.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "Q5_K_M": (Type.Q5_K, LlamaFileType.MOSTLY_Q5_K_M),
    "Q4_K_M": (Type.Q4_K, LlamaFileType.MOSTLY_Q4_K_M),
    "Q4_0": (Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "Q3_K_M": (Type.Q3_K, LlamaFileType.MOSTLY_Q3_K_M),
    "Q2_K": (Type.Q2_K, LlamaFileType.MOSTLY_Q2_K),
}
_UNQUANTISED: Final = ("F32", "BF16")


def _gets_more_bits(layer: int, layers: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and last eighth, and every third layer between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _value_type(fmt: Format, layer: int, layers: int) -> Type | None:
    """What a dense model's attn_v gets other than the format's default."""
    if fmt == "Q2_K":
        return Type.Q3_K
    if fmt == "Q3_K_M":
        return Type.Q5_K if layer < 2 else Type.Q4_K
    return Type.Q6_K if fmt in ("Q4_K_M", "Q5_K_M") and _gets_more_bits(layer, layers) else None


def _down_type(fmt: Format, layer: int, layers: int) -> Type | None:
    """What ffn_down, of one expert or all, gets other than the format's default."""
    if fmt == "Q3_K_M":
        return Type.Q5_K if layer < layers // 16 else Type.Q4_K
    return _value_type(fmt, layer, layers)


def _output_type(fmt: Format, experts: int) -> Type | None:
    """What attn_output gets other than the format's default."""
    if experts == 8:
        return Type.Q5_K if fmt in ("Q2_K", "Q3_K_M", "Q4_K_M") else None
    return {"Q2_K": Type.Q3_K, "Q3_K_M": Type.Q4_K}.get(fmt)


def tensor_type(name: str, fmt: Format, layers: int, experts: int = 0) -> Type:
    """The type llama.cpp gives the matrix or stack of matrices `name` in `fmt`.

    layers, experts: how many the model has. Eight experts, as Mixtral has, are a case of their own.
    """
    default = GGML_FORMATS[fmt][0]
    if fmt in _UNQUANTISED:
        return default
    if name == "token_embd.weight":  # tied, so it is the output matrix too
        return default if fmt == "Q8_0" else Type.Q6_K
    _, number, part, _ = name.split(".")
    layer = int(number)
    if part in ("attn_k", "attn_v") and experts == 8:
        return Type.Q8_0
    if part == "attn_v":
        return _value_type(fmt, layer, layers) or default
    if part == "attn_output":
        return _output_type(fmt, experts) or default
    if part in ("ffn_down", "ffn_down_exps"):
        return _down_type(fmt, layer, layers) or default
    return default


@functools.cache
def _ggml_quantize_chunk() -> Any:
    function = ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_quantize_chunk
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [ctypes.c_int, pointer, pointer, count, count, count, pointer]
    function.restype = ctypes.c_size_t
    return function


def _quantise_rows(values: NDArray[np.float32], kind: Type) -> NDArray[np.uint8]:
    """`values` in ggml's byte form, rows (the last dimension) as rows."""
    *outer, columns = values.shape
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((*outer, columns // block * size), dtype=np.uint8)
    rows = values.size // columns
    written = _ggml_quantize_chunk()(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    if written != out.nbytes:
        raise LabError(f"the quantiser wrote {written} bytes of {kind.name} where {out.nbytes} were due.")
    return out


def _open(source: Path) -> gguf.GGUFReader:
    """The reader of a model that the type choices here are right for."""
    reader = open_model(source)
    try:
        heads, kv_heads = (
            reader.fields[f"llama.attention.{key}"].contents() for key in ("head_count", "head_count_kv")
        )
    except KeyError as error:
        raise LabError(f"cannot read {source} as a llama model: it lacks {error}; name another.") from error
    matrices = [t for t in reader.tensors if t.tensor_type == Type.F16]
    tied = all(t.name != "output.weight" for t in matrices)
    if heads >= 4 * kv_heads or not tied or any(t.shape[0] % BLOCK for t in matrices):
        raise LabError(
            f"cannot quantise {source}: llama.cpp's types are known here for tied embeddings, fewer than 4 query "
            f"heads a key-value head and rows of a multiple of {BLOCK} alone; name one of the lab's models."
        )
    return reader


def quantise(source: Path, target: Path, fmt: Format) -> None:
    """Write `source`, an F16 model, to `target` in `fmt`, a format of ggml.

    Norms and routers stay F32, all metadata but the file type are copied. Raises LabError where `source` is no model
    these rules are right for.
    """
    reader = _open(source)
    layers = reader.fields["llama.block_count"].contents()
    experts_field = reader.get_field("llama.expert_count")
    experts = experts_field.contents() if experts_field else 0

    def in_format(tensor: gguf.ReaderTensor) -> tuple[str, NDArray[Any], Type]:
        if tensor.tensor_type != Type.F16:
            return tensor.name, tensor.data, tensor.tensor_type
        kind = tensor_type(tensor.name, fmt, layers, experts)
        return tensor.name, _quantise_rows(np.ascontiguousarray(tensor.data, dtype=np.float32), kind), kind

    write_like(reader, target, map(in_format, reader.tensors), GGML_FORMATS[fmt][1])
