"""What is asked of a provider and what comes back, as frozen data.

Token keys. Token strings are not unique (control tokens often render as ""), so a token is known by a key:
`=text` where its bytes are the text, `xHEX` where they are not valid UTF-8 by themselves, `#ID` for a control token
with an id, `?…` for one without, and where a replacement character stands for the bytes. Other servers may know the
last three kinds of tokens by other keys. Keys of one list are unique; of duplicates the most probable is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Final, Literal, get_args, get_type_hints

from qcheck.jsonio import canonical

__all__ = [
    "Attempt",
    "Message",
    "Outcome",
    "Position",
    "Request",
    "Response",
    "Tool",
    "ToolCall",
    "attempt_from_row",
    "attempt_to_row",
    "logprob_from_json",
    "positions_from_rows",
    "positions_to_rows",
    "size_bytes",
    "token_bytes",
    "token_key",
    "turns",
]

Outcome = Literal["answered", "retried", "failed"]

# How answers say that the model ended them, or the limit of tokens: OpenAI's words, and those of other servers.
LIMITED: Final = frozenset({"length", "max_tokens", "model_length"})
BY_ITSELF: Final = frozenset(
    {
        *("stop", "tool_calls", "function_call", "tool_use_failed"),
        *("eos", "eos_token", "stop_sequence", "end_turn", "complete"),
    }
)
ENDED: Final = BY_ITSELF | LIMITED


# How servers write control tokens, and what stands for bytes that are no text by themselves.
_CONTROL: Final = re.compile(
    r"<[|｜].*[|｜]>|</?s>|<(bos|eos|pad|unk|start_of_turn|end_of_turn)>|\[/?[A-Z_]{3,}\]"
    r"|<\|?turn\|?>|\[e~\[|\]~!?b[\[\]]|</?seed:[^>]*>|</?longcat_[^>]*>|"  # Gemma, MiniMax, Seed-OSS, LongCat
)
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def token_key(text: str, raw: bytes | None, token_id: int | None) -> str:
    """The key of a token given its string, its bytes and its id, of which the last two may be missing."""
    if raw:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return "x" + raw.hex()
    if _REPLACEMENT in text:
        return "?" + (text if token_id is None else f"#{token_id}")
    if not _CONTROL.fullmatch(text):
        return "=" + text
    return "?" + text if token_id is None else f"#{token_id}"


def token_bytes(key: str) -> bytes:
    """The text of a token by its key; nothing for control tokens, which show none."""
    if key.startswith("x"):
        return bytes.fromhex(key[1:])
    return key[1:].encode("utf-8", "surrogatepass") if key.startswith("=") else b""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call. parameters: the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function. arguments: as the model wrote them, which may be no JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. tool_calls, reasoning: of an earlier turn of the assistant.

    A message of the role `tool` is what the earliest call gave that none before it is the result of.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None


def turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages as bodies of the OpenAI form carry them."""
    rows: list[dict[str, Any]] = []
    made = given = 0
    for m in messages:
        row: dict[str, Any] = {"role": m.role, "content": m.content}
        if m.reasoning is not None:
            row["reasoning_content"] = m.reasoning
        if m.tool_calls:
            row["tool_calls"] = [
                {"id": _call_id(number), "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for number, c in enumerate(m.tool_calls, made)
            ]
            made += len(m.tool_calls)
        if m.role == "tool":
            row["tool_call_id"] = _call_id(given)
            given += 1
        rows.append(row)
    return rows


def size_bytes(messages: Iterable[Message], tools: Iterable[Tool] = ()) -> int:
    """How many bytes a model is shown at least, whatever its chat template adds; declarations count as JSON."""
    said = [text for m in messages for text in (m.content, m.reasoning or "")]
    called = [text for m in messages for call in m.tool_calls for text in (call.name, call.arguments)]
    shown = sum(len(text.encode("utf-8", "surrogatepass")) for text in (*said, *called))
    return shown + sum(len(canonical(tool)) for tool in tools)


def _call_id(number: int) -> str:
    """Nine letters and digits, which Mistral insists on; the same everywhere, as some templates render them."""
    return f"call{number:05}"


@dataclass(frozen=True, slots=True)
class Request:
    """One probe as it will be asked: greedy where `temperature` is 0, `top_logprobs` alternatives a position.

    tools: what the model may call, if it finds that it should.
    scored: an answer of somebody else's, which is to be scored instead of another one being given. The response then
    holds its positions and that of what comes after it, or none where it cannot be told which they are.
    """

    probe_id: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float
    top_logprobs: int
    tools: tuple[Tool, ...] = ()
    scored: str | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """One generated position: the token that was taken and the most probable ones, natural logarithms.

    `top` holds (key, log-probability) pairs in falling order. A probability of zero, in whatever form the
    provider wrote it, is -inf.
    """

    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Response:
    """What one answered request gave. None means that the provider did not say.

    prompt_tokens includes cached_tokens. upstream: who answered behind an aggregator.
    """

    text: str
    positions: tuple[Position, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    finish_reason: str | None
    reported_model: str | None
    fingerprint: str | None
    reasoning: str | None = None
    cached_tokens: int | None = None
    upstream: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it says that the model ended it, or the limit of tokens did; a filter or a fault may have as well."""
        return (self.finish_reason or "").lower() in ENDED

    def cut_before(self, max_tokens: int) -> bool:
        """Whether a limit ended it that is not the one of `max_tokens` that was asked for: the server's own.

        Some count one token less than they have made.
        """
        limited = (self.finish_reason or "").lower() in LIMITED
        return limited and self.completion_tokens is not None and self.completion_tokens + 1 < max_tokens

    @property
    def ended_by_itself(self) -> bool:
        """Whether it says that the model ended it, and no limit did."""
        return (self.finish_reason or "").lower() in BY_ITSELF


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP exchange. `index` counts from 0 within its request; times are UTC ISO 8601 and seconds.

    scores: the provider whose answer to its own request of the same `seq` is scored here, as the response's text says;
    where it was asked again, the provider itself, for its own attempt and for a live reference's. None where the
    request is an own one of the plan.
    seq: the request's number in its provider's plan, from 0. What was asked beside the plan, to find out what an
    endpoint offers, is numbered from -1 down, and is never evidence; `probe_id` then says what it was.
    outcome: "answered" carries a response; "retried" failed and was or will be tried again; "failed" was the
    last try. `fatal` says that no further request to this provider can succeed (401, a retired id). `sent` is false
    where the request did not leave: nobody took a connection. `charged_usd` is what a run counts it at, None where the
    price is unknown (`qcheck.run.budget.charge_usd`).
    """

    provider: str
    seq: int
    probe_id: str
    index: int
    started: str
    elapsed_s: float
    outcome: Outcome
    http_status: int | None = None
    error: str | None = None
    fatal: bool = False
    sent: bool = True
    charged_usd: float | None = None
    response: Response | None = None
    scores: str | None = None

    @property
    def settled(self) -> bool:
        """Whether this attempt ended its request: answered, or failed for the last time."""
        return self.outcome != "retried"

    @property
    def discovery(self) -> bool:
        """Whether it belongs to no plan."""
        return self.seq < 0


def logprob_from_json(value: object) -> float:
    """A log-probability as files carry it: a number, or "-inf". Raises ValueError."""
    if value == "-inf":
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError('a log-probability is a number or "-inf"')  # noqa: TRY004 (the file is wrong, not the caller)
    if not value <= 0:
        raise ValueError("no log-probability is above 0")
    return float(value)


def positions_to_rows(positions: tuple[Position, ...]) -> list[list[Any]]:
    """Positions as `[token, logprob, [[key, logprob], …]]`, the form of journals and baselines."""
    return [[p.token, p.logprob, [list(pair) for pair in p.top]] for p in positions]


def positions_from_rows(rows: list[list[Any]]) -> tuple[Position, ...]:
    """The inverse of `positions_to_rows`. Raises ValueError for anything else."""
    return tuple(
        Position(
            _text(token),
            None if logprob is None else logprob_from_json(logprob),
            tuple((_text(key), logprob_from_json(value)) for key, value in top),
        )
        for token, logprob, top in rows
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("token keys and calls are strings")  # noqa: TRY004
    return value


def attempt_to_row(attempt: Attempt) -> dict[str, Any]:
    """An attempt as a JSON object; what is absent is left out."""
    row: dict[str, Any] = {}
    for field in fields(attempt):
        value = getattr(attempt, field.name)
        if field.name == "response" and value is not None:
            inner = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) is not None}
            value = inner | {"positions": positions_to_rows(value.positions)}
            calls = value.pop("tool_calls")
            if calls:
                value["tool_calls"] = [[call.name, call.arguments] for call in calls]
        if value is not None:
            row[field.name] = value
    return row


def _plain_types(record: type) -> dict[str, set[type]]:
    """The types a field may hold, for the fields that hold no container; a whole number is a float too."""
    plain = {name: hint for name, hint in get_type_hints(record).items() if isinstance(hint, type | UnionType)}
    kinds = {name: set(get_args(hint)) or {hint} for name, hint in plain.items()}
    return {name: kind | {int} if float in kind else kind for name, kind in kinds.items()}


_PLAIN_TYPES: dict[type, dict[str, set[type]]] = {record: _plain_types(record) for record in (Attempt, Response)}


def _check_types(record: Attempt | Response) -> None:
    for name, kinds in _PLAIN_TYPES[type(record)].items():
        if type(getattr(record, name)) not in kinds:
            raise ValueError(f"{name} is of the wrong type")


def attempt_from_row(row: dict[str, Any]) -> Attempt:
    """The inverse of `attempt_to_row`. Raises ValueError, TypeError or KeyError for anything else."""
    values = dict(row)
    inner = values.get("response")
    if inner is not None:
        absent: dict[str, Any] = {f.name: None for f in fields(Response)}
        read = {
            "positions": positions_from_rows(inner["positions"]),
            "tool_calls": tuple(ToolCall(_text(n), _text(a)) for n, a in inner.get("tool_calls", ())),
        }
        response = Response(**(absent | inner | read))
        _check_types(response)
        values["response"] = response
    attempt = Attempt(**values)
    _check_types(attempt)
    if attempt.outcome not in get_args(Outcome):
        raise ValueError(f"no such outcome: {attempt.outcome}")
    if (attempt.outcome == "answered") != (attempt.response is not None):
        raise ValueError("an attempt carries a response if it was answered, and only then")
    return attempt
