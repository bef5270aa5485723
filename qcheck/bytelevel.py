"""How byte-level BPE tokenizers spell bytes."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BYTE_OF", "bytes_of"]

# GPT-2 writes each byte as one printable character: itself where it is printable, else one from U+0100 on
# (Radford et al. 2019, `bytes_to_unicode`).
_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHER: Final = sorted(set(range(0x100)) - set(_PRINTABLE))
_BYTE: Final = re.compile(r"<0x([0-9A-F]{2})>")
BYTE_OF: Final = {chr(b): b for b in _PRINTABLE} | {chr(0x100 + i): b for i, b in enumerate(_OTHER)}


def bytes_of(spelling: str) -> bytes:
    """The bytes that a token's spelling stands for in a tokenizer: GPT-2's, or `<0x0A>` as SentencePiece has it.

    Nothing where it spells none.
    """
    if byte := _BYTE.fullmatch(spelling):
        return bytes.fromhex(byte[1])
    return bytes(BYTE_OF[c] for c in spelling) if BYTE_OF.keys() >= set(spelling) else b""
