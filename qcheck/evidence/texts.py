"""What of a text is compared.

Many providers trim a text's white space, so that it is compared without it at its ends. What a replacement character
stands for is unknown: the text ends there.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["RAW", "REPLACEMENT", "cleaned", "penalised", "seen"]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"  # of bytes that are no text by themselves
# `clean_up_tokenization` of Hugging Face's tokenizers takes such spaces away, though not all of them everywhere.
_SPACES: Final = re.compile(rb"(?<! ) ++(?=[.?!,']|n't|n?\Z)|(?<=') ++")
RAW: Final = "surrogateescape"  # keeps such bytes as they are
# What chat templates say unasked, such as those of Llama 3, Qwen 2.5, Kimi K2 and gpt-oss. Dates change daily.
_TEMPLATES: Final = b"""system user assistant model
Cutting Knowledge Date: December 2023
Today Date: 26 Jul 2024

You are Qwen, created by Alibaba Cloud. You are a helpful assistant.
You are Kimi, an AI assistant created by Moonshot AI.
You are ChatGPT, a large language model trained by OpenAI.
Knowledge cutoff: 2024-06
Current date: 2025-06-28
January February March April May June July August September October November December
Jan Feb Mar Apr Jun Jul Aug Sep Oct Nov Dec

Reasoning: medium

# Valid channels: analysis, commentary, final. Channel must be included for every message.
"""
_WORDS: Final = frozenset(re.findall(rb" ?\w+| ?[^\s\w]+|\s+", _TEMPLATES))
_SAID_UNASKED: Final = _WORDS | {word.strip() for word in _WORDS}


def seen(text: str) -> bytes:
    """What of a text is compared."""
    return text.split(REPLACEMENT, maxsplit=1)[0].strip().encode("utf-8", "surrogatepass")


def cleaned(text: bytes) -> bytes:
    """A text, or its beginning, without spaces before punctuation, about apostrophes, and at its end."""
    return _SPACES.sub(b"", text)


def penalised(text: bytes, said: bytes) -> bool:
    """Whether a repetition penalty may fall on a token, or a text of one: it was said before, or by a chat template.

    Of templates whole words are known: not how they come apart into tokens, nor today's date.
    """
    return text in said or text in _SAID_UNASKED
