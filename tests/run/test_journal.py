from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.errors import RunFolderError, StorageError
from qcheck.jsonio import canonical
from qcheck.records import Attempt, Response, attempt_to_row
from qcheck.run.journal import SYNC_EVERY_S, Journal, read_journal, settled_requests

FAILED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00Z", 0.1, "retried", http_status=503, error="HTTP 503")
ANSWER = Response("4\n", (), 10, 1, None, "stop", "m", None)
ANSWERED = Attempt("a", 0, "p0", 1, "2026-11-23T18:45:01Z", 0.2, "answered", http_status=200, response=ANSWER)


def write(path: Path, *attempts: Attempt) -> None:
    with Journal.open(path) as journal:
        for attempt in attempts:
            journal.append(attempt)


def test_what_is_appended_is_read_back_in_order_over_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, FAILED)
    write(path, ANSWERED, FAILED)
    assert read_journal(path) == [FAILED, ANSWERED, FAILED]


def test_an_attempt_is_with_the_operating_system_before_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(ANSWERED)
        assert read_journal(path) == [ANSWERED]


def test_a_second_opener_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path) as journal:
        journal.append(FAILED)
        with pytest.raises(RunFolderError, match="in use by another process"):
            Journal.open(path)
        journal.append(ANSWERED)
    write(path, FAILED)
    assert read_journal(path) == [FAILED, ANSWERED, FAILED]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_journal_torn_anywhere_keeps_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    write(path, FAILED, ANSWERED, FAILED)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    tail = data.draw(st.sampled_from([b"", b"\0" * 7, b"\xff{"]))
    path.write_bytes(whole[:cut] + tail)
    kept = [FAILED, ANSWERED, FAILED][: whole[:cut].count(b"\n")]
    assert read_journal(path) == kept
    write(path, ANSWERED)
    assert read_journal(path) == [*kept, ANSWERED]


GOOD = attempt_to_row(ANSWERED)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"\0\0\0",
        canonical(GOOD | {"colour": "red"}),
        canonical(GOOD | {"response": GOOD["response"] | {"colour": "red"}}),
        canonical(GOOD | {"response": []}),
        canonical(GOOD | {"outcome": "lost"}),
        canonical(GOOD | {"outcome": "failed"}),
        canonical(GOOD | {"seq": "0"}),
        canonical(GOOD | {"seq": True}),
        canonical({name: value for name, value in GOOD.items() if name != "response"}),
        canonical({name: value for name, value in GOOD.items() if name != "provider"}),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, FAILED)
    path.write_bytes(path.read_bytes() + line + b"\n" + canonical(GOOD) + b"\n")
    with pytest.raises(RunFolderError, match=r"journal\.jsonl line 2 is damaged"):
        read_journal(path)


def test_a_missing_journal_is_an_error_of_the_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="No such file"):
        read_journal(tmp_path / "journal.jsonl")


def test_a_folder_that_is_not_there_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Journal.open(tmp_path / "gone" / "journal.jsonl")


def test_a_full_disk_is_a_storage_error_and_leaves_no_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write_some = tmp_path / "journal.jsonl", os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_some(handle, data[: len(data) // 2])

    with Journal.open(path) as journal:
        journal.append(FAILED)
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StorageError, match="No space left"):
                journal.append(ANSWERED)
        assert path.read_bytes() == before
        journal.append(ANSWERED)
    assert read_journal(path) == [FAILED, ANSWERED]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write_some = tmp_path / "journal.jsonl", os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write_some(handle, data[:7]))
    write(path, ANSWERED, FAILED)
    assert read_journal(path) == [ANSWERED, FAILED]


def test_the_disk_is_synchronised_at_most_once_a_second_and_on_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, synced = 0.0, []
    with Journal.open(tmp_path / "journal.jsonl", clock=lambda: now) as journal:
        monkeypatch.setattr(os, "fsync", lambda _handle: synced.append(now))
        for step in range(10):
            now = step * SYNC_EVERY_S / 4
            journal.append(FAILED)
        assert synced == [SYNC_EVERY_S, 2 * SYNC_EVERY_S]
    assert len(synced) == 3


def test_settled_requests_hold_the_end_of_each_request() -> None:
    other = Attempt("b", 0, "p0", 0, "2026-11-23T18:45:00Z", 0.1, "retried")
    assert settled_requests([FAILED, ANSWERED, other]) == {("a", 0): ANSWERED}


WRITER = """
import sys
from pathlib import Path
from qcheck.records import Attempt
from qcheck.run.journal import Journal

with Journal.open(Path(sys.argv[1])) as journal:
    for seq in range(10**9):
        journal.append(Attempt("a", seq, "p", 0, "2026-11-23T18:45:00Z", 0.1, "failed", error="x" * (seq % 5000)))
        print(seq, flush=True)
"""


def test_what_a_killed_process_had_appended_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while writer.stdout.readline() != "200\n":
            pass
        writer.send_signal(signal.SIGKILL)
        last = 200 + len(writer.stdout.read().split())
    seqs = [attempt.seq for attempt in read_journal(path)]
    assert seqs == list(range(len(seqs)))
    assert len(seqs) in {last + 1, last + 2}
    write(path, ANSWERED)
    assert read_journal(path)[-1] == ANSWERED
