"""The client against a real socket: whatever a provider does becomes an attempt, and the key stays at home."""

import asyncio
import base64
import contextlib
import gzip
import json
import ssl
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from fake_provider import Drip, Reset, answer, http, listening

from qcheck import __version__
from qcheck.cancellation import may_have_been_sent
from qcheck.client.limits import Limiter
from qcheck.client.transport import Client
from qcheck.errors import ConfigurationError
from qcheck.records import Message, Request, attempt_to_row
from qcheck.registry.types import Endpoint

REQUEST = Request("p-1", (Message("user", "Hi"),), 4, 0.0, 5)
KEY = "sk-canary-0123456789"
OK = http(200, answer())


class Sleeper:
    """Counts instead of sleeping."""

    def __init__(self):
        self.waits = []

    async def __call__(self, seconds):
        self.waits.append(seconds)


@pytest.fixture
def sleeper():
    return Sleeper()


async def ask(endpoint, sleeper, key=KEY, **options):
    """All attempts at one request. The key is in none of them."""
    async with Client(endpoint, key, sleep=sleeper, rng=np.random.default_rng(1), **options) as client:
        attempts = [attempt async for attempt in client.ask(REQUEST, "fake", 7)]
    kept = json.dumps([attempt_to_row(attempt) for attempt in attempts])
    assert KEY not in kept
    assert base64.b64encode(KEY.encode()).decode()[:16] not in kept
    assert [a.index for a in attempts] == list(range(len(attempts)))
    assert [a.settled for a in attempts] == [False] * (len(attempts) - 1) + [True]
    return attempts


def outcomes(attempts):
    return [attempt.outcome for attempt in attempts]


async def test_an_answer(fake, sleeper):
    fake.script = [http(200, answer("Yes"), "Content-Type: application/json")]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.provider, attempt.seq, attempt.probe_id, attempt.index) == ("fake", 7, "p-1", 0)
    assert (attempt.outcome, attempt.http_status, attempt.error, attempt.fatal) == ("answered", 200, None, False)
    assert attempt.response.text == "Yes"
    assert abs(datetime.now(UTC) - datetime.fromisoformat(attempt.started)) < timedelta(minutes=1)
    assert 0 <= attempt.elapsed_s < 60
    assert sleeper.waits == []


async def test_what_goes_over_the_wire(fake, sleeper):
    fake.script = [OK]
    await ask(fake.endpoint(), sleeper)
    (asked,) = fake.asked
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["user-agent"] == f"qcheck/{__version__}"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["accept-encoding"] == "identity"
    assert json.loads(asked.body)["model"] == "m"
    assert KEY.encode() not in asked.body


async def test_no_key_no_header(fake, sleeper):
    fake.script = [OK]
    await ask(fake.endpoint(), sleeper, key=None)
    assert "authorization" not in fake.asked[0].headers


async def test_proxies_are_not_used_for_this_machine(fake, sleeper, refused_url, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", refused_url)
    monkeypatch.setenv("ALL_PROXY", refused_url)
    fake.script = [OK]
    assert outcomes(await ask(fake.endpoint(), sleeper)) == ["answered"]


async def test_cookies_are_not_kept(fake, sleeper):
    fake.script = [http(500, {}, "Set-Cookie: route=a; Path=/"), OK]
    await ask(fake.endpoint(), sleeper)
    assert len(fake.asked) == 2
    assert "cookie" not in fake.asked[1].headers


async def test_no_other_header_is_sent(fake, sleeper):
    fake.script = [OK]
    await ask(fake.endpoint(), sleeper)
    told = {"user-agent", "authorization", "accept", "accept-encoding"}
    assert fake.asked[0].headers.keys() == told | {"host", "connection", "content-length", "content-type"}


@pytest.mark.parametrize("status", [408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 529])
async def test_statuses_that_pass_are_tried_again(fake, sleeper, status):
    fake.script = [http(status, {"error": {"message": "later"}}), OK]
    first, second = await ask(fake.endpoint(), sleeper)
    assert (first.outcome, first.http_status, first.error) == ("retried", status, f"HTTP {status}: later")
    assert second.outcome == "answered"
    assert 0.5 <= sleeper.waits[0] <= 1.0


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("Retry-After: 7", 7.0, 7.7),
        ("retry-after-ms: 1500", 1.5, 1.65),
        ("Retry-After: Tue, 01 Jan 2199 00:00:00 GMT", 60.0, 60.0),
        ("Retry-After: 86400", 60.0, 60.0),
        ("Retry-After: soon", 0.5, 1.0),
    ],
)
async def test_retry_after_is_heeded_and_bounded(fake, sleeper, header, low, high):
    fake.script = [http(429, {}, header), OK]
    await ask(fake.endpoint(), sleeper)
    assert low <= sleeper.waits[0] <= high


async def test_attempts_are_bounded_and_the_wait_grows(fake, sleeper):
    fake.script = [http(503, b"")]
    attempts = await ask(fake.endpoint(), sleeper, max_attempts=4)
    assert outcomes(attempts) == ["retried", "retried", "retried", "failed"]
    assert not any(a.fatal for a in attempts)
    assert sleeper.waits == sorted(sleeper.waits)
    assert len(sleeper.waits) == 3


async def test_an_attempt_is_told_before_the_wait(fake, sleeper):
    fake.script = [http(503, b""), OK]
    async with Client(fake.endpoint(), sleep=sleeper) as client:
        attempts = client.ask(REQUEST, "fake", 0)
        await anext(attempts)
        assert sleeper.waits == []
        await attempts.aclose()


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "bad key"), (402, "no credit"), (403, "no"), (404, "no such model"), (410, "retired")],
)
async def test_a_provider_that_will_answer_nothing(fake, sleeper, status, message):
    fake.script = [http(status, {"error": {"message": message}})]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.outcome, attempt.fatal, attempt.error) == ("failed", True, f"HTTP {status}: {message}")


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(
    ("status", "message", "ends"),
    [
        (403, "blocked", [("failed", False)]),
        (404, "No allowed providers are available for the selected model", [("retried", False), ("answered", False)]),
        (401, "bad key", [("failed", True)]),
        (402, "no credit", [("failed", True)]),
        (410, "retired", [("failed", True)]),
    ],
)
async def test_what_stops_one_who_has_answered_before(fake, sleeper, status, message, ends, within):
    error = {"error": {"message": message, "code": status}}
    fake.script = [OK, http(200 if within else status, error), OK]
    async with Client(fake.endpoint(), sleep=sleeper) as client:
        assert [a.outcome async for a in client.ask(REQUEST, "fake", 0)] == ["answered"]
        assert [(a.outcome, a.fatal) async for a in client.ask(REQUEST, "fake", 1)] == ends
    fake.script = fake.script[1:]
    fake.asked.clear()
    attempts = await ask(fake.endpoint(), sleeper, answered=True)
    assert [(a.outcome, a.fatal) for a in attempts] == ends


async def test_a_list_of_models_is_no_answer(fake, sleeper):
    fake.script = [http(200, {"data": [{"id": "m"}]}), http(403, {"error": {"message": "no"}})]
    (attempt,) = await ask(fake.endpoint(model_id=None), sleeper)
    assert attempt.fatal


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_request_that_will_not_be_answered(fake, sleeper, status):
    fake.script = [http(status, b"")]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.outcome, attempt.fatal, attempt.error) == ("failed", False, f"HTTP {status}")


async def test_redirects_are_not_followed(fake, other, sleeper):
    fake.script = [http(307, b"", f"Location: {other.url}/chat/completions")]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.outcome, attempt.fatal, attempt.http_status) == ("failed", True, 307)
    assert other.asked == []
    assert attempt.error.startswith(f"HTTP 307: it redirects to {other.url}/chat/completions, and the key goes nowhere")


async def test_of_a_redirect_no_secret_is_told(fake, sleeper):
    fake.script = [http(301, b"", "Location: https://u:secret@h.example/v1?secret#secret")]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert attempt.error.startswith("HTTP 301: it redirects to https://h.example/v1, and")


async def test_a_refused_connection_is_fatal_after_two_quick_tries(refused_url, sleeper):
    attempts = await ask(Endpoint("fake", "", refused_url, "m", None), sleeper)
    assert outcomes(attempts) == ["retried", "failed"]
    assert [a.fatal for a in attempts] == [False, True]
    assert "cannot connect" in attempts[1].error
    assert not any(a.sent for a in attempts)
    assert sleeper.waits == [0.5]


async def test_an_address_that_once_took_a_connection_is_tried_again_like_any_other_failure(sleeper):
    async with listening(http(200, answer(), "Connection: close")) as provider:
        client = Client(provider.endpoint(), sleep=sleeper, rng=np.random.default_rng(1))
        assert [a.outcome async for a in client.ask(REQUEST, "fake", 0)] == ["answered"]
    async with client:
        attempts = [a async for a in client.ask(REQUEST, "fake", 1)]
    assert outcomes(attempts) == ["retried"] * 3 + ["failed"]
    assert not any(a.fatal for a in attempts)
    assert sleeper.waits[-1] > 1


@pytest.mark.parametrize("proxy", [f"foo://user:{KEY}@host:1", f"http://user:{KEY}@host:port"])
async def test_a_proxy_that_cannot_be_used_is_a_mistake_of_the_configuration(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="ALL_PROXY") as refused:
        Client(Endpoint("fake", "", "https://provider.example/v1", "m", None))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "step",
    [
        Reset(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Le\r\nConnection: close\r\n\r\n",
        b"nonsense\r\nConnection: close\r\n\r\n",
        http(200, b""),
        http(202, b""),
        http(204, b""),
        http(201, b"<html>busy</html>"),
        http(200, b"<html>busy</html>"),
        http(200, {"choices": []}),
        http(200, {"error": {"message": "overloaded", "code": 502}}),
        http(200, {"error": {"message": "overloaded"}}),
        http(200, gzip.compress(json.dumps(answer()).encode()), "Content-Encoding: gzip"),
        http(200, answer(), "Content-Encoding: identity, GZIP"),
        http(200, answer(), "Content-Encoding: utf-8", "Content-Encoding: br"),
    ],
)
async def test_broken_answers_are_tried_again(fake, sleeper, step):
    fake.script = [step, OK]
    first, second = await ask(fake.endpoint(), sleeper)
    assert (first.outcome, second.outcome) == ("retried", "answered")
    assert first.error


@pytest.mark.parametrize("status", [200, 201, 202, 206])
@pytest.mark.parametrize("headers", [(), ("Content-Encoding: utf-8",), ("Content-Encoding: IDENTITY, utf-8",)])
async def test_any_success_with_a_body_that_is_not_compressed_is_read(fake, sleeper, status, headers):
    fake.script = [http(status, answer("Yes"), *headers)]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.http_status, attempt.response.text) == (status, "Yes")


async def test_an_error_in_an_http_200_is_judged_by_its_code(fake, sleeper):
    fake.script = [http(200, {"error": {"message": "no credit", "code": 402}})]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert (attempt.outcome, attempt.fatal, attempt.http_status) == ("failed", True, 200)
    assert "no credit" in attempt.error


async def test_keep_alives_before_the_body(fake, sleeper):
    fake.script = [http(200, b"\n   \n  \n" + json.dumps(answer()).encode())]
    assert outcomes(await ask(fake.endpoint(), sleeper)) == ["answered"]


async def test_a_slow_drip_is_cut_off(fake, sleeper):
    fake.script = [Drip(OK, 0.05)]
    (attempt,) = await ask(fake.endpoint(), sleeper, timeout_s=0.2, max_attempts=1)
    assert (attempt.outcome, attempt.error) == ("failed", "no complete answer within 0.2 s")
    assert attempt.elapsed_s >= 0.19


async def test_a_patient_drip_is_read(fake, sleeper):
    fake.script = [Drip(OK, 0.0)]
    assert outcomes(await ask(fake.endpoint(), sleeper)) == ["answered"]


@pytest.mark.parametrize("head", ["Content-Length: 99999999\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_an_oversized_body_is_not_read_to_its_end(fake, sleeper, head):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    fake.script = [f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + chunk * 4]
    (attempt,) = await ask(fake.endpoint(), sleeper, max_body_bytes=100_000)
    assert (attempt.outcome, attempt.error) == ("failed", "the body is larger than 100000 bytes")


@pytest.mark.parametrize(
    "words",
    [
        f"Incorrect key {KEY}",
        f"Authorization: Basic {base64.b64encode(f':{KEY}'.encode()).decode()}",
        KEY.replace("canary", "can\u200bary"),
        "x" * 290 + KEY,
    ],
)
async def test_the_key_is_in_no_error(fake, sleeper, words):
    fake.script = [http(400, {"error": {"message": words}})]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert "canary" not in attempt.error
    assert len(attempt.error) <= 300


@pytest.mark.parametrize(
    "value",
    [
        answer(f"Your key is {KEY}."),
        answer() | {"model": f"m {KEY}"},
        {"choices": [{"message": {"content": "", "reasoning": KEY}}]},
        {"choices": [{"message": {"content": ""}, "logprobs": {"tokens": [KEY], "token_logprobs": [-1]}}]},
    ],
)
async def test_an_answer_with_the_key_is_not_kept(fake, sleeper, value):
    fake.script = [http(200, value)]
    attempts = await ask(fake.endpoint(), sleeper, max_attempts=2)
    assert outcomes(attempts) == ["retried", "failed"]
    assert attempts[-1].error == "the answer repeats the key, and is not kept"


async def test_errors_are_harmless_to_print(fake, sleeper):
    fake.script = [http(400, {"error": {"message": "\x1b]0;own\x07\x1b[2Jbad\u202e\r\nthing"}})]
    (attempt,) = await ask(fake.endpoint(), sleeper)
    assert attempt.error == "HTTP 400: bad thing"


async def test_the_only_model_listed_is_asked_for_once(fake, sleeper):
    fake.script = [http(200, {"data": [{"id": "org/M"}]}), OK]
    async with Client(fake.endpoint(model_id=None), KEY, sleep=sleeper) as client:
        for seq in range(2):
            assert [a.outcome async for a in client.ask(REQUEST, "fake", seq)] == ["answered"]
        assert await client.model_id() == ("org/M", "")
    assert [a.path for a in fake.asked] == ["/v1/models", *["/v1/chat/completions"] * 2]
    assert json.loads(fake.asked[1].body)["model"] == "org/M"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (http(200, {"data": []}), "asking /models: 0 models are listed: say which"),
        (
            http(200, {"data": [{"id": "a"}, {"id": "b"}]}),
            "asking /models: 2 models are listed (a, b): say which with model_id",
        ),
        (http(200, {"data": [{"id": "\x1b[31m"}]}), "asking /models: entry 1 of the models listed has no usable id"),
        (http(404, b""), "asking /models: HTTP 404"),
        (http(503, b""), "asking /models: HTTP 503"),
    ],
)
async def test_without_a_model_id_nothing_can_be_asked(fake, sleeper, reply, reason):
    fake.script = [reply]
    (attempt,) = await ask(fake.endpoint(model_id=None), sleeper)
    assert (attempt.outcome, attempt.fatal) == ("failed", True)
    assert reason in attempt.error
    assert not attempt.error.endswith("…")
    assert "/v1/chat/completions" not in [a.path for a in fake.asked]


async def test_a_model_that_is_known_to_have_no_name_is_not_asked_for(fake, sleeper):
    async with Client(fake.endpoint(model_id=None), KEY, sleep=sleeper, nameless="it says not which") as client:
        (attempt,) = [a async for a in client.ask(REQUEST, "fake", 0)]
    assert (attempt.outcome, attempt.fatal, attempt.sent, attempt.error) == ("failed", True, False, "it says not which")
    assert fake.asked == []


async def test_a_list_that_could_not_be_read_is_not_asked_for_again(fake, sleeper):
    fake.script = [http(404, b"")]
    async with Client(fake.endpoint(model_id=None), KEY, sleep=sleeper) as client:
        for seq in range(3):
            assert [a.fatal async for a in client.ask(REQUEST, "fake", seq)] == [True]
    assert len(fake.asked) == 1


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_exchanges_at_a_time_than_allowed(fake, sleeper, concurrency):
    fake.script = [Drip(OK, 0.002)]
    async with Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=concurrency) as client:

        async def one(seq):
            return [a.outcome async for a in client.ask(REQUEST, "fake", seq)]

        assert await asyncio.gather(*map(one, range(4))) == [["answered"]] * 4
    assert fake.most_busy == concurrency


async def test_connections_are_drawn_anew_now_and_then(fake, sleeper):
    fake.script = [OK]
    async with Client(fake.endpoint(), KEY, sleep=sleeper, rng=np.random.default_rng(1), concurrency=2) as client:
        for seq in range(100):
            assert [a.outcome async for a in client.ask(REQUEST, "fake", seq)] == ["answered"]
    assert 5 <= fake.connections <= 20


async def test_who_shares_an_account_slows_down_with_the_others(fake, sleeper):
    fake.script = [http(429, {}, "Retry-After: 7"), OK]
    limiter = Limiter()
    async with (
        Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=4, limiter=limiter) as one,
        Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=4, limiter=limiter) as other,
    ):
        assert limiter.slots == 8
        refused = one.ask(REQUEST, "fake", 0)
        assert (await anext(refused)).http_status == 429
        assert limiter.slots == 4
        assert [a.outcome async for a in other.ask(REQUEST, "fake", 1)] == ["answered"]
        await refused.aclose()
    assert sleeper.waits == [pytest.approx(7.35, abs=0.36)]


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_concurrency_shrinks_and_grows_back(fake, sleeper, status):
    fake.script = [http(status, {})] * 4 + [OK]
    limiter = Limiter()
    async with Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=4, limiter=limiter) as client:

        async def one(seq):
            return [a.outcome async for a in client.ask(REQUEST, "fake", seq)]

        assert await asyncio.gather(*map(one, range(4))) == [["retried", "answered"]] * 4
        assert limiter.slots == 3
        await asyncio.gather(*map(one, range(9)))
        assert limiter.slots == 4


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_an_error_in_an_http_200_slows_down_as_its_status_does(fake, sleeper, status):
    said = {"code": status, "message": "m", "metadata": {"headers": {"Retry-After": "7", "X-RateLimit-Limit": 1}}}
    fake.script = [http(200, {"error": said}), http(200, {"error": {"code": status}}, "Retry-After: 9"), OK]
    limiter = Limiter()
    async with Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=8, limiter=limiter) as client:
        asked = client.ask(REQUEST, "fake", 0)
        slots = [limiter.slots async for _ in asked]
    assert slots == [4, 2, 2]
    by_seven, by_nine = sleeper.waits[:2], sleeper.waits[2:]
    assert all(7 <= wait <= 7.7 for wait in by_seven)
    assert all(9 <= wait <= 9.9 for wait in by_nine)


async def test_any_other_error_in_an_http_200_does_not(fake, sleeper):
    fake.script = [http(200, {"error": {"code": 502, "message": "m"}}), http(200, b"no JSON"), OK]
    limiter = Limiter()
    async with Client(fake.endpoint(), KEY, sleep=sleeper, concurrency=8, limiter=limiter) as client:
        assert [limiter.slots async for _ in client.ask(REQUEST, "fake", 0)] == [8, 8, 8]


@pytest.mark.parametrize("at", [0, 150, 195])
async def test_a_key_in_a_label_is_found_wherever_it_stands(fake, sleeper, at):
    """Cut to a label's length, half a key would be left, which nothing finds."""
    repeated = json.loads(OK.partition(b"\r\n\r\n")[2]) | {"model": "x" * at + KEY}
    fake.script = [http(200, repeated)] * 9
    attempts = await ask(fake.endpoint(), sleeper)
    assert KEY[:6] not in repr(attempts)


@pytest.mark.parametrize("url", ["http://far.example/v1", "https://user:pass@far.example/v1"])
def test_an_address_that_may_not_be_sent_to(url):
    with pytest.raises(ConfigurationError):
        Client(Endpoint("fake", "", url, "m", None), KEY)


async def test_a_tls_alert_in_mid_answer_is_a_broken_connection(fake, sleeper, monkeypatch):
    """httpx passes on what the TLS layer raises while reading; no certificate is made here, so it is raised by hand."""

    async def broken(self, response):
        raise ssl.SSLError(1, "tlsv13 alert certificate required")

    monkeypatch.setattr(Client, "_body", broken)
    fake.script = [OK] * 9
    attempts = await ask(fake.endpoint(), sleeper)
    assert attempts[-1].outcome == "failed"
    assert attempts[-1].error == "the connection broke: SSLError"


async def test_a_model_id_that_repeats_the_key_is_not_taken(fake, sleeper):
    listing = json.dumps({"data": [{"id": f"m-{KEY}"}]}).encode()
    fake.script = [http(200, listing)]
    async with Client(fake.endpoint(model_id=None), KEY, sleep=sleeper, rng=np.random.default_rng(1)) as client:
        model, reason = await client.model_id()
    assert model is None
    assert KEY not in reason


async def cancelled(fake, **options):
    """The error with which a request ends that is cancelled while nobody answers it."""
    async with Client(fake.endpoint(), KEY, rng=np.random.default_rng(1), **options) as client:
        try:
            async with contextlib.aclosing(client.ask(REQUEST, "fake", 7)) as asked:
                waiting = asyncio.current_task()
                asyncio.get_running_loop().call_later(0.3, waiting.cancel)
                async for _ in asked:
                    pass
        except asyncio.CancelledError as error:
            waiting.uncancel()
            return error
    raise AssertionError


async def test_a_cancelled_request_tells_whether_it_was_under_way(fake):
    paused, crowded = Limiter(), Limiter()
    paused.slow_down(0, 30.0)
    fake.script = [Drip(OK, 1.0), http(429, b"{}", "Retry-After: 30")]
    assert may_have_been_sent(await cancelled(fake))
    assert not may_have_been_sent(await cancelled(fake))  # it waits to try again
    assert not may_have_been_sent(await cancelled(fake, limiter=paused))
    async with contextlib.AsyncExitStack() as stack:
        crowded.widen(1)
        await stack.enter_async_context(crowded.slot())
        assert not may_have_been_sent(await cancelled(fake, limiter=crowded, concurrency=0))
    assert len(fake.asked) == 2


async def test_a_deadline_ends_who_waits_to_try_again(fake):
    fake.script = [http(429, b"{}", "Retry-After: 30")]
    async with Client(fake.endpoint(), KEY) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                _ = [attempt async for attempt in client.ask(REQUEST, "fake", 7)]
