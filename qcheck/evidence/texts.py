"""What of a text is compared.

Many providers trim a text's white space, so that it is compared without it at its ends. What a replacement character
stands for is unknown: the text ends there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RAW", "REPLACEMENT", "seen"]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"  # of bytes that are no text by themselves
RAW: Final = "surrogateescape"  # keeps such bytes as they are


def seen(text: str) -> bytes:
    """What of a text is compared."""
    return text.split(REPLACEMENT, maxsplit=1)[0].strip().encode("utf-8", "surrogatepass")
