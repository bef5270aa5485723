from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import xllamacpp
from gguf import GGMLQuantizationType as Type
from llama_server import divergence, served
from numpy.typing import NDArray
from small_models import VOCABULARY, write_small_model

from qcheck.errors import LabError
from qcheck.lab.catalog import Format
from qcheck.lab.quantize import GGML_FORMATS, quantise, tensor_type

FILE_TYPES: dict[Format, str] = {
    "F32": "ALL_F32",
    "BF16": "MOSTLY_BF16",
    "Q8_0": "MOSTLY_Q8_0",
    "Q6_K": "MOSTLY_Q6_K",
    "Q5_K_M": "MOSTLY_Q5_K_M",
    "Q4_K_M": "MOSTLY_Q4_K_M",
    "Q4_0": "MOSTLY_Q4_0",
    "Q3_K_M": "MOSTLY_Q3_K_M",
    "Q2_K": "MOSTLY_Q2_K",
}

# Relative root-mean-square error of a matrix of normally distributed weights: 2^-9/√3 for a mantissa of 8 bits, and
# for b bits a weight about a third of a step of 2^(1-b) times the block's largest weight (2 to 3 standard deviations).
ERROR = {
    Type.F32: (0.0, 0.0),
    Type.BF16: (0.0010, 0.0025),
    Type.Q8_0: (0.003, 0.008),
    Type.Q6_K: (0.012, 0.025),
    Type.Q5_K: (0.025, 0.05),
    Type.Q4_K: (0.05, 0.10),
    Type.Q4_0: (0.06, 0.12),
    Type.Q3_K: (0.10, 0.20),
    Type.Q2_K: (0.18, 0.40),
}

# What llama.cpp's own quantiser (b9190) chose other than the format's default, by part of the model: type → layers,
# for dense models of 5 and 16 layers and for a mixture of 8 experts with 16 layers.
ALL = tuple(range(16))
MORE_BITS = (0, 1, 4, 7, 10, 13, 14, 15)
EMBEDDING = {"token_embd": {Type.Q6_K: ALL}}
EIGHT = {"attn_k": {Type.Q8_0: ALL}, "attn_v": {Type.Q8_0: ALL}}
Choices = dict[str, dict[Type, tuple[int, ...]]]
CHOSEN: dict[tuple[int, int], dict[Format, tuple[Type, Choices]]] = {
    (5, 0): {
        "BF16": (Type.BF16, {}),
        "Q8_0": (Type.Q8_0, {}),
        "Q6_K": (Type.Q6_K, {}),
        "Q5_K_M": (Type.Q5_K, EMBEDDING | {p: {Type.Q6_K: (2, 4)} for p in ("attn_v", "ffn_down")}),
        "Q4_K_M": (Type.Q4_K, EMBEDDING | {p: {Type.Q6_K: (2, 4)} for p in ("attn_v", "ffn_down")}),
        "Q4_0": (Type.Q4_0, EMBEDDING),
        "Q3_K_M": (
            Type.Q3_K,
            EMBEDDING
            | {
                "attn_v": {Type.Q5_K: (0, 1), Type.Q4_K: (2, 3, 4)},
                "attn_output": {Type.Q4_K: ALL},
                "ffn_down": {Type.Q4_K: ALL},
            },
        ),
        "Q2_K": (Type.Q2_K, EMBEDDING | {p: {Type.Q3_K: ALL} for p in ("attn_v", "attn_output", "ffn_down")}),
    },
    (16, 0): {
        "Q4_K_M": (Type.Q4_K, EMBEDDING | {p: {Type.Q6_K: MORE_BITS} for p in ("attn_v", "ffn_down")}),
        "Q3_K_M": (
            Type.Q3_K,
            EMBEDDING
            | {
                "attn_v": {Type.Q5_K: (0, 1), Type.Q4_K: ALL[2:]},
                "attn_output": {Type.Q4_K: ALL},
                "ffn_down": {Type.Q5_K: (0,), Type.Q4_K: ALL[1:]},
            },
        ),
    },
    (16, 8): {
        "BF16": (Type.BF16, {}),
        "Q8_0": (Type.Q8_0, {}),
        "Q6_K": (Type.Q6_K, EIGHT),
        "Q5_K_M": (Type.Q5_K, EMBEDDING | EIGHT | {"ffn_down_exps": {Type.Q6_K: MORE_BITS}}),
        "Q4_K_M": (
            Type.Q4_K,
            EMBEDDING | EIGHT | {"attn_output": {Type.Q5_K: ALL}, "ffn_down_exps": {Type.Q6_K: MORE_BITS}},
        ),
        "Q4_0": (Type.Q4_0, EMBEDDING | EIGHT),
        "Q3_K_M": (
            Type.Q3_K,
            EMBEDDING
            | EIGHT
            | {"attn_output": {Type.Q5_K: ALL}, "ffn_down_exps": {Type.Q5_K: (0,), Type.Q4_K: ALL[1:]}},
        ),
        "Q2_K": (
            Type.Q2_K,
            EMBEDDING | EIGHT | {"attn_output": {Type.Q5_K: ALL}, "ffn_down_exps": {Type.Q3_K: ALL}},
        ),
    },
}


@pytest.fixture(scope="module", params=[0, 8], ids=["dense", "mixture"])
def source(request: pytest.FixtureRequest, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.gguf"
    write_small_model(path, release, layers=1, experts=request.param)
    return path


@pytest.fixture(scope="module")
def made(source: Path) -> dict[Format, Path]:
    """The model in every format."""
    paths = {fmt: source.with_name(f"{fmt}.gguf") for fmt in GGML_FORMATS}
    for fmt, path in paths.items():
        quantise(source, path, fmt)
    return paths


@functools.cache
def tensors(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def read_by_ggml(tensor: gguf.ReaderTensor) -> NDArray[np.float32]:
    """The weights as ggml itself reads them."""
    name = (
        "ggml_bf16_to_fp32_row" if tensor.tensor_type == Type.BF16 else f"dequantize_row_q{tensor.tensor_type.name[1:]}"
    )
    row = getattr(ctypes.CDLL(xllamacpp.xllamacpp.__file__), name)
    row.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    row.restype = None
    data = np.ascontiguousarray(tensor.data)
    out = np.empty(tensor.shape[::-1], np.float32)
    row(data.ctypes.data, out.ctypes.data, out.size)
    return out


@pytest.mark.parametrize("shape", CHOSEN, ids=str)
def test_types_are_those_llama_cpp_chose(shape: tuple[int, int]):
    layers, experts = shape
    attention = ("attn_q", "attn_k", "attn_v", "attn_output")
    parts = (*attention, *(f"ffn_{part}{'_exps' if experts else ''}" for part in ("gate", "up", "down")))
    for fmt, (default, others) in CHOSEN[shape].items():

        def expected(part: str, layer: int) -> Type:
            return next((t for t, found in others.get(part, {}).items() if layer in found), default)  # noqa: B023

        assert tensor_type("token_embd.weight", fmt, layers, experts) == expected("token_embd", 0)
        for part in parts:
            found = [tensor_type(f"blk.{i}.{part}.weight", fmt, layers, experts) for i in range(layers)]
            assert found == [expected(part, i) for i in range(layers)], (fmt, part)


def test_the_file_type_is_the_formats(made: dict[Format, Path]):
    found = {fmt: gguf.GGUFReader(path).fields["general.file_type"].contents() for fmt, path in made.items()}
    assert found == {fmt: gguf.LlamaFileType[name] for fmt, name in FILE_TYPES.items()}


def test_errors_are_those_of_the_format(made: dict[Format, Path], source: Path):
    """gguf's own numpy dequantisation of what ggml wrote against the source; ggml's must agree with it bit for bit."""
    original = tensors(source)
    for path in made.values():
        found = tensors(path)
        assert found.keys() == original.keys()
        for name, tensor in found.items():
            true = original[name].data
            assert list(tensor.shape) == list(original[name].shape)
            if original[name].tensor_type == Type.F32:
                assert tensor.tensor_type == Type.F32
                assert np.array_equal(tensor.data, true)
                continue
            weights = gguf.dequantize(tensor.data, tensor.tensor_type)
            if tensor.tensor_type != Type.F32:
                assert np.array_equal(weights, read_by_ggml(tensor)), (path.stem, name)
            wide = true.astype(np.float64)
            low, high = ERROR[tensor.tensor_type]
            assert low <= np.sqrt(np.mean((weights - wide) ** 2) / np.mean(wide**2)) <= high, (path.stem, name)


@pytest.mark.parametrize("fmt", ["BF16", "Q8_0", "Q4_0"])
def test_bits_are_those_of_an_independent_quantiser(fmt: Format, made: dict[Format, Path], source: Path):
    """gguf has these formats in numpy."""
    default = GGML_FORMATS[fmt][0]
    original = tensors(source)
    alike = [t for t in tensors(made[fmt]).values() if t.tensor_type == default]
    assert len(alike) > len(original) / 3
    for tensor in alike:
        expected = gguf.quantize(original[tensor.name].data.astype(np.float32), default)
        assert np.array_equal(tensor.data.view(np.uint8), expected.view(np.uint8)), tensor.name


def test_llama_cpp_serves_each_and_coarser_formats_move_answers_further(made: dict[Format, Path], source: Path):
    true = served(source, VOCABULARY)
    found = {fmt: divergence(true, served(path, VOCABULARY)) for fmt, path in made.items()}
    order = [found[fmt] for fmt in ("F32", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")]
    assert order == sorted(order)
    assert found["BF16"] < 1e-4
    assert found["Q5_K_M"] < found["Q4_0"] < found["Q2_K"]
    assert found["Q2_K"] > 10 * found["Q6_K"]


@pytest.mark.parametrize("change", [{"kv_heads": 1}, {"untied": True}])
def test_a_model_of_other_types_is_refused(change: dict[str, Any], release: Path, tmp_path: Path):
    path = tmp_path / "other.gguf"
    write_small_model(path, release, layers=1, **change)
    with pytest.raises(LabError, match=r"cannot quantise .*other\.gguf.* name one of the lab's models"):
        quantise(path, tmp_path / "out.gguf", "Q8_0")


def test_an_already_quantised_model_is_refused(made: dict[Format, Path], tmp_path: Path):
    with pytest.raises(LabError, match="it holds Q8_0; name the F16 model"):
        quantise(made["Q8_0"], tmp_path / "out.gguf", "Q2_K")
