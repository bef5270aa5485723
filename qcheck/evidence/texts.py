"""What of a text is compared, and what text a token shows as.

Many providers trim a text's white space, so that it is compared without it at its ends. What a replacement character
stands for is unknown: the text ends there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RAW", "seen", "token_bytes"]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"  # of bytes that are no text by themselves
RAW: Final = "surrogateescape"  # keeps such bytes as they are


def seen(text: str) -> bytes:
    """What of a text is compared."""
    return text.split(REPLACEMENT, maxsplit=1)[0].strip().encode("utf-8", "surrogatepass")


def token_bytes(key: str) -> bytes:
    """The text of a token by its key (`qcheck.records.token_key`); nothing for control tokens, which show none."""
    if key.startswith("x"):
        return bytes.fromhex(key[1:])
    return key[1:].encode("utf-8", "surrogatepass") if key.startswith("=") else b""
