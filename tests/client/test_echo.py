"""Answers scored with `echo`, in the forms in which providers give that."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.client.dialect import DialectError, build_body, parse_response, path_of
from qcheck.records import Message, Request
from qcheck.registry.types import Dialect, Endpoint, PromptFormat

FORM = PromptFormat(
    begin="<|bos|>", user="<|user|>{content}<|end|>", assistant="", system="", answer="<|say|>", no_thought=""
)
ENDPOINT = Endpoint("e", "e", "http://127.0.0.1:1/v1", "m", None, Dialect(), prompt_format=FORM)
TEXT = " Yes, yes"
REQUEST = Request("p", (Message("user", "Sure?"),), 1, 0.0, 5, scored=TEXT)
TOKENS = ["<|bos|>", "<|user|>", "Sure", "?", "<|end|>", "<|say|>", " Yes", ",", " yes", "."]


def legacy(tokens=TOKENS, values=None):
    values = values or [None, *(-0.5 - i for i in range(len(tokens) - 1))][: len(tokens)]
    tops = [None if v is None else {t: v, "other": v - 1} for t, v in zip(tokens, values, strict=True)]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops}


def chat_form(tokens=TOKENS):
    entries = []
    for i, token in enumerate(tokens):
        raw = list(token.encode("utf-8", "surrogateescape")) if not token.startswith("<|") else []
        entry = {
            "token": "" if token.startswith("<|") else token,
            "bytes": raw,
            "id": i,
            "logprob": -0.5 if i else None,
        }
        entries.append(entry | {"top_logprobs": [entry] if i else []})
    return {"content": entries}


def body(logprobs, text="as said", usage=1, **fields):
    choice = {"text": text, "logprobs": logprobs, "finish_reason": "length"}
    counts = {} if usage is None else {"usage": {"prompt_tokens": 9, "completion_tokens": usage}}
    return json.dumps({"choices": [choice], **counts, **fields}).encode()


def read(raw, request=REQUEST):
    return parse_response(raw, ENDPOINT, request)


def test_what_is_asked_is_the_prompt_of_the_chat_with_the_answer_after_it():
    asked = build_body(ENDPOINT, "m", REQUEST)
    assert path_of(asked) == "/completions"
    assert asked["prompt"] == "<|bos|><|user|>Sure?<|end|><|say|> Yes, yes"
    assert (asked["echo"], asked["logprobs"], asked["max_tokens"]) == (True, 5, 1)
    assert "echo" not in build_body(ENDPOINT, "m", replace(REQUEST, scored=None))


@pytest.mark.parametrize(
    "raw",
    [
        body(legacy()),
        body(legacy(), usage=None),
        body(chat_form()),
        body(legacy([".", "!"][:1], [-0.1]), prompt=[{"text": "", "logprobs": legacy(TOKENS[:-1])}]),
        body(legacy([*TOKENS, "!", "!"]), usage=3),
    ],
    ids=["vLLM", "without usage", "chat form", "Together", "a least number of tokens"],
)
def test_positions_are_those_of_the_text_and_the_one_after_it(raw):
    response = read(raw)
    assert [p.token for p in response.positions] == ["= Yes", "=,", "= yes", "=."]
    assert response.text == TEXT


@pytest.mark.parametrize(
    "tokens",
    [
        [*TOKENS[:5], "<|say|> Yes", ",", " yes", "."],
        [*TOKENS[:6], " Yes", ", ", " yes", "."],
        [*TOKENS[:6], "ĠYes", ",", "Ġyes", "."],
        [*TOKENS[:6], " Yes", "<|end|>", " yes", "."],
        [" yes", "."],
        [],
    ],
    ids=["holds the end of the prompt", "another text", "as the vocabulary spells it", "control", "cut off", "none"],
)
def test_what_does_not_spell_the_text_is_not_scored(tokens):
    assert read(body(legacy(tokens))).positions == ()


def test_a_position_without_a_list_is_not_scored():
    listed = legacy()
    listed["top_logprobs"][-2] = None
    assert read(body(listed)).positions == ()


def test_an_echo_that_is_ignored_is_no_score():
    assert read(body(legacy(["."], [-0.1]), text=".")).positions == ()
    assert read(body(None)).positions == ()


def test_a_text_that_looks_like_a_thought_is_scored_all_the_same():
    tokens = ["Q", "<think>", "a", "</think>", "."]
    said = "<think>a</think>"
    assert len(read(body(legacy(tokens), text="Q" + said + "."), replace(REQUEST, scored=said)).positions) == 4


NAMES = st.sampled_from(["choices", "prompt", "logprobs", "content", "tokens", "token_logprobs", "text", "usage"])
ODD = st.recursive(
    st.none() | st.integers(-2, 2) | st.sampled_from(["Hi", TEXT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
)


@given(st.dictionaries(NAMES, ODD), ODD)
def test_odd_bodies_are_malformed_at_worst(value, logprobs):
    for raw in (json.dumps(value).encode(), body(logprobs, **{k: v for k, v in value.items() if k == "prompt"})):
        try:
            read(raw)
        except DialectError as error:
            assert str(error)


def test_lists_do_not_depend_on_the_tokens_that_stand_there():
    """vLLM lists those beside the k best where they are none of them."""

    def listed_where(text, least):
        tokens = [*TOKENS[:6], *text]
        logprobs = legacy(tokens)
        for place, own in enumerate(tokens[1:], 1):
            best = {own if (i, place) == (2, 3) else f"={i}": -0.5 - i for i in range(5)}
            logprobs["top_logprobs"][place] = {own: least} | best
        logprobs["top_logprobs"][2] = {"\ufffd": -0.5, "Sure": -0.9}  # several that decode alike
        return [p.top for p in read(body(logprobs), replace(REQUEST, scored="".join(text[:-1]))).positions]

    for least in (-9.0, -4.5):  # as little as the last of the best: a tie
        found = listed_where([" Yes", ",", " yes", "."], least)
        assert found == listed_where([" No", ".", " no", "!"], least)
        assert {len(top) for top in found} == {5}
