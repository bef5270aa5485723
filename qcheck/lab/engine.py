"""One llama.cpp server in a process of its own: `python -m qcheck.lab.engine`.

Standard input: one JSON line, an `EngineStart`, then nothing until the parent closes it.
Standard output: one JSON line, `{"url": …}` once the server answers, or `{"error": …}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import xllamacpp

from qcheck.jsonio import loads
from qcheck.lab.catalog import CONTEXT_TOKENS, EngineSettings
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import live_with_parent, reply

__all__ = ["main", "parameters"]

CHAT_TEMPLATE: Final = Path(__file__).with_name("chat_template.jinja")
HOST: Final = "127.0.0.1"
HEALTH_TIMEOUT_S: Final = 30.0
HTTP_TIMEOUT_S: Final = 120
HTTP_THREADS: Final = 16
PROMPT_CACHE_MIB: Final = 64
WARNINGS: Final = 2


def parameters(start: EngineStart) -> Any:
    """The xllamacpp.CommonParams of an engine. Nothing is left to the machine's core count or free memory."""
    settings = start.settings
    assert isinstance(settings, EngineSettings)
    params = xllamacpp.CommonParams()
    params.model.path = start.model
    params.hostnames = [HOST]
    params.port = 0
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * CONTEXT_TOKENS
    params.n_batch = settings.batch
    params.n_ubatch = settings.ubatch
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.cache_prompt = settings.cache_prompt
    params.cache_ram_mib = PROMPT_CACHE_MIB if settings.cache_prompt else 0
    kinds = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (
        kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings.flash_attention else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.kv}")
    params.no_extra_bufts = not settings.repack
    params.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    params.default_template_kwargs = {name: json.dumps(value) for name, value in start.template.items()}
    params.n_gpu_layers = 0
    params.fit_params = False
    params.warmup = False
    params.ui = False
    params.verbosity = WARNINGS
    params.n_threads_http = HTTP_THREADS
    params.timeout_read = HTTP_TIMEOUT_S
    params.timeout_write = HTTP_TIMEOUT_S
    return params


def _is_healthy(url: str) -> bool:
    """Whether the server says that it is ready. Asked without a proxy, whatever the environment names."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=HEALTH_TIMEOUT_S)
    with closing(connection), suppress(OSError, HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + HEALTH_TIMEOUT_S
    while not _is_healthy(url):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {HEALTH_TIMEOUT_S:g} s")
        time.sleep(0.02)


def main() -> None:
    """Serve until standard input ends."""
    live_with_parent()
    message = loads(sys.stdin.buffer.readline())
    start = EngineStart(message["model"], EngineSettings(**message["settings"]), message["template"])
    try:
        server = xllamacpp.Server(parameters(start))
        _wait_until_healthy(server.listening_address)
    except (RuntimeError, OSError) as error:
        reply({"error": f"llama.cpp cannot load {start.model} ({error})"})
        os._exit(1)
    reply({"url": server.listening_address})
    sys.stdin.buffer.read()
    os._exit(0)  # without llama.cpp's destructors, which wait for requests in flight


if __name__ == "__main__":
    main()
