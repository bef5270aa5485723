"""What of a text is compared.

Many providers trim a text's white space, so that it is compared without it at its ends. What a replacement character
stands for is unknown: the text ends there.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["RAW", "REPLACEMENT", "cleaned", "seen"]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"  # of bytes that are no text by themselves
# `clean_up_tokenization` of Hugging Face's tokenizers takes such spaces away, though not all of them everywhere.
_SPACES: Final = re.compile(rb"(?<! ) ++(?=[.?!,']|n't|n?\Z)|(?<=') ++")
RAW: Final = "surrogateescape"  # keeps such bytes as they are


def seen(text: str) -> bytes:
    """What of a text is compared."""
    return text.split(REPLACEMENT, maxsplit=1)[0].strip().encode("utf-8", "surrogatepass")


def cleaned(text: bytes) -> bytes:
    """A text, or its beginning, without spaces before punctuation, about apostrophes, and at its end."""
    return _SPACES.sub(b"", text)
