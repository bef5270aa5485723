"""What cannot be observed at an endpoint, whatever it answers: a comparison of it would accuse honest providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcheck.registry.types import BEGUN, Endpoint

__all__ = ["UNTOLD_WAY", "lost_observables"]

_ALL: Final = ("logprobs", "greedy_text", "scored_text", "sampled_text", "answers", "tool_calls", "prompt_tokens")
_NOT_FOUND: Final = (
    "no way was found to keep the model from thinking there; thinking_off (docs/dialects.md) says one in qcheck.toml"
)
UNTOLD_WAY: Final = (
    "it could not be found out in time how the model is kept from thinking there, so that no answer could be relied "
    "upon; ask again later, or say it with thinking_off (docs/dialects.md) in qcheck.toml"
)


def lost_observables(endpoint: Endpoint, temperature: float | None = None) -> Mapping[str, str]:
    """Names of observables that `endpoint` cannot show at a temperature, its own unless given, and why not."""
    dialect = endpoint.dialect
    t = endpoint.temperature if temperature is None else temperature
    if dialect.thinking_off == "never":
        why = "the model thinks first there, whatever it is told, and the reference does not"
        return dict.fromkeys(_ALL, why)
    if dialect.thinking_off == "not found":
        return dict.fromkeys(_ALL, _NOT_FOUND)
    lost = {}
    if not dialect.top_logprobs_max:
        lost["logprobs"] = "none are given"
    elif dialect.after_temperature is not False and t:
        those = f"the model's before the temperature of {t:g}" + " and a default top_p" * (t == 1)
        lost["logprobs"] = (
            f"those that are given are not {those}"
            if dialect.after_temperature
            else f"nobody knows whether those that are given are {those}; after_temperature in qcheck.toml says so"
        )
    if t:
        lost["greedy_text"] = f"no temperature but {t:g} is accepted"
    elif endpoint.thinks_always:
        lost["greedy_text"] = "the model thinks first, wherever it is served"
    if endpoint.thinks_always:
        lost["scored_text"] = "the model thinks first, wherever it is served"
    if endpoint.prompt_format and dialect.thinking_off in {*BEGUN, "completions"}:
        lost["tool_calls"] = "servers read calls only in answers that they begin themselves"
    return lost
