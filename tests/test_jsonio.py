from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.errors import StorageError
from qcheck.jsonio import (
    MAX_DEPTH,
    atomic_write,
    canonical,
    content_hash,
    loads,
    pretty,
    significant,
    to_plain,
)

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too: providers send them
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text
json_values = st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(any_text, v), max_leaves=20)


@given(json_values)
def test_whatever_is_written_is_read_back(value: object) -> None:
    assert loads(canonical(value)) == value
    assert loads(pretty(value)) == value


@given(st.dictionaries(any_text, scalars))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert content_hash(turned) == content_hash(value)


@given(json_values)
def test_what_is_printed_for_people_holds_no_control_characters(value: object) -> None:
    assert all(c == "\n" or " " <= c <= "~" for c in pretty(value))


def test_the_canonical_form_is_this() -> None:
    assert canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}'.encode()
    assert content_hash({}) == content_hash(b"{}")
    assert content_hash(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    names: tuple[str, ...]


def test_dataclasses_enums_tuples_and_numpy_become_plain() -> None:
    value = {"p": Point(-math.inf, ("a",)), "c": Colour.RED, 1: np.float64(0.5), "n": np.int64(3), "b": np.bool_(True)}
    assert to_plain(value) == {"p": {"x": "-inf", "names": ["a"]}, "c": "red", "1": 0.5, "n": 3, "b": True}


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("nan")])
def test_numbers_without_a_json_form_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        canonical([value])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "[Infinity]",
        "[-Infinity]",
        "[1e999]",
        '{"a": 1, "a": 2}',
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 100_000,
        "9" * 5000,
        b"\xff",
        b"\0\0\0",
    ],
)
def test_what_is_not_strict_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_nesting_up_to_the_bound_is_read() -> None:
    assert loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@given(st.floats())
def test_six_significant_digits_are_kept(value: float) -> None:
    rounded = significant(value)
    assert significant(rounded) == rounded or math.isnan(value)
    if math.isfinite(value):
        assert rounded == pytest.approx(value, rel=5.1e-6, abs=1e-320)


def test_significant_digits() -> None:
    assert significant(1234567.0) == 1234570.0
    assert significant(-0.000123456789) == -0.000123457
    assert significant(2 / 3, 2) == 0.67


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    atomic_write(path, "é")
    assert path.read_bytes() == "é".encode()
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", fail) if step == "fsync" else (Path, "replace", fail)))
    with pytest.raises(StorageError, match="No space left on device"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        atomic_write(tmp_path / "file" / "x", "data")


WRITER = """
import itertools, sys
from pathlib import Path
from qcheck.jsonio import atomic_write

for n in itertools.count():
    atomic_write(Path(sys.argv[1]), str(n % 10) * 300_000)
    print(n, flush=True)
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while writer.stdout.readline() != "5\n":
            pass
        writer.send_signal(signal.SIGKILL)
    text = path.read_text()
    assert len(text) == 300_000
    assert len(set(text)) == 1
