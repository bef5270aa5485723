"""The file of a model's weights in a format: made when first asked for, then kept in a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, ReaderTensor
from numpy.typing import NDArray

from qcheck.errors import LabError
from qcheck.jsonio import atomic_write, content_hash
from qcheck.lab.adapters import merge_adapter
from qcheck.lab.catalog import Format, Weights
from qcheck.lab.gguf_files import Tensor, open_model, write_like
from qcheck.lab.quantize import quantise
from qcheck.lab.rounding import ROUNDINGS

__all__ = ["round_model", "weights_file"]

RECIPE: Final = 2  # raise when the way a file is made changes: files made before are then not reused
PACKAGES: Final = ("gguf", "ml_dtypes", "xllamacpp")


def round_model(source: Path, target: Path, fmt: Format) -> None:
    """Write `source`, an F16 model, to `target` in F32 with every matrix rounded to `fmt`, one of `ROUNDINGS`.

    Each expert of a stack is a matrix of its own; norms and routers are left alone. The embedding is rounded too, for
    here it is the output matrix as well and a sixth of the weights; deployments in 8 or 4 bits that keep theirs in 16
    deviate about half as far.

    Raises LabError.
    """
    reader = open_model(source)

    def rounded(tensor: ReaderTensor) -> Tensor:
        values: NDArray[Any] = tensor.data
        if tensor.tensor_type == GGMLQuantizationType.F16:
            matrices = values.reshape(-1, *values.shape[-2:]).astype(np.float32)
            values = np.stack([ROUNDINGS[fmt](m) for m in matrices]).reshape(values.shape)
        return tensor.name, values, GGMLQuantizationType.F32

    write_like(reader, target, map(rounded, reader.tensors), LlamaFileType.ALL_F32)


def _existing(path: Path) -> Path:
    if not os.access(path, os.R_OK):
        raise LabError(
            f"there is no readable model file {path}: the installed package has only what the demo needs; clone "
            "qcheck's repository, which has them all, and install it from there with `pip install -e '.[lab]'`."
        )
    return path


def _kept(cache: Path, name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """The file `name` that `make` writes, from `cache` if it is there: it is known by all that it depends on.

    Several who ask at the same time all make it, and each puts the same bytes in place at once.
    """
    contents = [content_hash(source.read_bytes()) for source in sources]
    key = content_hash([name, contents, RECIPE, [version(p) for p in PACKAGES]]).removeprefix("sha256:")
    target = cache / f"{name}-{key[:16]}.gguf"
    if not target.exists():
        with tempfile.TemporaryDirectory() as scratch:
            draft = Path(scratch, target.name)
            make(draft)
            atomic_write(target, draft.read_bytes())
    return target


def _merged(base: Path, adapter: Path, cache: Path, on_progress: Callable[[str], None]) -> Path:
    def make(target: Path) -> None:
        on_progress(f"merging {adapter.name} into {base.name}")
        merge_adapter(base, adapter, target)

    return _kept(cache, f"{adapter.stem}-F16", (base, adapter), make)


def weights_file(
    models_dir: Path, weights: Weights, fmt: Format, cache: Path, on_progress: Callable[[str], None]
) -> Path:
    """The GGUF file of `weights` in `fmt`: that of `models_dir` where it is the very one, else one kept in `cache`.

    on_progress: called with a few words before a file is made, which takes about a second.

    Raises LabError for a file of `models_dir` that is missing or no fitting model, StorageError where `cache` cannot be
    written.
    """
    source = _existing(models_dir / weights.file)
    if weights.adapter is not None:
        source = _merged(source, _existing(models_dir / weights.adapter), cache, on_progress)
    if fmt == "F16":
        return source

    def make(target: Path) -> None:
        on_progress(f"converting {source.name} to {fmt}")
        convert = round_model if fmt in ROUNDINGS else quantise
        convert(source, target, fmt)

    return _kept(cache, f"{source.stem}-{fmt}", (source,), make)
