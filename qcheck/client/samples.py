"""A model's own distribution, whole: what is asked of those who are known to keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qcheck.registry.types import Endpoint, PlainSamples

__all__ = ["plainly"]

_OPENAI: Final = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
_FIELDS: Final[Mapping[PlainSamples, Mapping[str, Any]]] = {
    "openai": _OPENAI,
    "vllm": _OPENAI | {"top_k": -1, "min_p": 0, "repetition_penalty": 1},  # SGLang's fields, too
    "llama.cpp": _OPENAI | {"top_k": 0, "min_p": 0, "repeat_penalty": 1},
}


def plainly(endpoint: Endpoint) -> Mapping[str, Any]:
    """The fields of a body that ask for no cut tail and no penalties; these change greedy answers, too.

    Nothing is asked where nobody knows that it would be kept to: some refuse what they do not know, and of some a
    model's own settings alone are accepted.
    """
    form = endpoint.dialect.plain_samples
    return _FIELDS[form] if form else {}
