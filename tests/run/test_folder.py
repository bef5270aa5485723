from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from qcheck.errors import ConfigurationError, RunFolderError, StorageError, UnknownNameError
from qcheck.run.folder import RunFolder, default_base, make_run_id

RUN_ID = make_run_id(datetime(2026, 11, 23, 18, 45, tzinfo=UTC), "3f9a2c")


def test_run_ids_sort_by_time() -> None:
    assert RUN_ID == "20261123T184500-3f9a2c"


def test_runs_are_kept_in_the_data_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_base() == tmp_path / "qcheck" / "runs"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_base() == tmp_path / ".local" / "share" / "qcheck" / "runs"


def test_a_run_is_found_by_id_and_by_path(tmp_path: Path) -> None:
    created = RunFolder.create(tmp_path / "runs", RUN_ID)
    created.write_manifest({"seed": 7, "b": None, "a": "é"})
    for name in (RUN_ID, str(created.path)):
        opened = RunFolder.open(name, tmp_path / "runs")
        assert opened.run_id == RUN_ID
        assert opened.read_manifest() == {"seed": 7, "b": None, "a": "é"}
        assert opened.journal == created.path / "journal.jsonl"


def test_a_place_that_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="what cannot be shown"):
        RunFolder.check_base(tmp_path / "a\x1b[31m")


def test_the_result_is_kept_byte_for_byte(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, RUN_ID)
    assert run.read_result() is None
    run.write_result(b"{}\r\n")
    run.write_result(b"[]\r\n")
    assert run.read_result() == b"[]\r\n"


def test_the_nearest_ids_are_suggested(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, RUN_ID).write_manifest({})
    with pytest.raises(UnknownNameError, match=f"did you mean {RUN_ID}"):
        RunFolder.open("20261123T184500-3f9a2", tmp_path)
    with pytest.raises(UnknownNameError, match="none is known"):
        RunFolder.open(RUN_ID, tmp_path / "elsewhere")


def test_a_run_is_created_once(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, RUN_ID)
    with pytest.raises(RunFolderError, match="exists already"):
        RunFolder.create(tmp_path, RUN_ID)


def test_a_place_that_cannot_hold_folders_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        RunFolder.create(tmp_path / "file", RUN_ID)


def test_a_folder_without_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no manifest\.json"):
        RunFolder.open(str(tmp_path), tmp_path / "runs")
    with pytest.raises(RunFolderError, match=r"no manifest\.json"):
        RunFolder.create(tmp_path, RUN_ID).read_manifest()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, data: bytes) -> None:
    run = RunFolder.create(tmp_path, RUN_ID)
    (run.path / "manifest.json").write_bytes(data)
    with pytest.raises(RunFolderError, match=r"manifest\.json is damaged"):
        run.read_manifest()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, RUN_ID)
    (run.path / "result.json").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot read .*result\.json"):
        run.read_result()
