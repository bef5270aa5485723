from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import get_args

import gguf
import numpy as np
import pytest
from llama_server import divergence, served
from small_models import VOCABULARY, write_small_model

from qcheck.errors import LabError, StorageError
from qcheck.lab.adapters import write_adapter
from qcheck.lab.catalog import Format, Weights
from qcheck.lab.quantize import GGML_FORMATS
from qcheck.lab.rounding import ROUNDINGS
from qcheck.lab.weights import round_model, weights_file

PLAIN, CHANGED = Weights("base.gguf"), Weights("base.gguf", "change.gguf")


def ignore(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def models(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_small_model(folder / "base.gguf", release, layers=2)
    a, b = np.full((1, 256), 0.1), np.full((256, 1), 0.1)
    write_adapter(folder / "change.gguf", {"blk.0.attn_q.weight": (a, b)}, 1.0, "change")
    return folder


@pytest.fixture(scope="module")
def mixture(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixture") / "mixture.gguf"
    write_small_model(path, release, layers=1, experts=8)
    return path


def test_every_format_is_made_in_one_way():
    ways = [{"F16"}, set(GGML_FORMATS), set(ROUNDINGS)]
    assert sorted(fmt for way in ways for fmt in way) == sorted(get_args(Format))


def test_the_release_itself_is_not_copied(models: Path, tmp_path: Path):
    assert weights_file(models, PLAIN, "F16", tmp_path, ignore) == models / "base.gguf"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("weights", "fmt"), [(PLAIN, "Q8_0"), (PLAIN, "FP8"), (CHANGED, "F16")])
def test_a_file_is_made_once(weights: Weights, fmt: Format, models: Path, tmp_path: Path):
    told: list[str] = []
    first = weights_file(models, weights, fmt, tmp_path, told.append)
    assert weights_file(models, weights, fmt, tmp_path, told.append) == first
    assert told == [f"converting base.gguf to {fmt}" if weights is PLAIN else "merging change.gguf into base.gguf"]
    assert list(tmp_path.iterdir()) == [first]


def test_a_merged_model_is_converted_as_another(models: Path, tmp_path: Path):
    plain, changed = (weights_file(models, w, "Q8_0", tmp_path, ignore) for w in (PLAIN, CHANGED))
    before, after = ({t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors} for path in (plain, changed))
    assert [n for n in before if not np.array_equal(before[n], after[n])] == ["blk.0.attn_q.weight"]
    assert changed.name.startswith("change-F16-")


def test_other_content_gets_another_file(models: Path, release: Path, tmp_path: Path):
    others = tmp_path / "others"
    others.mkdir()
    write_small_model(others / "base.gguf", release, layers=1)
    cache = tmp_path / "cache"
    assert weights_file(models, PLAIN, "Q8_0", cache, ignore) != weights_file(others, PLAIN, "Q8_0", cache, ignore)


def _ask_at_once(barrier: object, models: Path, cache: Path) -> None:
    barrier.wait()
    weights_file(models, CHANGED, "Q4_0", cache, ignore)


def test_many_may_ask_at_once(models: Path, tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    asking = [context.Process(target=_ask_at_once, args=(barrier, models, tmp_path / "cache")) for _ in range(3)]
    for process in asking:
        process.start()
    for process in asking:
        process.join()
    assert [process.exitcode for process in asking] == [0, 0, 0]
    made = weights_file(models, CHANGED, "Q4_0", tmp_path / "cache", ignore)
    alone = weights_file(models, CHANGED, "Q4_0", tmp_path / "alone", ignore)
    assert made.read_bytes() == alone.read_bytes()
    names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in ("cache", "alone")]
    assert names[0] == names[1]


@pytest.mark.parametrize("weights", [Weights("none.gguf"), Weights("base.gguf", "none.gguf")])
@pytest.mark.parametrize("fmt", ["F16", "Q8_0"])
def test_a_missing_file_says_how_to_get_it(weights: Weights, fmt: Format, models: Path, tmp_path: Path):
    with pytest.raises(LabError, match=r"none\.gguf: the installed package has only .*; clone"):
        weights_file(models, weights, fmt, tmp_path, ignore)


def test_a_failure_leaves_nothing_behind(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qcheck.lab.quantize._quantise_rows", stop)
    with pytest.raises(KeyboardInterrupt):
        weights_file(models, PLAIN, "Q2_K", tmp_path, ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_storage_error(models: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        weights_file(models, PLAIN, "Q8_0", blocked / "cache", ignore)


@pytest.mark.parametrize("fmt", ROUNDINGS)
def test_rounding_changes_every_matrix_by_itself_and_nothing_else(fmt: Format, mixture: Path, tmp_path: Path):
    target = tmp_path / "target.gguf"
    round_model(mixture, target, fmt)
    before, after = ({t.name: np.array(t.data) for t in gguf.GGUFReader(path).tensors} for path in (mixture, target))
    assert after.keys() == before.keys()
    for name, values in before.items():
        assert after[name].dtype == np.float32
        if values.dtype == np.float32:
            assert np.array_equal(after[name], values), name
            continue
        matrices = (stack.reshape(-1, *stack.shape[-2:]) for stack in (values, after[name]))
        for one, other in zip(*matrices, strict=True):
            assert np.array_equal(ROUNDINGS[fmt](one.astype(np.float32)), other), name


def test_llama_cpp_serves_rounded_models(models: Path, tmp_path: Path):
    true = served(models / "base.gguf", VOCABULARY)
    files = {fmt: weights_file(models, PLAIN, fmt, tmp_path, ignore) for fmt in ROUNDINGS}
    found = {fmt: divergence(true, served(path, VOCABULARY)) for fmt, path in files.items()}
    assert 0 < found["INT8"] < found["FP8"] < min(found["INT4"], found["NF4"], found["PRUNED"])
