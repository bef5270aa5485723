"""Fields of JSON that nobody vouches for: read, or refused.

Where a field carries evidence (text, log-probabilities, token counts) it is right or refused (`MalformedError`); where
it is a mere label (finish reason, model, fingerprint) what cannot be used is dropped.
"""

from __future__ import annotations

import json
from typing import Any

from qcheck.client.redact import plain

__all__ = [
    "MAX_LABEL",
    "MalformedError",
    "as_amount",
    "as_count",
    "as_label",
    "as_list",
    "as_object",
    "as_text",
    "loads",
]

MAX_TEXT = 1_000_000  # characters of an answer or its reasoning
MAX_COUNT = 10**9  # tokens, or dollars
MAX_DIGITS = len(str(MAX_COUNT))
MAX_LABEL = 200


class MalformedError(ValueError):
    """Something that cannot be what it claims to be."""


def loads(body: bytes) -> Any:
    """Lenient where servers are known to be: leading white space, and Python's -Infinity for a probability of zero."""
    try:
        return json.loads(body)
    except RecursionError:
        raise MalformedError("the body is nested too deeply") from None
    except ValueError:
        raise MalformedError("the body is not JSON") from None


def as_object(value: Any, what: str) -> dict[str, Any]:
    """`value` if it is an object, an empty one if it is absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is no object")
    return value


def as_list(value: Any, limit: int, what: str) -> list[Any]:
    """`value` if it is a list of at most `limit`, an empty one if it is absent."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > limit:
        raise MalformedError(f"{what} is no list of at most {limit}")
    return value


def as_text(value: Any, what: str) -> str:
    """`value` if it is a text, an empty one if it is absent."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise MalformedError(f"{what} is no text of at most {MAX_TEXT} characters")
    return value


def as_count(value: Any, what: str) -> int | None:
    """`value` if it is a number of tokens, as a float or in quotes, too; None if it is absent."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise MalformedError(f"{what} is no number of tokens")
    return value


def as_amount(value: Any, what: str) -> float | None:
    """`value` if it is an amount of dollars, None if it is absent."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COUNT:
        raise MalformedError(f"{what} is no amount")
    return float(value)


def as_label(value: Any) -> str | None:
    """`value`, fit to print; None if it is no text, shows nothing or is too long for a label.

    It is not cut: what is left of a key that was cut is not found any more.
    """
    label = plain(value) if isinstance(value, str) else ""
    return label if 0 < len(label) <= MAX_LABEL else None
