from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from qcheck.errors import LabError, StorageError
from qcheck.lab.catalog import Format
from qcheck.lab.quantize import quantise, quantised_file, tensor_type
from qcheck.lab.supervisor import Lab

FORMATS: dict[Format, gguf.LlamaFileType] = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q6_K": gguf.LlamaFileType.MOSTLY_Q6_K,
    "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M,
    "Q2_K": gguf.LlamaFileType.MOSTLY_Q2_K,
}

# Relative root-mean-square error of a matrix of normally distributed weights: 2^-9/√3 for a mantissa of 8 bits, and
# for b bits a weight about a third of a step of 2^(1-b) times the block's largest weight (2 to 3 standard deviations).
ERROR = {
    Type.F32: (0.0, 0.0),
    Type.BF16: (0.0010, 0.0025),
    Type.Q8_0: (0.003, 0.008),
    Type.Q6_K: (0.012, 0.025),
    Type.Q4_K: (0.05, 0.10),
    Type.Q3_K: (0.10, 0.20),
    Type.Q2_K: (0.18, 0.40),
}


def ignore(_: str) -> None:
    pass


@pytest.fixture(scope="module", params=FORMATS)
def made(request: pytest.FixtureRequest, release: Path, cache_dir: Path) -> tuple[Format, gguf.GGUFReader]:
    return request.param, gguf.GGUFReader(quantised_file(release, request.param, cache_dir, ignore))


def test_metadata_is_the_sources_but_for_the_format(made: tuple[Format, gguf.GGUFReader], release: Path):
    fmt, reader = made
    source, result = (
        {key: (field.types, field.contents()) for key, field in r.fields.items() if not key.startswith("GGUF.")}
        for r in (gguf.GGUFReader(release), reader)
    )
    assert result.pop("general.file_type")[1] == FORMATS[fmt]
    assert result.pop("general.quantization_version")[1] == gguf.GGML_QUANT_VERSION
    source.pop("general.file_type")
    assert result == source


def test_errors_are_those_of_the_format(made: tuple[Format, gguf.GGUFReader], release: Path):
    """gguf's own numpy dequantisation of what ggml wrote against the source."""
    _, reader = made
    source = {t.name: t for t in gguf.GGUFReader(release).tensors}
    assert {t.name for t in reader.tensors} == set(source)
    for tensor in reader.tensors:
        original = source[tensor.name]
        assert list(tensor.shape) == list(original.shape)
        if len(original.shape) == 1:
            assert tensor.tensor_type == Type.F32
            assert np.array_equal(tensor.data, original.data)
            continue
        true = original.data.astype(np.float64)
        error = gguf.dequantize(tensor.data, tensor.tensor_type) - true
        low, high = ERROR[tensor.tensor_type]
        assert low <= math.sqrt(np.mean(error**2) / np.mean(true**2)) <= high, tensor.name


def test_types_are_those_llama_cpp_chose():
    """Recorded from `llama_model_quantize` of llama.cpp v0.5.0 for five layers; only what differs from the default."""
    mixes = {
        "Q8_0": (Type.Q8_0, {}),
        "Q6_K": (Type.Q6_K, {}),
        "Q4_K_M": (
            Type.Q4_K,
            dict.fromkeys(
                ("token_embd", "blk.2.attn_v", "blk.4.attn_v", "blk.2.ffn_down", "blk.4.ffn_down"),
                Type.Q6_K,
            ),
        ),
        "Q2_K": (
            Type.Q2_K,
            {"token_embd": Type.Q6_K}
            | {f"blk.{i}.{part}": Type.Q3_K for i in range(5) for part in ("attn_v", "attn_output", "ffn_down")},
        ),
    }
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    names = ["token_embd", *(f"blk.{i}.{part}" for i in range(5) for part in parts)]
    for fmt, (default, others) in mixes.items():
        assert {n: tensor_type(f"{n}.weight", fmt, 5) for n in names} == dict.fromkeys(names, default) | others


def test_a_file_is_made_once(release: Path, tmp_path: Path):
    told: list[str] = []
    first = quantised_file(release, "Q8_0", tmp_path, told.append)
    assert quantised_file(release, "Q8_0", tmp_path, told.append) == first
    assert told == ["quantising lab-tiny-f16.gguf to Q8_0"]
    assert list(tmp_path.iterdir()) == [first]


def test_another_source_gets_another_file(release: Path, models_dir: Path, tmp_path: Path):
    copy = tmp_path / "other" / release.name
    copy.parent.mkdir()
    copy.write_bytes((models_dir / "lab-tiny-finetuned-f16.gguf").read_bytes())
    cache = tmp_path / "cache"
    assert quantised_file(release, "Q8_0", cache, ignore) != quantised_file(copy, "Q8_0", cache, ignore)


def test_a_failure_leaves_nothing_behind(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qcheck.lab.quantize._quantise_matrix", stop)
    with pytest.raises(KeyboardInterrupt):
        quantised_file(release, "Q2_K", tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all, only text that goes on for a while"])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path):
    source = tmp_path / "bad.gguf"
    source.write_bytes(content)
    with pytest.raises(LabError, match=r"cannot read .*bad\.gguf"):
        quantise(source, tmp_path / "out.gguf", "Q8_0")


def test_a_truncated_model_is_refused(release: Path, tmp_path: Path):
    source = tmp_path / "short.gguf"
    source.write_bytes(release.read_bytes()[:300_000])
    with pytest.raises(LabError, match=r"cannot read .*short\.gguf"):
        quantise(source, tmp_path / "out.gguf", "Q8_0")


def test_an_already_quantised_model_is_refused(release: Path, cache_dir: Path, tmp_path: Path):
    source = quantised_file(release, "Q8_0", cache_dir, ignore)
    with pytest.raises(LabError, match="only F16 dense llama models"):
        quantise(source, tmp_path / "out.gguf", "Q2_K")


def test_a_missing_model_is_named(tmp_path: Path):
    with pytest.raises(LabError, match=r"none\.gguf"):
        quantised_file(tmp_path / "none.gguf", "Q8_0", tmp_path, ignore)


def test_a_cache_that_cannot_be_written_is_a_storage_error(release: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        quantised_file(release, "Q8_0", blocked / "cache", ignore)


def test_answers_move_further_the_coarser_the_format(
    lab: Lab, prompts: tuple[str, ...], logprobs: Callable[[str, str], dict[int, float]]
):
    """Every format is served by the real engine; mean Kullback-Leibler divergence from the F16 answers."""

    def divergence(name: str) -> float:
        urls = [e.base_url for e in lab.endpoints(["honest", name])]
        pairs = [[logprobs(url, prompt) for url in urls] for prompt in prompts]
        return float(np.mean([sum(math.exp(p) * (p - q[k]) for k, p in true.items()) for true, q in pairs]))

    found = [divergence(name) for name in ("honest-f32", "honest-bf16", "q8_0", "q6_k", "q4_k_m", "q2_k")]
    assert found == sorted(found)
    assert found[1] < 1e-4
    assert found[5] > 10 * found[3]
