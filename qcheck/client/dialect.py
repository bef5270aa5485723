"""The words of the OpenAI chat-completions form and its dialects: what is sent, and what providers say instead.

What comes back is trusted in nothing. Where it carries evidence (text, log-probabilities, token counts) it is right
or refused; where it is a mere label (finish reason, model, fingerprint) what cannot be used is dropped.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from qcheck.client.logprobs import MalformedError, positions
from qcheck.client.redact import plain
from qcheck.records import Request, Response
from qcheck.registry.types import Endpoint, ThinkingSwitch

__all__ = ["DialectError", "build_body", "error_message", "parse_model_ids", "parse_response"]

MAX_TEXT = 1_000_000  # characters of an answer or its reasoning
MAX_COUNT = 10**9  # tokens
_MAX_LABEL = 200
_MAX_ERROR_BODY = 65_536  # bytes

_THINKING_OFF: dict[ThinkingSwitch, dict[str, Any]] = {
    "thinking.type": {"thinking": {"type": "disabled"}},
    # Kimi's and DeepSeek's templates read the first, Qwen's and GLM's the second; each ignores the other.
    "chat_template_kwargs": {"chat_template_kwargs": {"thinking": False, "enable_thinking": False}},
    "enable_thinking": {"enable_thinking": False},
    "reasoning": {"reasoning": {"enabled": False}},
    "none": {},
}


class DialectError(Exception):
    """A body that is no answer. It never leaves the client, which turns it into a failed attempt.

    kind: "malformed", or "error" where the provider reports one in an HTTP 200. status: the status it gives there.
    """

    def __init__(self, kind: Literal["malformed", "error"], message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status


def build_body(endpoint: Endpoint, model_id: str, request: Request) -> dict[str, Any]:
    """The JSON body that asks `request`; what the endpoint adds (`extra_body`) is put over the rest."""
    dialect = endpoint.dialect
    body: dict[str, Any] = {
        "model": model_id,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        dialect.max_tokens: request.max_tokens,
        "temperature": request.temperature,
        "stream": False,
    }
    if request.top_logprobs:
        k = request.top_logprobs
        body |= {"logprobs": k} if dialect.logprobs == "integer" else {"logprobs": True, "top_logprobs": k}
    if dialect.thinking_off is not None:
        body |= _THINKING_OFF[dialect.thinking_off]
    return body | dict(dialect.extra_body) | dict(endpoint.extra_body)


def _loads(body: bytes) -> Any:
    """Lenient where servers are known to be: leading white space, and Python's -Infinity for a probability of zero."""
    try:
        return json.loads(body)
    except RecursionError:
        raise DialectError("malformed", "the body is nested too deeply") from None
    except ValueError:
        raise DialectError("malformed", "the body is not JSON") from None


def _message_of(error: Any) -> str:
    """The words of an error object: its message, and what an aggregator's upstream said."""
    if not isinstance(error, dict):
        return error if isinstance(error, str) else ""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return ": ".join(part for part in (error.get("message"), raw) if isinstance(part, str) and part)


def error_message(body: bytes) -> str:
    """What the body of a failed exchange says, unfiltered; "" where it says nothing or goes on without end."""
    if len(body) > _MAX_ERROR_BODY:
        return ""
    try:
        value = _loads(body)
    except DialectError:
        return body.decode("utf-8", "replace")
    if not isinstance(value, dict):
        return ""
    words = (_message_of(value.get("error")), value.get("message"), value.get("detail"))
    return next((word for word in words if isinstance(word, str) and word), "")


def _raise_reported(error: Any) -> None:
    """Raise what a body with HTTP 200 reports as an error, if it does."""
    if not error:
        return
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    raise DialectError("error", f"an error in an HTTP 200: {_message_of(error) or 'no message'}", status)


def _object(value: Any, what: str) -> dict[str, Any]:
    """`value` if it is an object, an empty one if it is absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DialectError("malformed", f"{what} is no object")
    return value


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise DialectError("malformed", f"{what} is no text of at most {MAX_TEXT} characters")
    return value


def _label(value: Any) -> str | None:
    return (plain(value[:_MAX_LABEL]) or None) if isinstance(value, str) else None


def _count(usage: dict[str, Any], field: str) -> int | None:
    value = usage.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise DialectError("malformed", f"usage.{field} is no number of tokens")
    return value


def _cost(usage: dict[str, Any]) -> float | None:
    value = usage.get("cost")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COUNT:
        raise DialectError("malformed", "usage.cost is no amount")
    return float(value)


def parse_response(body: bytes) -> Response:
    """The answer in the body of an HTTP 200. Raises DialectError, and nothing else, where there is none."""
    value = _loads(body)
    if not isinstance(value, dict):
        raise DialectError("malformed", "the body is no object")
    _raise_reported(value.get("error"))
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise DialectError("malformed", "the body has no choices")
    choice = choices[0]
    _raise_reported(choice.get("error") or choice.get("finish_reason") == "error")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise DialectError("malformed", "the choice has no message")
    try:
        read = positions(_object(choice.get("logprobs"), "logprobs"))
    except MalformedError as error:
        raise DialectError("malformed", f"logprobs: {error}") from None
    usage = _object(value.get("usage") or choice.get("usage"), "usage")  # Moonshot puts it into the choice
    return Response(
        text=_text(message.get("content"), "content"),
        positions=read,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cost_usd=_cost(usage),
        finish_reason=_label(choice.get("finish_reason")),
        reported_model=_label(value.get("model")),
        fingerprint=_label(value.get("system_fingerprint")),
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning"), "reasoning") or None,
    )


def parse_model_ids(body: bytes) -> tuple[str, ...]:
    """The ids that a `/models` answer lists. Raises DialectError."""
    value = _loads(body)
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise DialectError("malformed", "the list of models is no list")
    ids = [row.get("id") if isinstance(row, dict) else None for row in rows]
    if not all(isinstance(i, str) and 0 < len(i) <= _MAX_LABEL and i == plain(i) for i in ids):
        raise DialectError("malformed", "the list of models holds something that is no id")
    return tuple(str(i) for i in ids)
