"""What a failed exchange means for the next one: try again when, give up, or give up the provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import numpy as np

__all__ = ["LATER", "MAX_WAIT_S", "TOO_MANY", "Fate", "backoff_s", "fate_of_status", "jittered", "retry_after_s"]

MAX_WAIT_S = 60.0
TOO_MANY = frozenset({429, 503, 529})  # statuses that ask for fewer requests
_FIRST_WAIT_S = 1.0
# Statuses below 500 that another try may change: TGI says 424 of a generation that failed, Groq 498 where it has no
# capacity and 499 of a request that was cancelled.
LATER = frozenset({408, 409, 424, 425, 429, 498, 499})
_FATAL = frozenset({401, 402, 403, 410})
_NO_SUCH_MODEL = re.compile(r"model|endpoint", re.IGNORECASE)
# OpenRouter's 403 for what was said, not for the key: "… requires moderation and your input was flagged …".
_MODERATED = re.compile(r"\binput was flagged\b", re.IGNORECASE)


class Fate(Enum):
    """RETRY: may pass. REFUSED: this request will not be answered. FATAL: no request to this provider will be."""

    RETRY = "retry"
    REFUSED = "refused"
    FATAL = "fatal"


def fate_of_status(status: int, message: str, *, answered: bool = False) -> Fate:
    """The fate of an HTTP status other than success; `message` is the provider's own, which tells 403s and 404s apart.

    answered: whether the endpoint has answered a request before. Then a 403 speaks of what was said, as a firewall's
    does, and a 404 that knows no such model passes: OpenRouter has one where all upstreams are out of order. Redirects
    are fatal: they are not followed, so that a key goes nowhere but to the address that was given.
    """
    if status in LATER or status >= 500:
        return Fate.RETRY
    if status == 403 and (answered or _MODERATED.search(message)):
        return Fate.REFUSED
    if status == 404 and _NO_SUCH_MODEL.search(message):
        return Fate.RETRY if answered else Fate.FATAL
    if status in _FATAL or 300 <= status < 400:
        return Fate.FATAL
    return Fate.REFUSED


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text.strip()) else None


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as `retry-after-ms` or `retry-after` (seconds or an HTTP date) asks, between 0 and 60.

    None where the headers (names in lower case, or case-insensitive) say nothing that can be read.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    wait = _number(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000
    if wait is None:
        try:
            date = parsedate_to_datetime(headers.get("retry-after", ""))
            wait = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
        except (ValueError, OverflowError):
            return None
    return min(max(wait, 0.0), MAX_WAIT_S)


def jittered(asked_s: float, rng: np.random.Generator) -> float:
    """What was asked for or a little more, so that those who wait do not all come back at once; at most 60 s."""
    return float(min(asked_s * rng.uniform(1.0, 1.1), MAX_WAIT_S))


def backoff_s(index: int, asked_s: float | None, rng: np.random.Generator) -> float:
    """Seconds to wait after attempt `index`: doubling from 1 s, or what was asked for; jittered, at most 60."""
    if asked_s is not None:
        return jittered(asked_s, rng)
    return float(min(_FIRST_WAIT_S * 2.0**index * rng.uniform(0.5, 1.0), MAX_WAIT_S))
