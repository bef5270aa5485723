"""How byte-level BPE tokenizers spell bytes."""

from __future__ import annotations

from typing import Final

__all__ = ["BYTE_OF", "decoded"]

# GPT-2 writes each byte as one printable character: itself where it is printable, else one from U+0100 on
# (Radford et al. 2019, `bytes_to_unicode`).
_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHER: Final = sorted(set(range(0x100)) - set(_PRINTABLE))
BYTE_OF: Final = {chr(b): b for b in _PRINTABLE} | {chr(0x100 + i): b for i, b in enumerate(_OTHER)}


def decoded(spelling: str) -> str | None:
    """The text that a spelling of bytes stands for; None where it is none, or its bytes are no text by themselves."""
    try:
        return bytes(BYTE_OF[c] for c in spelling).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return None
