from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qcheck.lab.catalog import DEPLOYMENTS, PROVIDERS
from qcheck.lab.engine import parameters
from qcheck.lab.messages import EngineStart
from qcheck.lab.supervisor import Lab

# Starts a deployment's engine with llama.cpp telling all it does, prints what /props says, then its own log follows.
TALKATIVE = """
import json, sys, urllib.request, xllamacpp
from qcheck.lab.catalog import DEPLOYMENTS
from qcheck.lab.engine import parameters
from qcheck.lab.messages import EngineStart
params = parameters(EngineStart(sys.argv[1], DEPLOYMENTS[sys.argv[2]].settings))
params.verbosity = 5
server = xllamacpp.Server(params)
print(urllib.request.urlopen(server.listening_address + "/props").read().decode())
"""


@pytest.mark.parametrize("name", ["honest", "honest-flash", "honest-batch", "honest-ubatch", "honest-b", "honest-c"])
def test_settings_reach_the_engine(name: str, release: Path):
    run = subprocess.run(
        [sys.executable, "-c", TALKATIVE, release, name], capture_output=True, text=True, check=True, timeout=60
    )
    settings = DEPLOYMENTS[name].settings
    props = json.loads(run.stdout)
    assert props["total_slots"] == settings.slots
    assert props["default_generation_settings"]["n_ctx"] == 320

    def logged(pattern: str) -> str:
        found = re.search(pattern, run.stderr)
        assert found, pattern
        return found[1]

    assert int(logged(r"n_ubatch += (\d+)")) == settings.ubatch
    assert logged(r"flash_attn += (\w+)") == ("enabled" if settings.flash_attention else "disabled")
    assert int(logged(r"threadpool init, n_threads = (\d+)")) == settings.threads


def test_repacking_is_a_parameter(release: Path):
    """F16 weights are never re-laid on common CPUs, so that nothing shows it from outside."""
    for name in ("honest", "honest-c"):
        settings = DEPLOYMENTS[name].settings
        assert parameters(EngineStart(str(release), settings)).no_extra_bufts is not settings.repack


@pytest.mark.parametrize("name", ["honest", "honest-batch", "honest-ubatch", "honest-c"])
def test_the_prompt_cache_is_on_where_it_should_be(name: str, lab: Lab, chat: Callable[..., dict[str, Any]]):
    url = lab.endpoint(name).base_url
    long = "And the earth was without form, and void; and darkness was upon the face of the deep. " * 3
    for _ in range(2):
        usage = chat(url, long)["usage"]
    assert (usage["prompt_tokens_details"]["cached_tokens"] > 0) is DEPLOYMENTS[name].settings.cache_prompt


@pytest.mark.parametrize("name", ["honest-f32", "honest-bf16", "q8_0", "q6_k", "q4_k_m", "q2_k"])
def test_the_format_is_the_one_served(name: str, lab: Lab):
    lab.endpoint(name)
    with urllib.request.urlopen(f"{lab._engine_urls[name]}/props", timeout=10) as response:
        served = json.load(response)["model_ftype"]
    fmt = {"F32": "all F32", "Q4_K_M": "Q4_K - Medium", "Q2_K": "Q2_K - Medium"}.get(
        DEPLOYMENTS[name].format, DEPLOYMENTS[name].format
    )
    assert served == fmt


def test_everything_listens_on_this_machine_alone(lab: Lab):
    lab.endpoint("honest")
    assert lab._gateway_url is not None
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    for url in (lab._gateway_url, *lab._engine_urls.values()):
        port = f"{int(url.rpartition(':')[2]):04X}"
        addresses = [line.split()[1] for line in listening.splitlines()[1:] if f":{port} " in line and " 0A " in line]
        assert addresses == [f"0100007F:{port}"]


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS.values() if p.kind in ("reference", "held-out")])
def test_every_honest_deployment_has_a_noise_of_its_own(
    name: str, lab: Lab, prompts: tuple[str, ...], logprobs: Callable[[str, str], dict[int, float]]
):
    """Asked by 8 clients, for honest-batch differs from honest only under load."""
    urls = [e.base_url for e in lab.endpoints(["honest", name])]
    asked = prompts * 6
    with ThreadPoolExecutor(8) as pool:
        pairs = list(zip(*(pool.map(lambda p, url=url: logprobs(url, p), asked) for url in urls), strict=True))
    largest = max(abs(other[k] - true[k]) for true, other in pairs for k in sorted(true, key=true.__getitem__)[-20:])
    assert (largest > 0) is (name != "honest")
    assert largest < 0.05
