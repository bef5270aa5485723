import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.client.offered import choices_in, is_stream, scored_prompt_tokens

PROMPT = "Hi there you"
LEGACY = {"tokens": ["Hi", " there", " you", " Yes"], "token_logprobs": [None, -1, -2.5, -0.5]}


def body(**value):
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("answer", "scored"),
    [
        (body(choices=[{"logprobs": LEGACY}]), 2),
        (body(choices=[{"logprobs": {"tokens": ["▁Hi", "▁there", "▁you"], "token_logprobs": [-1, -1, -1]}}]), 3),
        (body(choices=[{}], prompt=[{"text": PROMPT, "logprobs": LEGACY}]), 2),
        (body(choices=[{"logprobs": {"content": [{"token": "Hi there", "logprob": -1}, {"token": " you"}]}}]), 1),
        (body(choices=[{"logprobs": {"tokens": [" Yes"] * 16, "token_logprobs": [-1] * 16}}]), 0),
        (body(choices=[{"logprobs": {"tokens": ["Hi", " there", " you"], "token_logprobs": []}}]), 0),
        (body(choices=[{"logprobs": None}], prompt="Hi there you"), 0),
        (body(choices=[{"logprobs": "odd"}]), 0),
        (b"data: [DONE]\n\n", 0),
    ],
)
def test_tokens_of_the_prompt_with_a_number_are_counted(answer, scored):
    assert scored_prompt_tokens(answer, PROMPT) == scored


def test_choices_of_an_answer_in_one_piece_are_counted():
    assert choices_in(body(choices=[{}, {}])) == 2
    assert choices_in(body(choices=None)) is None
    assert choices_in(b"data: {}\n\n") is None
    assert is_stream(b"data: {}\n\n")


NAMES = st.sampled_from(["choices", "prompt", "logprobs", "content", "tokens", "token_logprobs", "token", "logprob"])
ODD = st.recursive(
    st.none() | st.integers(-2, 2) | st.sampled_from(["Hi", PROMPT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
)


@given(st.dictionaries(NAMES, ODD))
def test_odd_bodies_are_no_crash(value):
    assert scored_prompt_tokens(body(**value), PROMPT) >= 0
    assert choices_in(body(**value)) in {None, *range(4)}
