"""The tables of the benchmark of servers that nobody here wrote, and the processes that it starts; none of them is one
of those servers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.foreign import serving
from benchmarks.servers import COMPARED, MODEL, TRUTH, capability_table, settings, verdict_table
from qcheck.registry.config import load_user_config
from qcheck.report.check import NAMES

SERVER = """
import http.server as h, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
h.HTTPServer(("127.0.0.1", port), h.BaseHTTPRequestHandler).serve_forever()
"""
OWNER = f"""
import pathlib, sys, time
from benchmarks.foreign import serving
with serving([sys.executable, "-c", {SERVER!r}], pathlib.Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def offers(**found: str) -> dict[str, object]:
    said = dict(TRUTH["py"]) | found
    return {"py": {"capabilities": [{"name": name, "offered": offered} for name, offered in said.items()]}}


def test_what_is_true_is_said_of_every_capability() -> None:
    assert all(set(truth) == set(NAMES) and set(truth.values()) == {"yes", "no"} for truth in TRUTH.values())


def test_what_is_not_known_is_not_wrong() -> None:
    table = capability_table(offers(greedy="yes", caching="unknown"))
    assert "| greedy decoding | **yes** (no) |" in table
    assert "| cached prompts | unknown (yes) |" in table
    assert "| seed | yes |" in table
    assert f"{len(NAMES) - 2} of {len(NAMES)} right, 1 unknown, 1 wrong" in table


def result(**verdicts: str) -> dict[str, object]:
    share = {"low": 0.0, "estimate": 0.0, "high": 0.04}
    rows = [
        {
            "name": p.name,
            "verdict": verdicts.get(p.name, p.right),
            "deviating": {"of": 105},
            "routing_fraction": share if p.right == "consistent" else None,
        }
        for p in COMPARED
    ]
    return {"providers": rows}


def test_verdicts_are_counted_by_provider() -> None:
    table = verdict_table([result(), result(cpp="deviates", py="inconclusive")])
    assert "| llama.cpp | F16 | consistent | 1 consistent, 1 deviates | 105 | 0.00 – 0.04; 0.00 – 0.04 |" in table
    assert "| LiteLLM, llama.cpp | weights 90 F16, 10 Q4_K_M | deviates | 2 deviates | 105 | –; – |" in table
    assert f"{2 * len(COMPARED) - 2} of {2 * len(COMPARED)} verdicts are right, 1 leave it open, 1 are wrong" in table


def test_qcheck_takes_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "qcheck.toml"
    path.write_text(settings(), encoding="utf-8")
    tables = load_user_config(path).providers
    assert set(tables) == {p.name for p in COMPARED if p.server.startswith("litellm-")}
    assert tables["litellm-py-10"].models[MODEL].model_id == "py-10"


def answers(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def test_a_server_ends_with_the_benchmark(tmp_path: Path) -> None:
    with serving([sys.executable, "-c", SERVER], tmp_path / "server") as url:
        assert answers(url)
    assert not answers(url)


def test_a_server_ends_with_a_benchmark_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "server")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        assert answers(url)
        owner.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while answers(url) and time.monotonic() < end:
        time.sleep(0.05)
    assert not answers(url)


def test_a_server_that_does_not_start_is_told_in_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="no such model"),
        serving([sys.executable, "-c", "raise SystemExit('no such model')"], tmp_path / "server"),
    ):
        pass
