"""What is said on a line of its own cannot act on a terminal."""

import json

import pytest

from qcheck.cli.messages import Messages

HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\u202ec\nd"


@pytest.mark.parametrize("say", ["result", "note", "error"])
def test_a_line_is_cleaned(capsys, say):
    getattr(Messages(), say)(HOSTILE)
    assert "".join(capsys.readouterr()).removeprefix("qcheck: ") == "abc d\n"


def test_a_sheet_keeps_its_colours_and_lines(capsys):
    Messages().sheet("\x1b[1mname\x1b[0m\nvalue\n")
    assert capsys.readouterr().out == "\x1b[1mname\x1b[0m\nvalue\n"


def test_hostile_keys_of_a_result_are_harmless_in_the_list_of_differences(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    small = ("--reference", "none", "--max-requests", "6", "--run-dir", "runs")
    qcheck("compare", "lab-tiny", "--providers", specs, *small)
    (run,) = (tmp_path / "runs").iterdir()
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {HOSTILE: 1}))
    spoken = qcheck("verify", run)
    assert spoken.code == 5
    assert spoken.out.splitlines()[1:] == ["- abc d"]
