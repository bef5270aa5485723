"""The commands that start real engines."""

import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.integration


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_lab_serves_until_it_is_told_to_end(number):
    script = "from qcheck.cli.main import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "lab", "up", "honest"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert re.fullmatch(r"qcheck compare lab-tiny --providers honest=http://127\.0\.0\.1:\d+/p0/v1\n", line)
    assert process.returncode == 0
    assert err.splitlines()[-1] == "the lab has ended"


def test_a_signal_that_comes_just_before_the_lab_waits_is_noticed(qcheck, monkeypatch):
    """What it waits by ends by itself, as `signal.pause` does not."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    served = SimpleNamespace(base_url="http://127.0.0.1:9/v1")
    monkeypatch.setattr("qcheck.lab.supervisor.Lab.endpoints", lambda *_: [served])
    monkeypatch.setattr("qcheck.cli.lab.time", SimpleNamespace(sleep=wait))
    monkeypatch.setattr("signal.pause", lambda: pytest.fail("it would wait for the next signal"))
    spoken = qcheck("lab", "up", "honest")
    assert spoken.code == 0
    assert spoken.err.splitlines()[-1] == "the lab has ended"
    assert len(waited) == 2
    assert max(waited) <= 1


def test_the_demonstration_tells_the_honest_from_the_others(qcheck, tmp_path):
    spoken = qcheck("demo", "--seed", "7", "--json", "demo.json")
    assert spoken.code == 0
    verdicts = {p["name"]: p["verdict"] for p in json.loads((tmp_path / "demo.json").read_text())["providers"]}
    assert {name for name, verdict in verdicts.items() if verdict == "deviates"} == {
        "lab/q4_k_m",
        "lab/q2_k",
        "lab/finetuned",
        "lab/honest?system=Be+brief.",
        "lab/q4_k_m?route=0.1",
    }
    assert "try next: " in spoken.err
