from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, LlamaFileType

from qcheck.errors import LabError
from qcheck.lab.gguf_files import open_gguf, open_model, write_like


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no model at all, only text that goes on for a while"])
def test_a_file_that_is_no_model_is_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(LabError, match=r"cannot read .*bad\.gguf"):
        open_gguf(path)


@pytest.mark.parametrize("size", [30, 3_000, 300_000])
def test_a_truncated_model_is_refused(size: int, release: Path, tmp_path: Path):
    path = tmp_path / "short.gguf"
    path.write_bytes(release.read_bytes()[:size])
    with pytest.raises(LabError, match=r"cannot read .*short\.gguf"):
        open_gguf(path)


def test_another_architecture_is_refused(tmp_path: Path):
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_tensor("token_embd.weight", np.ones((2, 2), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(LabError, match=r"other\.gguf: its architecture is gpt2"):
        open_gguf(path)


def test_only_f16_models_are_opened_as_such(release: Path, tmp_path: Path):
    path = tmp_path / "quantised.gguf"
    kind = GGMLQuantizationType.Q8_0
    source = open_model(release)
    tensors = ((t.name, gguf.quantize(t.data.astype(np.float32), kind), kind) for t in source.tensors)
    write_like(source, path, tensors, LlamaFileType.MOSTLY_Q8_0)
    with pytest.raises(LabError, match="it holds Q8_0"):
        open_model(path)


def test_metadata_are_the_sources_but_for_the_format(release: Path, tmp_path: Path):
    path = tmp_path / "like.gguf"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_like(open_model(release), path, [("one", values, GGMLQuantizationType.F32)], LlamaFileType.ALL_F32)
    (tensor,) = gguf.GGUFReader(path).tensors
    assert (tensor.name, tensor.data.tolist()) == ("one", values.tolist())
    source, result = (
        {key: (field.types, field.contents()) for key, field in gguf.GGUFReader(p).fields.items() if "GGUF." not in key}
        for p in (release, path)
    )
    assert result.pop("general.file_type")[1] == LlamaFileType.ALL_F32
    assert result.pop("general.quantization_version")[1] == gguf.GGML_QUANT_VERSION
    source.pop("general.file_type")
    assert result == source
