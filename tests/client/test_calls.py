"""What is read of calls is right or refused; the ways that providers have are in `traits`."""

import json
from contextlib import suppress

import pytest
from fake_provider import http, listening
from hypothesis import given
from hypothesis import strategies as st
from traits import ASKS, call, calling

from qcheck.client.calls import merged, refused_call, tool_calls
from qcheck.client.fields import MalformedError
from qcheck.client.transport import Client

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["function", "name", "arguments", "index", "id", "error", "code"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("read", [tool_calls, merged, refused_call])
@given(value=JSON)
def test_anything_is_read_or_refused(read, value):
    with suppress(MalformedError):
        read(value)


@pytest.mark.parametrize("value", ["f", [1], [{}], [{"function": {"name": 1}}], [call([])], [call("{}")] * 1001])
def test_what_is_no_list_of_calls_is_refused(value):
    with pytest.raises(MalformedError):
        tool_calls(value)


async def asked(reply, key):
    """The only attempt at a provider that replies so."""
    async with listening(reply) as provider, Client(provider.endpoint(), key, max_attempts=1) as client:
        (attempt,) = [a async for a in client.ask(ASKS, "p", 0)]
    return attempt


async def test_a_call_that_repeats_the_key_is_not_kept():
    key = "sk-canary-0123456789"
    attempt = await asked(calling(call(json.dumps({"a": key}))), key)
    assert attempt.response is None
    assert key not in str(attempt)


async def test_a_refused_call_whose_words_repeat_the_key_is_not_kept():
    key = "sk-canary-0123456789"
    error = {"message": "no", "code": "tool_use_failed", "failed_generation": key}
    attempt = await asked(http(400, {"error": error}), key)
    assert (attempt.response, attempt.outcome) == (None, "failed")
    assert key not in str(attempt)
