"""Where in a response the final answer stands, in plain characters.

Linear in the length of the text, of which only the end is read; nothing of it is ever run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["passages", "plain", "statements", "without_end_marks", "without_reasoning"]

MAX_CHARACTERS: Final = 10_000
MAX_ANNOUNCEMENTS: Final = 20

_TAG = re.compile(r"(</?(?:think|thinking|reasoning)>)", re.IGNORECASE)

# How servers that do not know where an answer ends show the token that ends it.
_END_MARK = re.compile(r"(?:<[|｜][^<>|｜\s]{1,40}[|｜]>|</s>|<(?:eos|pad|end_of_turn)>)\Z")

_SIGNS = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f", '"')
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", "")
    | {"\u2044": "/", "\u066b": ".", "\u066c": ",", "\u3001": ",", "\u3002": ". "}
)
# Each in turn: what, and what takes its place. LaTeX first, from the inside out, then Markdown.
_MARKUP: Final = tuple(
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"\\(?:text|textbf|textit|texttt|mathrm|mathbf|mathit|operatorname)\{([^{}]{0,200})\}", r"\1"),
        (r"\\[dt]?frac\{([^{}]{1,60})\}\{([^{}]{1,60})\}", r"\1/\2"),
        (r"\{,\}", ","),
        (r"\\boxed\{([^{}]{0,400})\}", "\nAnswer: \\1\n"),
        (r"\\([%$#&_{}])", r"\1"),
        (r"\\(?:[,;:! ()\[\]]|quad\b|left\b|right\b)", " "),
        (r"\$", ""),
        (r"^[^\S\n]*(?:```|~~~)[^\S\n]*\w*[^\S\n]*$", ""),
        (r"`+|\*\*|__", ""),
        (r"(?<![\w*])\*([^\s*](?:[^*\n]{0,100}[^\s*])?)\*(?![\w*])", r"\1"),
        (r"(?<!\w)_([^\s_](?:[^_\n]{0,100}[^\s_])?)_(?!\w)", r"\1"),
        (r"^[^\S\n]*(?:#{1,6}|>)[^\S\n]+", ""),
        (r"[^\S\n]+", " "),
        (r"^ | $", ""),
    )
)

_NOUNS: Final = (
    "final answer|answer|result|solution|antwort|ergebnis|lösung|réponse|résultat|respuesta|resultado|risposta|"
    "risultato|resposta|antwoord|odpowiedź|svar|ответ|cevap|jawaban"
)
_COPULAS: Final = "is|are|was|would be|must be|equals|ist|lautet|est|es|è|é|jest|är"
# "Answer:", "Answer" on a line of its own, or "The answer to your question is", but not "is not".
_ANNOUNCEMENT = re.compile(
    rf"(?<![\"'\w])(?:{_NOUNS})(?!\w)"
    rf"(?:[^.:=\n\"']{{0,60}}? (?:{_COPULAS})(?! not\b)(?: ?:|(?=\s))|[*_ ]{{0,5}}(?:[:=]|$))"
    r"|(?:答案|答え)(?: ?[:=]|[是は])",
    re.IGNORECASE | re.MULTILINE,
)

# A full stop ends a sentence, but not after a single letter: "B. Paris".
_SENTENCE_END = re.compile(r"(?<!\b[A-Za-z])[.!?](?=\s)")
_REASON = re.compile(
    r"[,;]? ?\b(?:because|since|given that|weil|denn|parce que|porque|perché|omdat)\b(?:[^.!?\n]|[.!?](?!\s|$))*",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<=\S) ?\([^()\n]{2,200}\)")


def without_end_marks(text: str) -> str:
    """`text` without the control tokens that it ends with."""
    text = text.rstrip()
    while mark := _END_MARK.search(text, max(0, len(text) - 64)):
        text = text[: mark.start()].rstrip()
    return text


def without_reasoning(text: str) -> str:
    """`text` without what stands in `<think>` tags, whose first may be missing; of the rest at most the end."""
    kept: list[str] = []
    thinking = False
    for piece in _TAG.split(text):
        if _TAG.fullmatch(piece):
            closes = piece.startswith("</")
            if closes and not thinking:  # the chat template wrote the opening tag into the prompt
                kept.clear()
            thinking = not closes
        elif not thinking:
            kept.append(piece)
    return "\n".join(kept)[-MAX_CHARACTERS:]


def plain(text: str) -> str:
    """`text` without Markdown and LaTeX: digits, signs and quotes in ASCII, one space at a time, lines stripped.

    `\\boxed{x}` becomes a line `Answer: x`.
    """
    text = re.sub(r"(?=[\u00bc-\u00be\u2150-\u215e])", " ", text)  # 1½ is not 11/2
    text = re.sub(r"(?<=\d)(?=[\u00b2\u00b3\u00b9\u2070\u2074-\u2079])", "^", text)  # 10² is not 102
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)[-MAX_CHARACTERS:]
    text = re.sub(r"[^\x00-\x7f]", lambda match: str(int(match[0])) if match[0].isdecimal() else match[0], text)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _announced(text: str) -> Iterator[str]:
    """What follows each announcement of an answer ("The answer is", "Answer:"), from the last to the first."""
    ends = [match.end() for match in _ANNOUNCEMENT.finditer(text)]
    yield from filter(None, (text[end:].strip() for end in reversed(ends[-MAX_ANNOUNCEMENTS:])))


def passages(text: str) -> Iterator[str]:
    """Where the answer may begin, best first: after each announcement, from the last to the first; else anywhere."""
    yield from _announced(text)
    yield text


def statements(text: str) -> Iterator[str]:
    """Like `passages`, each without reasons and asides; what was announced ends with its sentence."""
    for passage in _announced(text):
        line = passage.split("\n", 1)[0]
        yield _without_asides(_SENTENCE_END.split(line, maxsplit=1)[0])
    yield _without_asides(text)


def _without_asides(text: str) -> str:
    return _ASIDE.sub("", _REASON.sub("", text)).strip()
