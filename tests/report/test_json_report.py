import json
from pathlib import Path

import pytest

from qcheck.errors import ConfigurationError
from qcheck.report.json import check_target, write
from qcheck.result import result_to_json


def test_to_a_file_or_to_whoever_prints(every_verdict, tmp_path):
    put = []
    write(every_verdict, str(tmp_path / "r.json"), put.append)
    assert put == []
    write(every_verdict, "-", put.append)
    assert put == [(tmp_path / "r.json").read_text()]
    assert json.loads(put[0]) == result_to_json(every_verdict)


def test_hostile_text_is_escaped(hostile):
    put = []
    write(hostile, "-", put.append)
    assert put[0].isascii()
    assert "\x1b" not in put[0]


def test_targets_that_cannot_be_written(tmp_path):
    check_target(None)
    check_target("-")
    check_target(str(tmp_path / "new.json"))
    for target in (tmp_path, tmp_path / "no" / "file.json"):
        with pytest.raises(ConfigurationError, match="--json"):
            check_target(str(target))


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here in which even root cannot write")
def test_a_folder_that_takes_no_file_is_found_out_before_the_run():
    with pytest.raises(ConfigurationError, match="nothing can be written into /proc/self"):
        check_target("/proc/self/result.json")
