import contextlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.client.dialect import DialectError, build_body, error_message, parse_model_ids, parse_response, path_of
from qcheck.records import Message, Request, Response, Tool
from qcheck.registry.types import Dialect, Endpoint, PromptFormat

REQUEST = Request("p-1", (Message("system", "Be brief."), Message("user", "Hi")), 4, 0.0, 5)


def endpoint(dialect=Dialect(), **changes):  # noqa: B008
    return Endpoint("p", "p", "https://p.example/v1", "m", None, dialect, **changes)


def parsed(raw, at=endpoint(), request=REQUEST):  # noqa: B008
    """What the body of an answer to `request` says."""
    return parse_response(raw, at, request)


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
        ("reasoning_effort", {"reasoning_effort": "none"}),
    ],
)
def test_thinking_is_switched_off(switch, added):
    plain, switched = (build_body(endpoint(Dialect(thinking_off=s)), "m", REQUEST) for s in (None, switch))
    assert switched == plain | added


@pytest.mark.parametrize("switch", ["completions", "partial"])
def test_a_begun_answer_or_a_prompt_follows_the_template_of_the_model(switch):
    turns = (Message("system", "S {content}"), Message("user", "U"), Message("assistant", "A"), Message("user", "V"))
    form = PromptFormat("<u>{content}", "<a>{content}", "<s>{content}", "<a>", "<t></t>", "<b>")
    at = endpoint(Dialect(thinking_off=switch), prompt_format=form)
    sent = build_body(at, "m", replace(REQUEST, messages=turns))
    assert path_of(sent) == ("/completions" if switch == "completions" else "/chat/completions")
    if switch == "completions":
        assert sent["prompt"] == "<b><s>S {content}<u>U<a>A<u>V<a><t></t>"
        assert (sent["logprobs"], "messages" in sent, "top_logprobs" in sent) == (5, False, False)
    else:
        assert len(sent["messages"]) == 5
        assert sent["messages"][-1] == {"role": "assistant", "content": "<t></t>", "partial": True}


def test_the_date_stands_beside_what_else_a_template_is_given():
    sent = build_body(endpoint(Dialect(thinking_off="chat_template_kwargs"), date_string="01 Feb 2026"), "m", REQUEST)
    values = {"thinking": False, "enable_thinking": False, "date_string": "01 Feb 2026"}
    assert sent["chat_template_kwargs"] == values


def test_the_extra_body_is_put_over_the_rest():
    sent = build_body(endpoint(Dialect(), extra_body={"model": "n", "provider": {"only": ["x"]}}), "m", REQUEST)
    assert (sent["model"], sent["provider"]) == ("n", {"only": ["x"]})


# ── what comes back ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_answer():
    raw = body(
        chat(entry("Yes", -0.1, [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}])),
        {"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.00002},
        model="org/M",
        system_fingerprint="fp_1",
    )
    response = parsed(raw)
    assert (response.text, response.prompt_tokens, response.completion_tokens) == ("Yes", 9, 1)
    assert (response.cost_usd, response.reported_model, response.fingerprint) == (0.00002, "org/M", "fp_1")
    (position,) = response.positions
    assert (position.token, position.logprob) == ("=Yes", -0.1)
    assert position.top == (("=Yes", -0.1), ("=No", -2.5))


def test_the_least_that_is_an_answer():
    response = parsed(b'{"choices":[{"message":{},"finish_reason":"stop"}]}')
    assert response == Response("", (), None, None, None, "stop", None, None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"choices":[{"message":{"content":null},"finish_reason":null}]}',
        b"data: [DONE]\n\n",
        b": waiting\n\ndata: [DONE]\n\n",
        b'data: {"choices":[],"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n',
    ],
)
def test_what_holds_no_answer_is_none(raw):
    with pytest.raises(DialectError, match="holds"):
        parsed(raw)


def test_a_stream_may_send_the_message_in_one_piece():
    chunk = b'data: {"choices":[{"index":0,"message":{"content":"Yes"},"finish_reason":"stop"}]}'
    assert parsed(chunk + b"\n\ndata: [DONE]\n\n").text == "Yes"


def test_a_last_chunk_that_repeats_the_message_is_no_further_piece():
    pieces = [b'{"choices":[{"delta":{"content":"%s"}}]}' % text for text in (b"4", b"2")]
    logprobs = b'{"content":[{"token":"42","logprob":-0.5}]}'
    last = b'{"choices":[{"message":{"content":"42"},"finish_reason":"stop","logprobs":%s}]}' % logprobs
    response = parsed(b"".join(b"data: " + chunk + b"\n\n" for chunk in (*pieces, last)))
    assert (response.text, response.positions) == ("42", ())


@pytest.mark.parametrize(
    "chunks",
    [
        ({"delta": {"role": "assistant", "content": ""}}, {"message": {"content": "42"}}),
        ({"delta": {"reasoning_content": "Six by seven."}}, {"message": {"content": "42"}}),
        ({"message": {"content": "4"}}, {"message": {"content": "2"}}),
    ],
)
def test_a_message_in_a_stream_is_one_where_no_words_came_in_deltas(chunks):
    assert parsed(stream(*({"choices": [chunk]} for chunk in chunks), piece("stop", delta={}))).text == "42"


def test_an_event_of_the_type_error_is_one():
    said = b'data: {"choices":[{"delta":{"content":"Ye"}}]}\n\nevent: error\ndata: {"message": "overloaded"}\n\n'
    with pytest.raises(DialectError, match="overloaded"):
        parsed(said + b"data: [DONE]\n\n")


def test_an_empty_list_of_logprobs_is_none():
    assert parsed(body(logprobs=[])).positions == ()


@pytest.mark.parametrize("usage", [{"cost": -0.1}, {"cost": "0.1"}, {"cost": {}}, {"cached_tokens": -1}])
def test_usage_that_no_verdict_rests_on_may_have_any_form(usage):
    response = parsed(body(usage=usage))
    assert (response.cost_usd, response.cached_tokens) == (None, None)


def test_keep_alive_white_space_comes_first():
    assert parsed(b"\n \n\n   \n" + body()).text == "Yes"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning(field):
    assert parsed(body(message={"content": None, field: "Let me see."})).reasoning == "Let me see."


def test_usage_inside_the_choice():
    raw = json.dumps({"choices": [{"message": {"content": "Yes"}, "usage": {"prompt_tokens": 69}}]}).encode()
    assert parsed(raw).prompt_tokens == 69


def only_position(logprobs):
    (position,) = parsed(body(logprobs)).positions
    return position


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, {"tokens": [], "top_logprobs": []}])
def test_no_logprobs(logprobs):
    assert parsed(body(logprobs)).positions == ()


@pytest.mark.parametrize("zero", [-9999.0, -10000, -1e300, "-inf", -math.inf, -(10**400)])
def test_a_probability_of_zero(zero):
    top = [{"token": "Yes", "logprob": 0.0}, {"token": "No", "logprob": zero}]
    assert only_position(chat(entry("Yes", 0.0, top))).top == (("=Yes", 0.0), ("=No", -math.inf))


def test_rounding_above_zero_is_zero():
    assert only_position(chat(entry("Yes", 9e-4))).logprob == 0.0


def test_a_list_that_is_the_one_before_it_once_more_is_not_the_position_s():
    """As in SGLang's streams of several tokens to a chunk (issue 39260)."""
    top = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]
    other = [{"token": "!", "logprob": -0.2}, {"token": ".", "logprob": -1.9}]
    said = chat(entry("Yes", -0.1, top), entry("!", -0.2, top), entry(".", -0.3, top), entry("!", -0.2, other))
    assert [len(p.top) for p in parsed(body(said)).positions] == [2, 0, 0, 2]
    sure = [{"token": "Yes", "logprob": 0.0}, {"token": "No", "logprob": -9999.0}]
    said = chat(entry("Yes", 0.0, sure), entry("Yes", 0.0, sure))
    assert [len(p.top) for p in parsed(body(said)).positions] == [2, 2]
    older = {"tokens": ["a", "b"], "token_logprobs": [-0.1, -0.2], "top_logprobs": [{"a": -0.1, "c": -3.0}] * 2}
    assert [len(p.top) for p in parsed(body(older)).positions] == [2, 0]


@pytest.mark.parametrize(("count", "read"), [(14, 14), (14.0, 14), ("14", 14), (None, None)])
def test_tokens_are_counted_in_any_form_of_a_number(count, read):
    assert parsed(body({}, {"prompt_tokens": count})).prompt_tokens == read


def test_tokens_are_known_by_bytes_then_text_then_id():
    top = [
        {"token": "�", "bytes": [0xE4, 0xBD], "logprob": -1.0},
        {"token": "", "bytes": [], "id": 7, "logprob": -2.0},
        {"token": "", "bytes": None, "token_id": 8, "logprob": -3.0},
        {"token": "x", "bytes": None, "id": "odd", "logprob": -4.0},
    ]
    keys = [key for key, _ in only_position(chat(entry("x", -4.0, top))).top]
    assert keys == ["xe4bd", "#7", "#8", "=x"]


@pytest.mark.parametrize(
    ("taken", "others", "first", "listed"),
    [
        (-0.5, [-1.5, -2.0], "t", 3),  # LMDeploy lists the other tokens alone
        (-2.5, [-1.5, -2.0], "t", 2),  # drawn from beyond the list
        (-0.6, [-0.7, -2.0], "t", 0),  # together they would have more than 1
        (-1.6, [-1.6, -2.5], "t", 0),  # bfloat16 often makes the best two equal: one of them may be left out
        (-1.6, [-1.6, -2.5], "ĠYes", 2),  # listed by another name
        (-1.6, [-1.6, -2.5], "<|end|>", 2),
        (None, [-1.5, -2.0], "t", 2),
        (-0.5, [], "t", 0),
        (-0.5, [-9999.0], "t", 1),
    ],
)
def test_a_taken_token_that_is_left_out_of_its_list_is_added(taken, others, first, listed):
    top = [{"token": f"t{i}" if i else first, "logprob": v} for i, v in enumerate(others)]
    found = only_position(chat(entry("Yes", taken, top))).top
    assert (("=Yes", taken) in found) == (listed > len(others))
    assert len(found) == listed
    assert [v for _, v in found] == sorted((v for _, v in found), reverse=True)


@pytest.mark.parametrize(("factor", "listed"), [(1.0, 3), (1 / math.log(10), 0), (0.9, 3)])
def test_values_that_are_no_natural_logarithms_of_probabilities_are_no_list(factor, listed):
    """Base 10, as some adapters give; and a grid so coarse that the sum is somewhat above 1."""
    top = [{"token": t, "logprob": factor * math.log(p)} for t, p in (("a", 0.5), ("b", 0.3), ("c", 0.15))]
    assert len(only_position(chat(entry("a", factor * math.log(0.5), top))).top) == listed


def test_of_duplicates_the_most_probable_is_kept_and_order_is_by_probability():
    top = [{"token": t, "logprob": v} for t, v in [("b", -3.0), ("a", -2.0), ("b", -1.0), ("c", -2.0), ("d", None)]]
    assert only_position(chat(entry("b", -1.0, top))).top == (("=b", -1.0), ("=a", -2.0), ("=c", -2.0))


def test_top_logprobs_may_be_empty_or_absent():
    assert only_position(chat({"token": "Yes", "logprob": -0.5})).top == ()
    assert only_position(chat(entry("Yes", None))).logprob is None


def test_completions_form():
    logprobs = {"tokens": ["Yes", "!"], "token_logprobs": [-0.1, None], "top_logprobs": [{"Yes": -0.1, "No": -2}, None]}
    first, second = parsed(body(logprobs)).positions
    assert first.top == (("=Yes", -0.1), ("=No", -2.0))
    assert (second.token, second.logprob, second.top) == ("=!", None, ())


def test_completions_form_without_alternatives():
    assert only_position({"tokens": ["Yes"], "token_logprobs": [-0.1]}).top == ()


@pytest.mark.parametrize(
    "logprobs",
    [
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
        parsed(raw.replace(b'"logprobs": 0', b'"logprobs": ' + json.dumps(logprobs).encode()))
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
        b'{"choices":[{"message":{"content":[{"text":1}]}}]}',
        b'{"choices":[{"message":{"reasoning_details":"Hm."}}]}',
        b'{"choices":[{"text":null}]}',
        b'{"choices":[{"text":"Yes","message":"Yes"}]}',
        b'{"choices":[{"message":{"content":"' + b"x" * 1_000_001 + b'"}}]}',
        body(usage=[1]),
        body(usage={"prompt_tokens": -1}),
        body(usage={"prompt_tokens": 1.5}),
        body(usage={"prompt_tokens": True}),
        body(usage={"completion_tokens": 10**12}),
        body(usage={"prompt_tokens_details": 7}),
    ],
)
def test_malformed_bodies_are_refused(raw):
    with pytest.raises(DialectError) as caught:
        parsed(raw)
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
        parsed(json.dumps(value).encode())
    assert (caught.value.kind, caught.value.status) == ("error", status)


@pytest.mark.parametrize("reason", ["error", "ABORT", {"type": "abort"}, "insufficient_system_resource"])
def test_a_choice_that_the_server_broke_off(reason):
    choice = {"message": {"content": "Ye"}, "finish_reason": reason}
    with pytest.raises(DialectError, match="the answer ended with"):
        parsed(json.dumps({"choices": [choice]}).encode())


@pytest.mark.parametrize(
    ("reason", "whole"),
    [
        *((reason, True) for reason in ("stop", "STOP", "length", {"type": "stop"})),
        *((reason, False) for reason in ("content_filter", "", {}, None)),
    ],
)
def test_whether_an_answer_says_that_it_is_whole(reason, whole):
    choice = {"message": {"content": "Ye"}, "finish_reason": reason}
    assert parsed(json.dumps({"choices": [choice]}).encode()).whole is whole


def test_labels_are_made_harmless_or_dropped():
    response = parsed(body(model="\x1b[31mM\u202e", system_fingerprint=["x"]))
    assert (response.reported_model, response.fingerprint) == ("M", None)
    assert parsed(body(model="m" * 200)).reported_model == "m" * 200
    assert parsed(body(model="m" * 201)).reported_model is None


def test_tokens_beyond_those_asked_for_are_not_compared():
    raw = body(chat(*[entry(str(i), -0.5) for i in range(16)]))
    assert [p.token for p in parsed(raw).positions] == ["=0", "=1", "=2", "=3"]


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "<think>\n\n</think>\n\nYes"}, "Yes", None),
        ({"content": "<think>Hm."}, "", "Hm."),
        ({"content": "<thinking>Hm.</thinking> Yes", "reasoning": ""}, "Yes", "Hm."),
        ({"content": "Use <think> here."}, "Use <think> here.", None),
        ({"content": "a <think>b</think> c", "reasoning": "Hm."}, "a <think>b</think> c", "Hm."),
        ({"content": [{"type": "text", "text": "Y"}, {"type": "text", "text": "es"}]}, "Yes", None),
    ],
)
def test_what_was_thought_and_what_was_said(message, text, reasoning):
    response = parsed(body(message=message))
    assert (response.text, response.reasoning) == (text, reasoning)


@pytest.mark.parametrize("switch", ["none", "reasoning"])
def test_a_thought_where_none_should_be_is_no_answer(switch):
    at = endpoint(Dialect(thinking_off=switch))
    for raw in (
        body(message={"content": "", "reasoning": "Hm."}),
        body(message={"content": "<think>"}),
        body(usage={"completion_tokens_details": {"reasoning_tokens": 3}}),
        body(chat(entry("<think>", -0.1))),
        body(chat(entry("The", -0.1), entry(" user", -0.1)), message={"content": ""}),
    ):
        with pytest.raises(DialectError, match="thought before it answered") as caught:
            parsed(raw, at)
        assert caught.value.status == 422
        parsed(raw)  # a model of which nothing else is expected
    assert parsed(body(message={"content": "Yes", "reasoning": " \n"}), at).text == "Yes"
    for unsaid in ("<|im_end|>", "\n\n", "\ufffd"):  # a control token, white space, and a character that is cut off
        assert parsed(body(chat(entry(unsaid, -0.1)), message={"content": ""}), at).positions
    calls = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    called = body(chat(entry("<tool_call>", -0.1)), message={"content": None, "tool_calls": calls})
    assert parsed(called, at, replace(REQUEST, tools=(Tool("f", "", {}),))).tool_calls


@pytest.mark.parametrize("switch", ["unknown", "not found"])
def test_nothing_is_an_answer_where_nobody_knows_how_a_thought_is_prevented(switch):
    with pytest.raises(DialectError, match="nobody knows how the model is kept from thinking") as caught:
        parsed(body(message={"content": "Yes"}), endpoint(Dialect(thinking_off=switch)))
    assert caught.value.status == 422


def test_a_beginning_that_is_repeated_is_no_thought():
    form = PromptFormat("{content}", "{content}", "{content}", "", "<think>\n\n</think>\n\n")
    at = endpoint(Dialect(thinking_off="assistant"), prompt_format=form)
    assert parsed(body(message={"content": "<think>\n\n</think>\n\nYes"}), at).text == "Yes"
    with pytest.raises(DialectError, match="thought before"):
        parsed(body(message={"content": "<think>\n\n</think>\n\n<think>Hm."}), at)


def stream(*chunks, end=b"data: [DONE]\n\n"):
    """A stream of these chunks."""
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + end


def piece(finish=None, **more):
    return {"choices": [{"delta": {"content": "x"}, "finish_reason": finish} | more]}


def test_a_stream_says_what_the_same_answer_says_in_one_piece():
    listed = [chat(entry(t, -0.5, [{"token": t, "logprob": -0.5}])) for t in "ab"]
    usage = {"prompt_tokens": 3, "cost": 0.5}
    whole = body({"content": [*listed[0]["content"], *listed[1]["content"]]}, usage, {"content": "xx"}, model="m")
    chunks = [piece(logprobs=listed[0]), piece(logprobs=listed[1]), {"choices": [], "usage": usage, "model": "m"}]
    assert parsed(stream(*chunks)) == parsed(whole)
    assert parsed(stream(*chunks).replace(b"\n", b"\r\n")) == parsed(whole)


def test_other_choices_of_a_stream_are_not_mixed_in():
    assert parsed(stream(piece(), piece(index=1, delta={"content": "y"}), piece("stop"))).text == "xx"


@pytest.mark.parametrize(
    "raw",
    [
        stream(piece(), end=b""),
        stream(piece(), end=b'data: {"choi'),
        stream(piece(), piece(delta={"content": ["x"]})),
        stream(piece(delta="x")),
        stream(piece(logprobs=-0.5)),
        stream([1]),
        b"data: \xff\n\n",
        b": nothing but comments\n\n",
    ],
)
def test_malformed_streams_are_refused(raw):
    with pytest.raises(DialectError) as caught:
        parsed(raw)
    assert caught.value.kind == "malformed"


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
        (b'{"detail":[{"loc":["body","messages",0,null],"msg":"Field required"},"no",{"msg":"no"},[],{"msg":[]}]}',
         "body.messages.0: Field required; no; no"),
        (b'{"detail":{"error":"no"}}', "no"),
        (b'{"detail":{"error":{"message":"no"}}}', "no"),
        (b'{"detail":{"message":"no","code":3}}', "no"),
        (b'{"object":"error","message":{"detail":[{"loc":["body","top_k"],"msg":"no"}]}}', "body.top_k: no"),
        (b'{"message":[],"detail":{"detail":{}}}', ""),
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
         "token_logprobs", "usage", "prompt_tokens", "cost", "id", "data", "code", "metadata", "raw", "detail", "loc",
         "msg"]  # fmt: skip
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
    survives(parsed, raw)
    survives(parse_model_ids, raw)
    assert isinstance(error_message(raw), str)


@settings(max_examples=300, deadline=None)
@given(JSON, JSON, JSON)
def test_no_logprobs_raise_anything_else(content, completions, usage):
    for logprobs in ({"content": content}, {"content": [content, completions]}, completions):
        response = survives(parsed, body(logprobs, usage))
        for position in response.positions if response else ():
            values = [value for _, value in position.top]
            assert values == sorted(values, reverse=True)
            assert all(value <= 0 for value in values)
            assert len({key for key, _ in position.top}) == len(values)


def test_thoughts_within_thoughts_are_not_followed():
    nested = '[{"thinking":' * 200 + "[]" + "}]" * 200
    response = parsed(b'{"choices":[{"message":{"content":[{"text":"Yes","thinking":' + nested.encode() + b"}]}}]}")
    assert (response.text, response.reasoning) == ("Yes", None)


SPEAKS = st.sampled_from(["content", "reasoning", "reasoning_content", "reasoning_details", "text", "thinking"])
PARTS = st.lists(st.dictionaries(SPEAKS, LEAVES | st.lists(LEAVES, max_size=2), max_size=2), max_size=2)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(SPEAKS, LEAVES | PARTS, max_size=3))
def test_no_message_raises_anything_else(message):
    for at in (endpoint(), endpoint(Dialect(thinking_off="none"))):
        with contextlib.suppress(DialectError):
            parsed(body(message=message), at)


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON, max_size=3))
def test_no_stream_raises_anything_else(deltas):
    raw = stream(*[{"choices": [{"delta": d, "logprobs": d, "finish_reason": "stop"}]} for d in deltas], *deltas)
    survives(parsed, raw)
    assert isinstance(error_message(raw), str)


@given(st.binary())
def test_no_bytes_raise_anything_else(raw):
    survives(parsed, raw)
    survives(parse_model_ids, raw)
    assert isinstance(error_message(raw), str)
