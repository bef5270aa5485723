"""Recorded answers as packed columns of whole numbers: the `.answers` files of a baseline.

A file is one zlib stream: a line of canonical JSON, then columns of unsigned 32-bit numbers. The line is
`{"format", "probes", "token_keys", "prompt_tokens", "texts"}`: the probes' ids, the table of token keys, and
prompt-token count and text (null where absent) of each distinct answer: what is repeated to the last digit is stored
once. The columns, whose lengths follow from the line and from one another, are

    repeats          per probe      how many repeats it has
    answer           per repeat     which distinct answer it got
    positions        per answer     how many positions it has
    listed           per position   how many tokens it lists
    key, value       per listed     token key and log-probability
    token, logprob   per position   those of the token that was taken, less the first ones that are listed

A log-probability is a code: its negative in units of 1e-5 nats, or one of the two largest numbers for absent and for
minus infinity. Values are stored as differences from the value before, modulo 2³², which are small along a list. Each
column is stored as four planes, the lowest bytes of all its numbers first: low bytes are noise that nothing compresses
and would only spoil the rest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from qcheck.jsonio import canonical, loads
from qcheck.records import Position

__all__ = ["Answer", "PackedAnswers", "pack", "rounded", "unpack"]

DIGITS = 5  # of log-probabilities in files: 1e-5 nats, a fiftieth of the smallest honest difference seen
SCALE = 10.0**DIGITS
ABSENT, ZERO_PROBABILITY = 2**32 - 1, 2**32 - 2
MAX_BYTES = 2**29  # of an inflated file: sixty million listed log-probabilities
MAX_LINE = 2**24  # of its first line, which takes many times its own size in memory once it is parsed

Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Answer:
    """What of a response is kept for comparison; `text` only where the suite judges texts.

    whole: whether it ended as answers do; it is not kept in files.
    """

    prompt_tokens: int | None
    positions: tuple[Position, ...]
    text: str | None = None
    whole: bool = True


def rounded(answer: Answer) -> Answer:
    """The answer with log-probabilities at `DIGITS` decimals, as it comes back from a file."""
    positions = tuple(
        Position(
            p.token,
            None if p.logprob is None else round(p.logprob, DIGITS),
            tuple((key, round(value, DIGITS)) for key, value in p.top),
        )
        for p in answer.positions
    )
    return replace(answer, positions=positions)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[2]
    probes: list[str]
    token_keys: list[str]
    prompt_tokens: list[int | None]
    texts: list[str | None]


@dataclass(frozen=True, slots=True, eq=False)
class PackedAnswers(Mapping[str, tuple[Answer, ...]]):
    """Unpacked columns, read as a mapping: a probe's id to its answers, one per repeat, made when asked for.

    rows: row of each probe id. token_keys: the table of them. prompt_tokens, texts: by distinct answer.
    repeat_bounds (probes + 1,), position_bounds (answers + 1,), list_bounds (positions + 1,): row i of the level above
    has the rows bounds[i] to bounds[i + 1] − 1 of the level below. answer: per repeat. token, logprob: per position,
    NaN where no log-probability is known. key, value: per listed token. Log-probabilities are in nats.
    """

    rows: Mapping[str, int]
    token_keys: Sequence[str]
    prompt_tokens: Sequence[int | None]
    texts: Sequence[str | None]
    repeat_bounds: NDArray[np.int64]
    answer: Words
    position_bounds: NDArray[np.int64]
    list_bounds: NDArray[np.int64]
    key: Words
    value: NDArray[np.float64]
    token: Words
    logprob: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __contains__(self, probe_id: object) -> bool:
        return probe_id in self.rows

    def __getitem__(self, probe_id: str) -> tuple[Answer, ...]:
        row = self.rows[probe_id]
        chosen = self.answer[self.repeat_bounds[row] : self.repeat_bounds[row + 1]].tolist()
        made = {index: self._answer(index) for index in set(chosen)}
        return tuple(made[index] for index in chosen)

    def _answer(self, index: int) -> Answer:
        first, last = self.position_bounds[index : index + 2].tolist()
        bounds = self.list_bounds[first : last + 1].tolist()
        listed = slice(bounds[0], bounds[-1])
        names = [self.token_keys[key] for key in self.key[listed].tolist()]
        top = list(zip(names, self.value[listed].tolist(), strict=True))
        tokens, logprobs = self.token[first:last].tolist(), self.logprob[first:last].tolist()
        positions = tuple(
            Position(
                self.token_keys[token],
                None if math.isnan(logprob) else logprob,
                tuple(top[start - bounds[0] : end - bounds[0]]),
            )
            for token, logprob, (start, end) in zip(tokens, logprobs, pairwise(bounds), strict=True)
        )
        return Answer(self.prompt_tokens[index], positions, self.texts[index])


def pack(answers: Mapping[str, Sequence[Answer]]) -> bytes:
    """Answers by probe id, at least one each, in the mapping's order; log-probabilities are `rounded`.

    Raises ValueError for a log-probability above zero or below −42,949 nats, which no response has.
    """
    distinct: dict[Answer, int] = {}
    chosen = [distinct.setdefault(rounded(a), len(distinct)) for repeats in answers.values() for a in repeats]
    positions = [position for answer in distinct for position in answer.positions]
    listed = [pair for position in positions for pair in position.top]
    keys: dict[str, int] = {}
    key = _words([keys.setdefault(name, len(keys)) for name, _ in listed])
    token = _words([keys.setdefault(position.token, len(keys)) for position in positions])
    value = _words([_code(logprob) for _, logprob in listed])
    logprob = _words([_code(position.logprob) for position in positions])
    counts = _words([len(position.top) for position in positions])
    header = _Header(
        format=2,
        probes=list(answers),
        token_keys=list(keys),
        prompt_tokens=[answer.prompt_tokens for answer in distinct],
        texts=[answer.text for answer in distinct],
    )
    columns = (
        _words([len(repeats) for repeats in answers.values()]),
        _words(chosen),
        _words([len(answer.positions) for answer in distinct]),
        counts,
        key,
        np.diff(value, prepend=_words([0])),
        token - _first_listed(key, counts),
        logprob - _first_listed(value, counts),
    )
    planes = (column.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes() for column in columns)
    return zlib.compress(canonical(header.model_dump()) + b"\n" + b"".join(planes), level=9)


def unpack(data: bytes) -> PackedAnswers:
    """The inverse of `pack`; raises ValueError for anything that `pack` does not write."""
    raw = _inflated(data)
    end = raw.find(b"\n", 0, MAX_LINE)
    if end < 0:
        raise ValueError(f"its first line is not one of at most {MAX_LINE} bytes")
    header, body = _header(raw[:end]), raw[end + 1 :]
    answers = len(header.prompt_tokens)
    columns = _Columns(body)
    repeats = columns.take(len(header.probes))
    answer = columns.take(_total(repeats))
    positions = columns.take(answers)
    counts = columns.take(_total(positions))
    key = columns.take(_total(counts))
    value = np.cumsum(columns.take(len(key)), dtype=np.uint32)
    token = columns.take(len(counts)) + _first_listed(key, counts)
    logprob = columns.take(len(counts)) + _first_listed(value, counts)
    columns.end()
    rows = {probe_id: row for row, probe_id in enumerate(header.probes)}
    if len(rows) != len(header.probes) or not repeats.all():
        raise ValueError("a probe stands twice, or has no answer")
    if np.any(answer >= answers) or any(np.any(ids >= len(header.token_keys)) for ids in (key, token)):
        raise ValueError("it refers to an answer or a token that it does not hold")
    if np.any(value == ABSENT):
        raise ValueError("a listed token has no log-probability")
    return PackedAnswers(
        rows,
        header.token_keys,
        header.prompt_tokens,
        header.texts,
        _bounds(repeats),
        answer,
        _bounds(positions),
        _bounds(counts),
        key,
        _logprobs(value),
        token,
        _logprobs(logprob),
    )


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"it does not inflate: {error}") from error
    if not stream.eof or stream.unused_data:
        raise ValueError(f"it is cut off, has something after its end, or inflates to more than {MAX_BYTES} bytes")
    return raw


def _header(line: bytes) -> _Header:
    try:
        header = _Header.model_validate(loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'its first line'}: {first['msg']}") from error
    if len(header.texts) != len(header.prompt_tokens):
        raise ValueError("it has not as many texts as prompt-token counts")
    return header


class _Columns:
    """Takes columns off a body one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body, self._offset = body, 0

    def take(self, length: int) -> Words:
        """The next column of that many numbers."""
        start = self._offset
        self._offset += 4 * length
        if self._offset > len(self._body):
            raise ValueError("its columns are shorter than they say")
        planes = np.frombuffer(self._body, np.uint8, 4 * length, start).reshape(4, length)
        return np.ascontiguousarray(planes.T).view("<u4").reshape(length).astype(np.uint32, copy=False)

    def end(self) -> None:
        """Check that nothing is left."""
        if self._offset != len(self._body):
            raise ValueError("its columns are longer than they say")


def _words(values: ArrayLike) -> Words:
    return np.asarray(values, dtype=np.uint32)


def _code(logprob: float | None) -> int:
    if logprob is None:
        return ABSENT
    if logprob == -math.inf:
        return ZERO_PROBABILITY
    code = -logprob * SCALE
    if not 0 <= code < ZERO_PROBABILITY - 1:
        raise ValueError(f"{logprob} is no log-probability")
    return round(code)


def _logprobs(codes: Words) -> NDArray[np.float64]:
    values = 0.0 - codes / SCALE  # and not −0.0 for a probability of one
    values[codes == ZERO_PROBABILITY] = -np.inf
    values[codes == ABSENT] = np.nan
    return values


def _first_listed(column: Words, counts: Words) -> Words:
    """What stands where each position's list begins, by which its taken token, mostly the same one, is given."""
    first: Words = np.append(column, _words([0]))[_bounds(counts)[:-1]]
    return first


def _bounds(counts: Words) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _total(counts: Words) -> int:
    return int(counts.sum(dtype=np.uint64))
