import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.client.dialect import DialectError, build_body, error_message, parse_model_ids, parse_response
from qcheck.records import Message, Request, Response
from qcheck.registry.types import Dialect, Endpoint

REQUEST = Request("p-1", (Message("system", "Be brief."), Message("user", "Hi")), 4, 0.0, 5)


def endpoint(dialect=Dialect(), **changes):  # noqa: B008
    return Endpoint("p", "p", "https://p.example/v1", "m", None, dialect, **changes)


def body(logprobs=None, usage=None, message=None, **top):
    """A response body with these parts."""
    choice = {"message": message or {"role": "assistant", "content": "Yes"}, "logprobs": logprobs}
    return json.dumps({"choices": [choice], "usage": usage} | top).encode()


def chat(*entries):
    return {"content": list(entries)}


def entry(token, logprob, top=(), **more):
    return {"token": token, "logprob": logprob, "top_logprobs": [dict(t) for t in top]} | more


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_plain_body():
    assert build_body(endpoint(), "org/M", REQUEST) == {
        "model": "org/M",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 4,
        "temperature": 0.0,
        "stream": False,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_integer_logprobs_and_the_other_field_for_tokens():
    sent = build_body(endpoint(Dialect(logprobs="integer", max_tokens="max_completion_tokens")), "m", REQUEST)
    assert sent["logprobs"] == 5
    assert "top_logprobs" not in sent
    assert sent["max_completion_tokens"] == 4
    assert "max_tokens" not in sent


def test_no_logprobs_where_none_are_offered():
    sent = build_body(endpoint(), "m", Request("p-1", REQUEST.messages, 4, 0.0, 0))
    assert not {"logprobs", "top_logprobs"} & set(sent)


@pytest.mark.parametrize(
    ("switch", "added"),
    [
        (None, {}),
        ("none", {}),
        ("thinking.type", {"thinking": {"type": "disabled"}}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"thinking": False, "enable_thinking": False}}),
        ("enable_thinking", {"enable_thinking": False}),
        ("reasoning", {"reasoning": {"enabled": False}}),
    ],
)
def test_thinking_is_switched_off(switch, added):
    plain, switched = (build_body(endpoint(Dialect(thinking_off=s)), "m", REQUEST) for s in (None, switch))
    assert switched == plain | added


def test_extra_bodies_are_put_over_the_rest():
    dialect = Dialect(extra_body={"a": 1, "b": 1})
    sent = build_body(endpoint(dialect, extra_body={"b": 2, "provider": {"only": ["x"]}}), "m", REQUEST)
    assert (sent["a"], sent["b"], sent["provider"]) == (1, 2, {"only": ["x"]})


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_answer():
    raw = body(
        chat(entry("Yes", -0.1, [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}])),
        {"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.00002},
        model="org/M",
        system_fingerprint="fp_1",
    )
    response = parse_response(raw)
    assert (response.text, response.prompt_tokens, response.completion_tokens) == ("Yes", 9, 1)
    assert (response.cost_usd, response.reported_model, response.fingerprint) == (0.00002, "org/M", "fp_1")
    (position,) = response.positions
    assert (position.token, position.logprob) == ("=Yes", -0.1)
    assert position.top == (("=Yes", -0.1), ("=No", -2.5))


def test_the_least_that_is_an_answer():
    response = parse_response(b'{"choices":[{"message":{}}]}')
    assert response == Response("", (), None, None, None, None, None, None, None)


def test_keep_alive_white_space_comes_first():
    assert parse_response(b"\n \n\n   \n" + body()).text == "Yes"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning(field):
    assert parse_response(body(message={"content": None, field: "Let me see."})).reasoning == "Let me see."


def test_usage_inside_the_choice():
    raw = json.dumps({"choices": [{"message": {"content": "Yes"}, "usage": {"prompt_tokens": 69}}]}).encode()
    assert parse_response(raw).prompt_tokens == 69


def only_position(logprobs):
    (position,) = parse_response(body(logprobs)).positions
    return position


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, {"tokens": [], "top_logprobs": []}])
def test_no_logprobs(logprobs):
    assert parse_response(body(logprobs)).positions == ()


@pytest.mark.parametrize("zero", [-9999.0, -10000, -1e300, "-inf", -math.inf, -(10**400)])
def test_a_probability_of_zero(zero):
    top = [{"token": "Yes", "logprob": 0.0}, {"token": "No", "logprob": zero}]
    assert only_position(chat(entry("Yes", 0.0, top))).top == (("=Yes", 0.0), ("=No", -math.inf))


def test_rounding_above_zero_is_zero():
    assert only_position(chat(entry("Yes", 9e-7))).logprob == 0.0


def test_tokens_are_known_by_bytes_then_text_then_id():
    top = [
        {"token": "�", "bytes": [0xE4, 0xBD], "logprob": -1.0},
        {"token": "", "bytes": [], "id": 7, "logprob": -2.0},
        {"token": "", "bytes": None, "token_id": 8, "logprob": -3.0},
        {"token": "x", "bytes": None, "id": "odd", "logprob": -4.0},
    ]
    keys = [key for key, _ in only_position(chat(entry("Yes", -1.0, top))).top]
    assert keys == ["xe4bd", "#7", "#8", "=x"]


def test_of_duplicates_the_most_probable_is_kept_and_order_is_by_probability():
    top = [{"token": t, "logprob": v} for t, v in [("b", -3.0), ("a", -2.0), ("b", -1.0), ("c", -2.0), ("d", None)]]
    assert only_position(chat(entry("b", -1.0, top))).top == (("=b", -1.0), ("=a", -2.0), ("=c", -2.0))


def test_top_logprobs_may_be_empty_or_absent():
    assert only_position(chat({"token": "Yes", "logprob": -0.5})).top == ()
    assert only_position(chat(entry("Yes", None))).logprob is None


def test_completions_form():
    logprobs = {"tokens": ["Yes", "!"], "token_logprobs": [-0.1, None], "top_logprobs": [{"Yes": -0.1, "No": -2}, None]}
    first, second = parse_response(body(logprobs)).positions
    assert first.top == (("=Yes", -0.1), ("=No", -2.0))
    assert (second.token, second.logprob, second.top) == ("=!", None, ())


def test_completions_form_without_alternatives():
    assert only_position({"tokens": ["Yes"], "token_logprobs": [-0.1]}).top == ()


@pytest.mark.parametrize(
    "logprobs",
    [
        [],
        "no",
        {"content": "no"},
        {"content": [1]},
        chat({"logprob": -1.0}),
        chat(entry("Yes", math.nan)),
        chat(entry("Yes", math.inf)),
        chat(entry("Yes", 0.1)),
        chat(entry("Yes", "-1")),
        chat(entry("Yes", True)),
        chat(entry("Yes", 10**400)),
        chat(entry("x" * 5000, -1.0)),
        chat(entry("Yes", -1.0, bytes=[256])),
        chat(entry("Yes", -1.0, bytes=[True])),
        chat(entry("Yes", -1.0, bytes="no")),
        chat(entry("Yes", -1.0, [{"token": 1, "logprob": -1.0}])),
        chat(entry("Yes", -1.0) | {"top_logprobs": {"Yes": -1.0}}),
        chat(entry("Yes", -1.0, [{"token": str(i), "logprob": -9.0} for i in range(1001)])),
        {"tokens": ["a", "b"], "token_logprobs": [-1.0]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{}, {}]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [["a", -1.0]]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{str(i): -9.0 for i in range(1001)}]},
        {"tokens": [None], "token_logprobs": [-1.0]},
    ],
)
def test_malformed_logprobs_are_refused(logprobs):
    raw = body(0)
    with pytest.raises(DialectError) as caught:
        parse_response(raw.replace(b'"logprobs": 0', b'"logprobs": ' + json.dumps(logprobs).encode()))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"<html>",
        b"\xff\xfe\xff",
        b"[" * 100_000,
        b"null",
        b"[]",
        b"{}",
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":{"0":{}}}',
        b'{"choices":[null]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":"Yes"}]}',
        b'{"choices":[{"message":{"content":["Yes"]}}]}',
        b'{"choices":[{"message":{"content":"' + b"x" * 1_000_001 + b'"}}]}',
        body(usage=[1]),
        body(usage={"prompt_tokens": -1}),
        body(usage={"prompt_tokens": 1.5}),
        body(usage={"prompt_tokens": True}),
        body(usage={"completion_tokens": 10**12}),
        body(usage={"cost": -0.1}),
        body(usage={"cost": math.nan}),
        body(usage={"cost": "0.1"}),
    ],
)
def test_malformed_bodies_are_refused(raw):
    with pytest.raises(DialectError) as caught:
        parse_response(raw)
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": {"message": "overloaded", "code": 503}}, 503),
        ({"error": {"message": "overloaded", "code": "busy"}, "choices": []}, None),
        ({"error": "overloaded"}, None),
        ({"choices": [{"error": {"message": "overloaded", "code": 502}, "finish_reason": "error"}]}, 502),
    ],
)
def test_an_error_in_an_http_200(value, status):
    with pytest.raises(DialectError, match="overloaded") as caught:
        parse_response(json.dumps(value).encode())
    assert (caught.value.kind, caught.value.status) == ("error", status)


def test_a_choice_that_ended_in_error():
    with pytest.raises(DialectError, match="no message"):
        parse_response(b'{"choices":[{"message":{"content":"Ye"},"finish_reason":"error"}]}')


def test_labels_are_made_harmless_or_dropped():
    response = parse_response(body(model="\x1b[31mM\u202e", system_fingerprint=["x"]))
    assert (response.reported_model, response.fingerprint) == ("M", None)


# ── the words of errors, and lists of models ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"error":{"message":"no","type":"x"}}', "no"),
        (b'{"error":{"code":429,"message":"Provider returned error","metadata":{"raw":"slow down"}}}',
         "Provider returned error: slow down"),
        (b'{"error":"no"}', "no"),
        (b'{"object":"error","message":"no"}', "no"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[{"loc":[]}]}', ""),
        (b"upstream timed out", "upstream timed out"),
        (b"[1]", ""),
        (b"", ""),
        (b"x" * 70_000, ""),
    ],
)  # fmt: skip
def test_error_message(raw, words):
    assert error_message(raw) == words


def test_model_ids():
    assert parse_model_ids(b'{"object":"list","data":[{"id":"a"},{"id":"org/B"}]}') == ("a", "org/B")
    assert parse_model_ids(b'{"data":[]}') == ()


@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b'{"data":[{}]}', b'{"data":[{"id":""}]}', b'{"data":[{"id":"a\\u001b"}]}']
)
def test_malformed_model_lists_are_refused(raw):
    with pytest.raises(DialectError):
        parse_model_ids(raw)


# ── nothing else is ever raised ───────────────────────────────────────────────────────────────────────────────────────

WORDS = ["choices", "message", "content", "logprobs", "token", "logprob", "bytes", "top_logprobs", "tokens", "error",
         "token_logprobs", "usage", "prompt_tokens", "cost", "id", "data", "code", "metadata", "raw"]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("-inf")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


def survives(parse, raw):
    """`parse(raw)` is read or refused."""
    try:
        return parse(raw)
    except DialectError:
        return None


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_no_json_raises_anything_else(value):
    raw = json.dumps(value).encode()
    survives(parse_response, raw)
    survives(parse_model_ids, raw)
    assert isinstance(error_message(raw), str)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON, JSON)
def test_no_logprobs_raise_anything_else(content, completions, usage):
    for logprobs in ({"content": content}, {"content": [content, completions]}, completions):
        response = survives(parse_response, body(logprobs, usage))
        for position in response.positions if response else ():
            values = [value for _, value in position.top]
            assert values == sorted(values, reverse=True)
            assert all(value <= 0 for value in values)
            assert len({key for key, _ in position.top}) == len(values)


@given(st.binary())
def test_no_bytes_raise_anything_else(raw):
    survives(parse_response, raw)
    survives(parse_model_ids, raw)
    assert isinstance(error_message(raw), str)
