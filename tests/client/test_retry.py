from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.client.retry import MAX_WAIT_S, Fate, backoff_s, fate_of_status, retry_after_s

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "message", "fate"),
    [
        *((status, "", Fate.RETRY) for status in (408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 529)),
        *((status, "", Fate.FATAL) for status in (401, 402, 403, 410, 301, 307)),
        (404, "Not found the model kimi-k2.6 or Permission denied", Fate.FATAL),
        (404, "No endpoints found for moonshotai/kimi-k2.6.", Fate.FATAL),
        (404, "page not found", Fate.REFUSED),
        (403, "Your chosen model requires moderation and your input was flagged", Fate.REFUSED),
        (403, "Your account has been flagged by our moderation team", Fate.FATAL),
        (400, "logprobs is not supported with this model", Fate.REFUSED),
        (422, "", Fate.REFUSED),
    ],
)
def test_fate_of_status(status, message, fate):
    """Where something was answered before, a firewall's 403 and an aggregator's 404 of an outage are no end."""
    assert fate_of_status(status, message) is fate
    milder = {403: Fate.REFUSED, 404: Fate.RETRY} if fate is Fate.FATAL else {}
    assert fate_of_status(status, message, answered=True) is milder.get(status, fate)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "3600"}, MAX_WAIT_S),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:09 -0000"}, 9.0),
        ({"retry-after": "Monday, 23-Nov-26 12:00:09 GMT"}, 9.0),
        ({"retry-after": "Mon Nov 23 12:00:09 2026"}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 13:00:09 +0100"}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "Mon, 23 Nov 2099 11:00:00 GMT"}, MAX_WAIT_S),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        *(({"retry-after": text}, None) for text in ("", "soon", "-1", "nan", "inf", "1e9", "9" * 50, "0, 1 Jan")),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after_s(headers, NOW) == seconds


@given(st.text() | st.from_regex(r"Mon, \d{1,5} Nov \d{1,6} \d{1,3}:00:00 [+-]\d{1,20}", fullmatch=True))
def test_no_header_raises(text):
    for name in ("retry-after", "retry-after-ms"):
        wait = retry_after_s({name: text}, NOW)
        assert wait is None or 0 <= wait <= MAX_WAIT_S


def test_backoff_doubles_within_its_jitter_and_is_bounded():
    rng = np.random.default_rng(1)
    for index in range(12):
        full = min(2.0**index, 2 * MAX_WAIT_S)
        waits = [backoff_s(index, None, rng) for _ in range(50)]
        assert all(full / 2 <= wait <= min(full, MAX_WAIT_S) for wait in waits)
    assert len(set(waits[:3]) | {backoff_s(0, None, rng), backoff_s(0, None, rng)}) > 1


def test_what_was_asked_for_is_waited_and_never_less():
    rng = np.random.default_rng(1)
    assert all(7.0 <= backoff_s(5, 7.0, rng) <= 7.7 for _ in range(50))
    assert backoff_s(0, MAX_WAIT_S, rng) == MAX_WAIT_S
