"""Strict JSON, canonical bytes, content hashes, durable writes.

Numbers that JSON has no form for are never written as such: minus infinity is the string "-inf", what is
absent is null, NaN and plus infinity are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from qcheck.errors import StorageError

__all__ = [
    "as_storage_error",
    "atomic_write",
    "canonical",
    "content_hash",
    "fsync_folder",
    "loads",
    "pretty",
    "significant",
    "to_plain",
    "why_unwritable",
]

MAX_DEPTH = 64


def significant(value: float, digits: int = 6) -> float:
    """`value` rounded to `digits` significant decimal digits; infinities and zero pass unchanged."""
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits - 1}e}")


def to_plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and numpy scalars as plain JSON values; raises ValueError for NaN or +inf."""
    if value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        return to_plain(value.item())
    if isinstance(value, float):
        if value == -math.inf:
            return "-inf"
        if not math.isfinite(value):
            raise ValueError(f"{value} has no JSON form")
    return value


def canonical(value: Any) -> bytes:
    """The one byte form of `value`: sorted keys, no spaces, UTF-8."""
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def pretty(value: Any) -> str:
    """Indented JSON for people, keys in the order given; safe to print (ASCII only, so no control characters)."""
    return json.dumps(to_plain(value), indent=2, allow_nan=False) + "\n"


def content_hash(value: Any) -> str:
    """`sha256:` and the hex digest of the canonical form, or of the bytes themselves."""
    data = value if isinstance(value, bytes) else canonical(value)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object names a key twice")
    return result


def _refuse(token: str) -> float:
    raise ValueError(f"{token} is not JSON")


def _finite(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise ValueError(f"{token} is out of range")
    return value


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            stack.extend((v, depth + 1) for v in item.values())
        elif isinstance(item, list):
            stack.extend((v, depth + 1) for v in item)
    return deepest


def loads(data: bytes | str) -> Any:
    """Parse strict JSON: no NaN, nothing infinite, no key twice, nesting bounded. Raises ValueError."""
    try:
        value = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    opened = data.count(b"[") + data.count(b"{") if isinstance(data, bytes) else data.count("[") + data.count("{")
    if opened > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return value


def why_unwritable(folder: Path) -> str | None:
    """Why no file can be made in `folder`, which may still have to be made itself; None where one can."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError:
        return f"nothing can be written into {nearest}" if nearest.is_dir() else f"{nearest} is no folder"


@contextlib.contextmanager
def as_storage_error(path: Path) -> Iterator[None]:
    """Turn any OSError of the block, which writes `path`, into a StorageError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(f"cannot write {path}: {reason}; free space or choose another place.") from error


def fsync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable (no-op where folders cannot be opened)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write all or nothing: temporary file, fsync, replace, fsync of the folder. Raises StorageError."""
    payload = data.encode() if isinstance(data, str) else data
    with as_storage_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)
