from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from llama_server import divergence, served
from numpy.typing import NDArray
from small_models import write_small_model

from qcheck.errors import LabError
from qcheck.lab.adapters import merge_adapter, write_adapter

RANK = 4
ALPHA = 8.0


def weights(path: Path) -> dict[str, NDArray[Any]]:
    return {t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors}


def factors(model: Path, size: float = 0.3) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Random A and B for every matrix or stack of a layer, whose product is about `size` of 1/16, a weight's size."""
    rng = np.random.default_rng(3)
    spread = np.sqrt(size / 16 / np.sqrt(RANK) / (ALPHA / RANK))
    pairs = {}
    for name, matrix in weights(model).items():
        if matrix.dtype == np.float16 and name.startswith("blk."):
            *outer, rows, columns = matrix.shape
            a, b = rng.normal(0, spread, (*outer, RANK, columns)), rng.normal(0, spread, (*outer, rows, RANK))
            pairs[name] = a.astype(np.float32), b.astype(np.float32)
    return pairs


@pytest.fixture(scope="module")
def adapter(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapter") / "adapter.gguf"
    write_adapter(path, factors(release), ALPHA, "a test")
    return path


@pytest.fixture(scope="module")
def merged(release: Path, adapter: Path) -> Path:
    path = adapter.with_name("merged.gguf")
    merge_adapter(release, adapter, path)
    return path


def test_a_merged_file_answers_as_the_base_with_llama_cpps_own_use_of_the_adapter(
    release: Path, adapter: Path, merged: Path
):
    vocabulary = len(weights(release)["token_embd.weight"])
    base, expected = served(release, vocabulary), served(release, vocabulary, adapter)
    assert divergence(base, expected) > 0.01
    assert divergence(expected, served(merged, vocabulary)) < 1e-4


def test_the_change_is_alpha_over_rank_times_the_product(release: Path, merged: Path):
    base, found, pairs = weights(release), weights(merged), factors(release)
    assert found.keys() == base.keys()
    for name, before in base.items():
        if name in pairs:
            a, b = (m.astype(np.float16).astype(np.float64) for m in pairs[name])
            expected = before + ALPHA / RANK * (b @ a)
            assert np.allclose(found[name], expected, rtol=2**-11, atol=1e-6)
        else:
            assert np.array_equal(found[name], before)
        assert found[name].dtype == before.dtype


def test_each_expert_of_a_stack_has_its_own_change(release: Path, tmp_path: Path):
    base, adapter, merged = (tmp_path / f"{name}.gguf" for name in ("base", "adapter", "merged"))
    write_small_model(base, release, layers=1, experts=8)
    name = "blk.0.ffn_up_exps.weight"
    a, b = factors(base)[name]
    write_adapter(adapter, {name: (a, b)}, ALPHA, "experts")
    merge_adapter(base, adapter, merged)
    change = weights(merged)[name].astype(np.float32) - weights(base)[name]
    for i in range(8):
        assert np.allclose(change[i], ALPHA / RANK * b[i] @ a[i], atol=1e-3)


def test_metadata_are_the_bases(release: Path, merged: Path):
    before, after = (
        {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items() if not key.startswith("GGUF.")}
        for path in (release, merged)
    )
    after.pop("general.quantization_version")
    assert after == before


def test_a_model_is_no_adapter(release: Path, tmp_path: Path):
    with pytest.raises(LabError, match=r"cannot read .* as a LoRA adapter"):
        merge_adapter(release, release, tmp_path / "merged.gguf")


def test_an_adapter_that_lacks_a_factor_is_refused(release: Path, tmp_path: Path):
    adapter = tmp_path / "half.gguf"
    writer = gguf.GGUFWriter(adapter, "llama")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((RANK, 256), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LabError, match=r"as a LoRA adapter.*lora_b"):
        merge_adapter(release, adapter, tmp_path / "merged.gguf")


@pytest.mark.parametrize("name", ["blk.99.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_norm.weight"])
def test_an_adapter_of_another_model_is_refused(name: str, release: Path, tmp_path: Path):
    adapter = tmp_path / "foreign.gguf"
    write_adapter(adapter, {name: (np.ones((1, 256)), np.ones((256, 1)))}, 1.0, "foreign")
    with pytest.raises(LabError, match=rf"foreign\.gguf does not fit .*: no matrix {name}"):
        merge_adapter(release, adapter, tmp_path / "merged.gguf")
