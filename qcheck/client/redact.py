"""Text from providers, made fit to print and to keep: nothing that acts on a terminal, and no key."""

from __future__ import annotations

import base64
import html
import json
import re
import unicodedata
from functools import cached_property
from urllib.parse import quote

__all__ = ["KeyFilter", "plain"]

_MIN_SECRET = 8  # shorter keys ("EMPTY", "none") are place-holders of local engines and ordinary words
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})  # control, format, surrogate, private use, unassigned


def plain(text: str) -> str:
    """`text` on one line, without terminal sequences, control, format (bidi, zero-width) and surrogate characters."""
    shown = (c for c in _ANSI.sub("", text) if c.isspace() or unicodedata.category(c) not in _UNSEEN)
    return " ".join("".join(shown).split())


def _base64_forms(secret: bytes) -> set[str]:
    """What every base64 text that holds `secret` contains, at whichever of the three alignments it stands."""
    forms = set()
    for shift in range(3):
        usable = (len(secret) + shift) // 3 * 4  # whole groups of four, which what follows cannot change
        start = 0 if shift == 0 else 4  # the first group mixes with what stands before
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(b"\0" * shift + secret).decode()[start:usable])
    return forms


def _forms(secret: str) -> set[str]:
    """How servers and libraries write a key when they repeat it.

    A server that wants to hide it could write it otherwise, but would tell nobody what it does not know already.
    """
    encoded = quote(secret, safe="")
    lower = re.sub("%..", lambda match: match[0].lower(), encoded)
    as_json, as_python = json.dumps(secret)[1:-1], repr(secret)[1:-1]
    written = {secret, encoded, lower, as_json, as_json.replace("/", r"\/"), as_python, html.escape(secret)}
    return written | _base64_forms(secret.encode())


class KeyFilter:
    """Finds a key in text: as it is, URL-encoded, escaped as in JSON, Python or HTML, or in base64.

    Without a key it finds nothing.
    """

    def __init__(self, key: str | None) -> None:
        self._key = key or ""

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if len(self._key) < _MIN_SECRET:
            return None
        return re.compile("|".join(re.escape(form) for form in sorted(_forms(self._key), key=len, reverse=True)))

    def found_in(self, text: str) -> bool:
        """Whether `text` holds the key in any form."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def clean(self, text: str, limit: int) -> str:
        """`plain(text)` with "[key]" for the key, cut to `limit` characters."""
        shown = plain(text)
        if self._pattern is not None:
            shown = self._pattern.sub("[key]", shown)
        return shown if len(shown) <= limit else shown[: limit - 1] + "…"
