"""The lab models' tokenizer, byte-level BPE as GPT-2's, read from a GGUF file."""

from __future__ import annotations

import gguf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from qcheck.bytelevel import BYTE_OF

__all__ = ["read_tokenizer", "token_bytes"]


def _tokens(reader: gguf.GGUFReader) -> list[tuple[str, bool]]:
    """Every token as the file spells it, and whether it is a control token."""
    tokens, kinds = (reader.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type"))
    return [(token, kind == gguf.TokenType.CONTROL) for token, kind in zip(tokens, kinds, strict=True)]


def read_tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """The tokenizer of a lab model's GGUF file; control tokens written out in a text are recognised."""
    tokens = _tokens(reader)
    merges = [tuple(m.split(" ", 1)) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: i for i, (token, _) in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, control in tokens if control])
    return tokenizer


def token_bytes(reader: gguf.GGUFReader) -> tuple[bytes, ...]:
    """What each token adds to a text, by id; control tokens add nothing."""
    return tuple(b"" if control else bytes(BYTE_OF[c] for c in token) for token, control in _tokens(reader))
