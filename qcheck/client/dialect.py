"""The words of the OpenAI form and its dialects: what is sent, and what providers say instead.

What comes back is trusted in nothing: it is read, or refused as a `DialectError`, and nothing else is ever raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

from qcheck.client.calls import refused_call, tool_calls
from qcheck.client.echo import scored
from qcheck.client.fields import MAX_LABEL, MalformedError, as_label, as_object, loads
from qcheck.client.logprobs import positions
from qcheck.client.reasoning import Said, said
from qcheck.client.redact import plain
from qcheck.client.samples import plainly
from qcheck.client.stream import is_stream, put_together
from qcheck.client.thinking import asked, begun, hides_words, prompt_of, shows_thought
from qcheck.client.usage import usage_of
from qcheck.jsonio import to_plain
from qcheck.records import Request, Response
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import UNTOLD, Endpoint

__all__ = [
    "THOUGHT",
    "DialectError",
    "build_body",
    "error_message",
    "holds_refused_call",
    "parse_model_ids",
    "parse_response",
    "path_of",
]

_MAX_ERROR_BODY = 65_536  # bytes
_MAX_FAULTS = 8
_UNPROCESSABLE = 422
# How answers end that the server broke off: vLLM's and SGLang's word, DeepSeek's, and Z.ai's.
BROKEN_OFF: Final = ("error", "abort", "insufficient_system_resource", "network_error")
THOUGHT: Final = "the model thought before it answered"
_THINKS = THOUGHT + ", which thinking_off = {!r} should keep it from (docs/dialects.md)"
_UNTOLD = "nobody knows how the model is kept from thinking here, so this may be its thought: thinking_off tells how"


class DialectError(Exception):
    """A body that is no answer. It never leaves the client, which turns it into a failed attempt.

    kind: "malformed", or "error" where the provider reports one in an HTTP 200, or answers something else than it was
    asked. status: the HTTP status that this amounts to, None where nobody says. headers: those of an upstream's answer
    that the error repeats, with names in lower case.
    """

    def __init__(
        self,
        kind: Literal["malformed", "error"],
        message: str,
        status: int | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.headers = headers


def path_of(body: dict[str, Any]) -> str:
    """Where a body goes, below the base URL."""
    return "/completions" if "prompt" in body else "/chat/completions"


def build_body(endpoint: Endpoint, model_id: str, request: Request) -> dict[str, Any]:
    """The JSON body that asks `request`; what the endpoint adds (`extra_body`) is put over the rest."""
    dialect = endpoint.dialect
    body: dict[str, Any] = {
        "model": model_id,
        dialect.max_tokens: max(request.max_tokens, dialect.min_tokens),
        "temperature": request.temperature,
        "stream": dialect.stream,
        **(asked(endpoint, request.messages) if request.scored is None else _echoed(endpoint, request)),
        **plainly(endpoint),
    }
    if request.tools:
        body |= {"tools": [{"type": "function", "function": to_plain(tool)} for tool in request.tools]}
        body |= {"tool_choice": "auto"}
    if dialect.stream:
        body["stream_options"] = {"include_usage": True}
    k = 0 if "logprobs" in lost_observables(endpoint, request.temperature) else request.top_logprobs
    if k and ("prompt" in body or dialect.logprobs == "integer"):
        body["logprobs"] = k
    elif k:
        body |= {"logprobs": True, "top_logprobs": k}
    if endpoint.date_string is not None:
        values = {**body.get("chat_template_kwargs", {}), "date_string": endpoint.date_string}
        body["chat_template_kwargs"] = values
    return body | dict(endpoint.extra_body)


def _echoed(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """The fields of a body that have an answer to the messages scored."""
    assert endpoint.prompt_format is not None, "only endpoints whose prompts can be written out are asked to score"
    return {"prompt": f"{prompt_of(endpoint.prompt_format, request.messages)}{request.scored}", "echo": True}


def _message_of(error: Any) -> str:
    """The words of an error object: its message, and what an aggregator's upstream said, and who that is."""
    if not isinstance(error, dict):
        return error if isinstance(error, str) else ""
    metadata = error.get("metadata")
    upstream = metadata if isinstance(metadata, dict) else {}
    words = (error.get("message"), upstream.get("provider_name"), upstream.get("raw"))
    return ": ".join(word for word in words if isinstance(word, str) and word)


def _detail_of(detail: Any) -> str:
    """The words of FastAPI's `detail`: a text, an error object, or what is wrong in which places of the request."""
    if isinstance(detail, list):
        return _faults_of(detail)
    if isinstance(detail, dict):
        return _message_of(detail) or _message_of(detail.get("error")) or _faults_of(detail.get("detail"))
    return _message_of(detail)


def _faults_of(faults: Any) -> str:
    told = []
    for fault in faults[:_MAX_FAULTS] if isinstance(faults, list) else ():
        place, words = (fault.get("loc"), fault.get("msg")) if isinstance(fault, dict) else (None, fault)
        if isinstance(words, str) and words:
            steps = [str(step) for step in place if isinstance(step, str | int)] if isinstance(place, list) else []
            told.append(f"{'.'.join(steps)}: {words}" if steps else words)
    return "; ".join(told)


def error_message(body: bytes) -> str:
    """What the body of a failed exchange says, unfiltered; "" where it says nothing or goes on without end."""
    if len(body) > _MAX_ERROR_BODY:
        return ""
    try:
        value = _value(body)
    except MalformedError:
        return body.decode("utf-8", "replace")
    if not isinstance(value, dict):
        return ""
    return _message_of(value.get("error")) or _detail_of(value.get("message")) or _detail_of(value.get("detail"))


def _headers_in(error: Any) -> dict[str, str]:
    """The headers of an upstream's answer, which OpenRouter repeats in the metadata of an error."""
    metadata = error.get("metadata") if isinstance(error, dict) else None
    headers = metadata.get("headers") if isinstance(metadata, dict) else None
    items = headers.items() if isinstance(headers, dict) else ()
    return {name.lower(): value for name, value in items if isinstance(value, str) and len(value) <= MAX_LABEL}


def _raise_reported(error: Any) -> None:
    """Raise what a body with HTTP 200 reports as an error, if it does."""
    if not error:
        return
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    message = f"an error in an HTTP 200: {_message_of(error) or 'no message'}"
    raise DialectError("error", message, status, _headers_in(error))


def parse_response(body: bytes, endpoint: Endpoint, request: Request) -> Response:
    """The answer in the body of an HTTP 200, or another success. Raises DialectError alone, where there is none.

    Where more tokens came than were asked for (some generate a least number), log-probabilities are of those asked for
    alone. An answer that a model has thought about, though the endpoint was told that it should not, is none, and so is
    any where nobody knows how it is told. A call that the provider finds invalid, and so reports as an error, is one.
    """
    try:
        value = _value(body)
        refused = refused_call(value) if request.tools else None
        return _parse(value, endpoint, request) if refused is None else refused
    except MalformedError as error:
        raise DialectError("malformed", str(error)) from None


def holds_refused_call(body: bytes) -> bool:
    """Whether the body of a failed exchange says that the model called a function in an invalid way."""
    try:
        return len(body) <= _MAX_ERROR_BODY and refused_call(_value(body)) is not None
    except MalformedError:
        return False


def _value(body: bytes) -> Any:
    return put_together(body) if is_stream(body) else loads(body)


def _parse(value: Any, endpoint: Endpoint, request: Request) -> Response:
    if not isinstance(value, dict):
        raise MalformedError("the body is no object")
    _raise_reported(value.get("error") or (value.get("object") == "error" and value))
    choice = _choice(value)
    words = said(_message(choice), begun(endpoint))
    usage = usage_of(value, choice)
    try:
        if request.scored is None:
            logprobs = as_object(None if choice.get("logprobs") == [] else choice.get("logprobs"), "logprobs")
            read = positions(logprobs)[: request.max_tokens]
        else:
            words = Said(request.scored, None, thought=False)
            generated = usage.completion or request.max_tokens
            read = scored(value, choice, request.scored, generated, request.top_logprobs)
    except MalformedError as error:
        raise MalformedError(f"logprobs: {error}") from None
    if not (any(_message(choice).values()) or choice.get("text") or read or choice.get("finish_reason")):
        raise MalformedError("the answer holds nothing and does not say why it ended")
    switch = endpoint.dialect.thinking_off
    if switch in UNTOLD:
        raise DialectError("error", _UNTOLD, _UNPROCESSABLE)
    thought = shows_thought(words, read, usage.reasoning) or (not request.tools and hides_words(words, read))
    if switch not in (None, "never") and thought:
        raise DialectError("error", _THINKS.format(switch), _UNPROCESSABLE)
    lost = lost_observables(endpoint, request.temperature)
    return Response(
        text=words.text,
        positions=() if "logprobs" in lost else read,
        prompt_tokens=None if "prompt_tokens" in lost else usage.prompt,
        completion_tokens=usage.completion,
        cost_usd=usage.cost_usd,
        finish_reason=_reason(choice),
        reported_model=as_label(value.get("model")),
        fingerprint=as_label(value.get("system_fingerprint")),
        reasoning=words.reasoning,
        cached_tokens=usage.cached,
        upstream=as_label(value.get("provider")),
        tool_calls=tool_calls(_message(choice).get("tool_calls")),
    )


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedError("the body has no choices")
    choice: dict[str, Any] = choices[0]
    reason = _reason(choice)
    broken_off = (reason or "").lower() in BROKEN_OFF
    _raise_reported(choice.get("error") or (broken_off and {"message": f"the answer ended with {reason!r}"}))
    return choice


def _reason(choice: dict[str, Any]) -> str | None:
    """How an answer ended; SGLang's own form has an object there."""
    reason = choice.get("finish_reason")
    return as_label(reason.get("type") if isinstance(reason, dict) else reason)


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """The message of a chat, or what a plain completion has in its place."""
    message = choice.get("message")
    if message is None and isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    if not isinstance(message, dict):
        raise MalformedError("the choice has no message")
    return message


def parse_model_ids(body: bytes) -> tuple[str, ...]:
    """The ids that a `/models` answer lists. Raises DialectError."""
    try:
        value = loads(body)
    except MalformedError as error:
        raise DialectError("malformed", str(error)) from None
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise DialectError("malformed", "the list of models is no list")
    ids = [row.get("id") if isinstance(row, dict) else None for row in rows]
    for number, i in enumerate(ids, 1):
        if not (isinstance(i, str) and 0 < len(i) <= MAX_LABEL and i == plain(i)):
            words = f"entry {number} of the models listed has no usable id: say which with model_id in qcheck.toml"
            raise DialectError("malformed", words)
    return tuple(str(i) for i in ids)
