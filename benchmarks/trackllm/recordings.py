"""Recorded answers of real endpoints: the TrackLLM folder, read strictly and brought to one form.

A list begins with the sampled token, whatever its rank; the others follow in falling order. A sampled token that is
not among the k best either takes the place of the last one (k entries) or is added (k + 1). So the k − 1 best are
known in every case, and every list is cut to them: two answers then differ only where the distribution does, not where
the draw does.

The files hold what endpoints sent. Sizes are bounded, everything is checked, and token strings go no further than
`quoted`, which makes them safe to print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from qcheck.errors import ConfigurationError
from qcheck.jsonio import loads

__all__ = ["Recording", "load_published", "load_recordings", "quoted"]

MAX_BYTES = 4 * 2**20
MAX_ENTRIES = 100_000
SHOWN = 24  # characters of a token, of which an endpoint may send any number

Array = NDArray[np.float64]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _List(_Strict):
    tokens: Annotated[list[NonNegativeInt], Field(min_length=2, max_length=1000)]
    logprobs: Annotated[list[Annotated[float, Field(le=0)]], Field(min_length=2, max_length=1000)]


class _Lists(_Strict):
    seen_tokens: Annotated[list[str], Field(max_length=MAX_ENTRIES)]
    seen_logprobs: Annotated[list[_List], Field(min_length=1, max_length=MAX_ENTRIES)]


_Query = Annotated[list[Annotated[str, Field(max_length=32)] | NonNegativeInt], Field(min_length=2, max_length=2)]
_LISTS = TypeAdapter(_Lists)
_QUERIES: TypeAdapter[list[list[str | int]]] = TypeAdapter(
    Annotated[list[_Query], Field(max_length=MAX_ENTRIES)], config=ConfigDict(strict=True)
)


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    date: datetime


_EVENTS = TypeAdapter(dict[str, list[_Event]])
_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class Recording:
    """The answers of one endpoint to one prompt, in the order of time.

    times (answers,): UTC, to the second. index (answers,): which distinct list each answer shows. lists (distinct,
    tokens): log-probabilities in nats of `tokens`, NaN where unlisted, in the order of first sight. failed: queries
    without an answer. dropped: answered queries whose lists the recording lacks.
    """

    model: str
    provider: str
    times: NDArray[np.datetime64]
    index: NDArray[np.intp]
    tokens: tuple[str, ...]
    lists: Array
    failed: int
    dropped: int

    @property
    def name(self) -> str:
        """Model and provider in one word."""
        return f"{self.model} {self.provider}"

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """(answers,) UTC dates."""
        return self.times.astype("datetime64[D]")

    @property
    def counts(self) -> NDArray[np.intp]:
        """(distinct,) how many answers show each list."""
        return np.bincount(self.index, minlength=len(self.lists))

    def on(self, tokens: tuple[str, ...]) -> Array:
        """`lists` on another axis of tokens, which must hold all of its own."""
        columns = {token: column for column, token in enumerate(tokens)}
        result = np.full((len(self.lists), len(tokens)), np.nan)
        result[:, [columns[token] for token in self.tokens]] = self.lists
        return result


def quoted(token: str) -> str:
    """A token in Markdown, as code: letters of any script as they are, everything else that could act escaped."""
    plain = set(" !#$%'()*+,-./:;=?@[]^_{}~")
    text = "".join(c if c in plain or c.isalnum() else f"\\u{{{ord(c):x}}}" for c in token[:SHOWN])
    return f'`"{text}"`' + ("…" if len(token) > SHOWN else "")


def load_recordings(folder: Path) -> list[Recording]:
    """All endpoints of a TrackLLM folder, by name. Raises ConfigurationError for one that is missing or damaged."""
    places = sorted(path for path in (folder / "lt").glob("*/x_*") if path.is_dir())
    if not places:
        raise ConfigurationError(f"there are no recordings in {folder}: name the TrackLLM folder with --data.")
    return [_endpoint(place) for place in places]


def _endpoint(place: Path) -> Recording:
    times: list[datetime] = []
    seen: list[dict[str, float]] = []
    failed = dropped = 0
    for month in sorted(path for path in place.iterdir() if path.is_dir()):
        queries = list(_queries(month / "queries.json", month.name))
        full = month / "queries.full.json"
        dropped += len(list(_queries(full, month.name))) - len(queries) if full.exists() else 0
        lists = _month_lists(month / "logprobs.json")
        for time, which in queries:
            if isinstance(which, str):
                failed += 1
            elif which < len(lists):
                times.append(time)
                seen.append(lists[which])
            else:
                raise ConfigurationError(
                    f"{month / 'queries.json'} names a list that logprobs.json lacks: copy it anew."
                )
    if not seen:
        raise ConfigurationError(f"{place} holds no answered query: leave it out.")
    size = min(map(len, seen)) - 1
    cut = [dict(sorted(listed.items(), key=lambda pair: (-pair[1], pair[0]))[:size]) for listed in seen]
    numbers: dict[tuple[tuple[str, float], ...], int] = {}
    index = [numbers.setdefault(tuple(sorted(listed.items())), len(numbers)) for listed in cut]
    tokens = tuple(dict.fromkeys(token for listed in cut for token in listed))
    values = np.array([[dict(key).get(token, np.nan) for token in tokens] for key in numbers])
    moments = np.array(times, dtype="datetime64[s]")
    return Recording(*_named(place.parent.name), moments, np.array(index), tokens, values, failed, dropped)


def load_published(folder: Path) -> dict[str, tuple[np.datetime64, ...]]:
    """Times of the changes that TrackLLM published, by endpoint. Raises ConfigurationError for a damaged file."""
    events = _read(folder / "events.json", _EVENTS)
    return {
        " ".join(_named(endpoint)): tuple(np.datetime64(event.date.replace(tzinfo=None), "s") for event in listed)
        for endpoint, listed in events.items()
    }


def _named(endpoint: str) -> tuple[str, str]:
    """Model and provider of an endpoint's folder, which is named like a URL without per cent signs: 23 #, 2f /."""
    model, _, provider = endpoint.rpartition("23")
    model = model.partition("2f")[2] or model
    return re.sub(r"[^\w.-]", "_", model), re.sub(r"[^\w./-]", "_", provider.replace("2f", "/"))


def _read(path: Path, form: TypeAdapter[_Content]) -> _Content:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigurationError(f"{path} is larger than {MAX_BYTES} bytes: it is no such recording.")
        return form.validate_python(loads(data))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or type(error).__name__}.") from error
    except (ValidationError, ValueError) as error:
        raise ConfigurationError(f"{path} is damaged ({type(error).__name__}): copy it anew.") from error


def _queries(path: Path, month: str) -> Iterator[tuple[datetime, str | int]]:
    """Time and list number, or error word, of every query."""
    before = datetime.min
    for query in _read(path, _QUERIES):
        time_text, which = query
        wrong = isinstance(which, str) and not re.fullmatch(r"e\d+", which)
        try:
            time = datetime.strptime(f"{month}-{time_text}", "%Y-%m-%d %H:%M:%S")
        except ValueError:
            wrong, time = True, before
        if wrong or time <= before:
            raise ConfigurationError(f"{path} holds a query that is malformed or out of order: copy it anew.")
        before = time
        yield time, which


def _month_lists(path: Path) -> list[dict[str, float]]:
    """The distinct lists of a month, each as token → log-probability."""
    file = _read(path, _LISTS)
    tokens = file.seen_tokens
    result = []
    for listed in file.seen_logprobs:
        known = all(number < len(tokens) for number in listed.tokens)
        pairs = dict(zip((tokens[number] for number in listed.tokens), listed.logprobs, strict=False)) if known else {}
        # Two tokens that render alike could not be told apart: no such list is taken.
        falling = all(x >= y for x, y in pairwise(listed.logprobs[1:]))
        if not len(pairs) == len(listed.tokens) == len(listed.logprobs) or not falling:
            raise ConfigurationError(f"{path} holds a list that is malformed: copy it anew.")
        result.append(pairs)
    return result
