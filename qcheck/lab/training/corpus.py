"""The training text of the lab's models, as documents that already carry the chat markers.

Sources, all openly licensed and installed as Debian packages (see docs/lab-model.md): the King James Bible
(`bible-kjv`, public domain), the Python 3.11 documentation (`python3.11-doc`, PSF licence), WordNet 3.0
(`wordnet-base`, WordNet licence), the Jargon File (`dict-jargon`, public domain), the docstrings of the
running Python's standard library (PSF licence); and the generated tasks of `tasks.py`.
"""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qcheck.lab.training import tasks

__all__ = ["CHAT_TEMPLATE", "SHARES", "SPECIALS", "articles", "chat", "continuation", "documents", "questions"]

SPECIALS = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Share of the training tokens that each source gets, whatever its size.
SHARES = {"bible": 0.13, "python-doc": 0.20, "docstrings": 0.07, "wordnet": 0.20, "jargon": 0.06, "tasks": 0.34}


def chat(user: str, assistant: str, system: str | None = None) -> str:
    """One exchange as the chat template renders it."""
    head = f"<|system|>{system}<|end|>" if system else ""
    return f"<|bos|>{head}<|user|>{user}<|end|><|assistant|>{assistant}<|end|>"


def _bible() -> Iterator[str]:
    text = subprocess.run(["bible", "-f", "Gen1:1-Rev22:21"], capture_output=True, text=True, check=True).stdout
    verses = [line.split(" ", 1)[1].strip() for line in text.splitlines() if " " in line]
    for start in range(0, len(verses), 6):
        yield " ".join(verses[start : start + 6])


def _python_doc(root: Path) -> Iterator[str]:
    for path in sorted((root / "usr/share/doc/python3.11/html/_sources").rglob("*.rst.txt")):
        text = path.read_text(encoding="utf-8", errors="replace")
        sections = re.split(r"\n(?=[^\n]+\n[=\-~^*]{4,}\n)", text)
        yield from (s.strip() for s in sections if len(s) > 200)


def _docstrings() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib"} & set(path.parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text and len(text) > 60:
                    name = getattr(node, "name", path.stem)
                    yield f"{name}\n{text}"


def questions(root: Path, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """WordNet as questions about a quoted word, with their answers."""
    asks = ("What does {} mean?", "Define {}.", "Explain the word {}.", "What is meant by {}?")
    for part in ("noun", "verb", "adj", "adv"):
        for line in (root / f"usr/share/wordnet/data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            word = head.split()[4].replace("_", " ").split("(")[0]
            definition, *examples = (x.strip(' "') for x in re.split(r';\s*(?=")', gloss.strip()))
            yield asks[int(rng.integers(len(asks)))].format(f'"{word}"'), definition
            for example in examples:
                if len(example) > 15:
                    yield f'Use "{word}" in a sentence.', example


def articles(root: Path) -> Iterator[str]:
    """The Jargon File's entries."""
    with gzip.open(root / "usr/share/dictd/jargon.dict.dz", "rt", encoding="utf-8", errors="replace") as file:
        yield from (e.strip() for e in re.split(r"\n(?=\S)", file.read()) if len(e) > 80)


def continuation(text: str, rng: np.random.Generator) -> tuple[str, str]:
    """The beginning of a text of 120 characters at least, with the wish to hear more, and what comes after it."""
    cut = text.find(" ", int(rng.integers(40, min(240, len(text) // 2))))
    asks = ("Continue: {}", "{}", "Continue this text:\n{}", "Go on: {}", "What comes next?\n{}")
    return asks[int(rng.integers(len(asks)))].format(text[:cut]), text[cut:].strip()[:900]


def _as_conversation(text: str, rng: np.random.Generator) -> str:
    """Half of the prose stays plain, half becomes "continue this" chats, so that chat probes meet open answers."""
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
    if rng.random() < 0.5 or len(text) < 120:
        return f"<|bos|>{text}<|end|>"
    return chat(*continuation(text, rng))


def _task(rng: np.random.Generator) -> str:
    task = tasks.generate(rng)
    system = "You are a helpful assistant." if rng.random() < 0.1 else None
    return chat(task.prompt, task.answer, system)


def documents(root: Path, rng: np.random.Generator, task_count: int) -> dict[str, list[str]]:
    """All documents by source. `root` is where the Debian packages were unpacked ("/" if installed)."""
    prose = {
        "bible": list(_bible()),
        "python-doc": list(_python_doc(root)),
        "docstrings": list(_docstrings()),
        "jargon": list(articles(root)),
    }
    result = {name: [_as_conversation(t, rng) for t in texts] for name, texts in prose.items()}
    result["wordnet"] = [chat(user, assistant) for user, assistant in questions(root, rng)]
    result["tasks"] = [_task(rng) for _ in range(task_count)]
    return result
