"""What a request may say, what the gateway asks of an engine and shows of its answer, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from qcheck.jsonio import content_hash
from qcheck.lab.traits.parameters import token_limit
from qcheck.lab.traits.prompt import with_date
from qcheck.lab.traits.trait import Endpoint, Exchange, Reply, error_body

__all__ = ["SAYS", "engine_body", "engine_error", "published", "refusal"]

SAYS: Final[Mapping[Endpoint, str]] = {"chat/completions": "messages", "completions": "prompt"}

# What both engines understand alike; whatever else a client sends has no effect.
_UNDERSTOOD: Final = ("model", "temperature", "top_k", "top_p", "min_p", "seed", "n", "logprobs")
_UNDERSTOOD_AT: Final[Mapping[Endpoint, tuple[str, ...]]] = {
    "chat/completions": (*_UNDERSTOOD, "messages", "tools", "chat_template_kwargs", "top_logprobs"),
    "completions": (*_UNDERSTOOD, "prompt", "echo"),
}
_NEUTRAL: Final = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}  # llama.cpp's own defaults cut the tail

# All that an answer consists of, whichever engine made it.
_CHOICE: Final = ("index", "message", "text", "logprobs", "finish_reason")
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")

_INVALID: Final = "the request cannot be answered: a parameter is invalid, or the prompt is too long"
_BROKEN: Final = "the server had an error while processing the request"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_chat(value: Any) -> bool:
    """Whether it is a list of turns that the assistant is to answer."""
    if not isinstance(value, list) or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value):
        return False
    return not value or value[-1]["role"] != "assistant"


def _is_prompt(value: Any) -> bool:
    return bool(value) and (isinstance(value, str) or (isinstance(value, list) and all(map(_is_count, value))))


# The engines differ in what else they bear with.
_FORMS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "max_tokens": ("a whole number", _is_whole),
    "max_completion_tokens": ("a whole number", _is_whole),
    "temperature": ("a number", _is_number),
    "top_k": ("a whole number", _is_whole),
    "top_p": ("a number", _is_number),
    "min_p": ("a number", _is_number),
    "seed": ("a whole number", _is_whole),
}
_FORMS_AT: Final[Mapping[Endpoint, Mapping[str, tuple[str, Callable[[Any], bool]]]]] = {
    "chat/completions": {
        **_FORMS,
        "messages": ("a list of objects with a role, the last not the assistant's", _is_chat),
        "logprobs": ("true or false", lambda value: isinstance(value, bool)),
        "top_logprobs": ("a number of tokens", _is_count),
        "tools": ("a list", lambda value: isinstance(value, list)),
        "chat_template_kwargs": ("an object", lambda value: isinstance(value, dict)),
    },
    "completions": {
        **_FORMS,
        "prompt": ("a text or a list of tokens, and not empty", _is_prompt),
        "logprobs": ("a number of tokens", _is_count),
        "echo": ("true or false", lambda value: isinstance(value, bool)),
    },
}


def refusal(endpoint: Endpoint, body: Any, model_id: str) -> Reply | None:
    """Why a body is not answered, whatever the provider; None if it may be."""
    says = SAYS[endpoint]
    if not isinstance(body, dict) or body.get(says) is None or not isinstance(body.get("model"), str):
        return _bad(f"the body is not a JSON object with model and {says}")
    if body["model"] != model_id:
        return Reply(404, error_body(404, f"the model {body['model']!r} does not exist; this lab serves {model_id}"))
    for name, (form, has_it) in _FORMS_AT[endpoint].items():
        if body.get(name) is not None and not has_it(body[name]):
            return _bad(f"{name} is not {form}")
    return _bad("this lab does not stream") if body.get("stream") else None


def _bad(message: str) -> Reply:
    return Reply(400, error_body(400, message))


def engine_body(exchange: Exchange) -> Mapping[str, Any]:
    """The body that the engine gets: what it understands, neutral sampling where the client says nothing, and one
    limit on the tokens of the answer."""
    given = {name: with_date(exchange).body.get(name) for name in _UNDERSTOOD_AT[exchange.endpoint]}
    given["max_tokens"] = token_limit(exchange)
    return _NEUTRAL | {name: value for name, value in given.items() if value is not None}


def published(answer: Mapping[str, Any], exchange: Exchange, model_id: str) -> Reply:
    """The reply that holds an engine's answer, without what tells the engine."""
    usage = answer["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    body = {
        "id": "chatcmpl-" + content_hash([exchange.request, exchange.occurrence])[-32:],
        "object": answer["object"],
        "created": int(exchange.time.timestamp()),
        "model": model_id,
        "choices": [{name: choice[name] for name in _CHOICE if name in choice} for choice in answer["choices"]],
        "usage": {name: usage[name] for name in _COUNTS} | {"prompt_tokens_details": {"cached_tokens": cached}},
    }
    return Reply(200, body, exchange.deployment)


def engine_error(status: int) -> Reply:
    """The reply to a request that an engine answered with an error: each engine words its own, here all are alike."""
    return Reply(status, error_body(status, _INVALID if status < 500 else _BROKEN))
