"""What a GGUF file answers when llama.cpp serves it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import xllamacpp
from numpy.typing import NDArray

from qcheck.lab.catalog import EngineSettings
from qcheck.lab.engine import parameters
from qcheck.lab.messages import EngineStart

# Of an end token or half a character nothing would be sent. The log-probabilities are the model's own all the same.
FORCED = {"5": 1000}  # "!"
PROMPTS = ("In the beginning God created", "Sort a list of numbers in Python and", "What is")


def _ask(url: str, body: dict[str, object]) -> dict[str, object]:
    """The server's answer; it says 503 until the model is loaded."""
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode())
    for _ in range(1000):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            assert error.code == 503, error.read()
            time.sleep(0.02)
    raise TimeoutError(url)


def served(model: Path, vocabulary: int, adapter: Path | None = None) -> NDArray[np.float64]:
    """Next-token log-probabilities (prompts, vocabulary) of `model`, with llama.cpp's own use of `adapter` on it."""
    params = parameters(EngineStart(str(model), EngineSettings()))
    if adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(params)
    logprobs = np.full((len(PROMPTS), vocabulary), -np.inf)
    for row, prompt in zip(logprobs, PROMPTS, strict=True):
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": vocabulary, "logit_bias": FORCED}
        answer = _ask(server.listening_address, body)
        for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            row[token["id"]] = token["logprob"]
    assert np.allclose(np.exp(logprobs).sum(axis=1), 1, atol=1e-3)
    return logprobs


def divergence(true: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Mean Kullback-Leibler divergence in nats a token."""
    return float(np.mean(np.sum(np.exp(true) * (true - other), axis=1)))
