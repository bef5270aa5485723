from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.lab.catalog import EngineSettings
from qcheck.lab.gguf_files import open_gguf
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import Child, close_all

tokenizers = pytest.importorskip("tokenizers")

from qcheck.lab.tokenizer import read_tokenizer, token_bytes  # noqa: E402

CONTROL = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEXT = (
    st.text()
    | st.text("ab 01\n\t's.é中🙂\u0301\u00a0")
    | st.lists(st.sampled_from([*CONTROL, " ", "the", "<|"])).map("".join)
)


@pytest.fixture(scope="module")
def llama_cpp(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    child = Child("llama.cpp", "qcheck.lab.engine", tmp_path_factory.mktemp("engine") / "log")
    child.send(EngineStart(str(release), EngineSettings()))
    yield child.receive()["url"]
    close_all([child])


@pytest.fixture(scope="module")
def tokenizer(release: Path) -> tokenizers.Tokenizer:
    return read_tokenizer(open_gguf(release))


@pytest.fixture(scope="module")
def pieces(release: Path) -> tuple[bytes, ...]:
    return token_bytes(open_gguf(release))


@settings(max_examples=150, deadline=None)
@given(TEXT)
def test_llama_cpp_splits_texts_likewise(llama_cpp: str, tokenizer: tokenizers.Tokenizer, text: str):
    body = json.dumps({"content": text, "parse_special": True}).encode()
    request = urllib.request.Request(f"{llama_cpp}/tokenize", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert tokenizer.encode(text).ids == json.load(response)["tokens"]


@given(TEXT)
def test_the_bytes_of_the_tokens_make_up_the_text(
    tokenizer: tokenizers.Tokenizer, pieces: tuple[bytes, ...], text: str
):
    for name in CONTROL:
        text = text.replace(name, "")
    assert b"".join(pieces[i] for i in tokenizer.encode(text).ids) == text.encode()


def test_every_byte_and_no_control_token_has_a_text(tokenizer: tokenizers.Tokenizer, pieces: tuple[bytes, ...]):
    assert {bytes([b]) for b in range(256)} <= set(pieces)
    assert {i for i, piece in enumerate(pieces) if not piece} == {tokenizer.token_to_id(name) for name in CONTROL}
