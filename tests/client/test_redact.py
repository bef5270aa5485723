import base64
import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.client.redact import KeyFilter, plain

KEY = 'sk-canary/42+"Z=='


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;https://evil.example\x1b\\link", "link"),
        ("a\u202eb\u2066c\u200bd\ufeffe", "abcde"),
        ("a\x9b31mb\x07\x00", "a31mb"),
        ("a\u2028b", "a b"),
        ("\ud800x", "x"),
        ("Grüße 你好 🙂", "Grüße 你好 🙂"),
    ],
)
def test_plain(text, result):
    assert plain(text) == result


@given(st.text())
def test_plain_text_is_printable_and_stays_as_it_is(text):
    once = plain(text)
    assert plain(once) == once
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in once)


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key: {KEY}.",
        f"url?key={quote(KEY, safe='')}",
        f"url?key={quote(KEY, safe='').replace('%2F', '%2f').replace('%2B', '%2b').replace('%3D', '%3d')}",
        json.dumps({"key": KEY}),
        json.dumps({"key": KEY}).replace("/", "\\/"),
        f"<p>{html.escape(KEY)}</p>",
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode().rstrip("="),
        "Basic " + base64.b64encode(f"Bearer {KEY} and more".encode()).decode(),
        "Basic " + base64.b64encode(f":{KEY}".encode()).decode(),
        "Basic " + base64.b64encode(f"u:{KEY}".encode()).decode(),
        f"split sk-can\u200bary{KEY[9:]}",
        f"{'x' * 295}{KEY}",
    ],
)
def test_the_key_is_replaced_in_every_form(text):
    cleaned = KeyFilter(KEY).clean(text, 300)
    assert "[key]" in cleaned
    for secret in (KEY, KEY[:9], quote(KEY, safe="")[:9], base64.b64encode(KEY.encode()).decode()[:9]):
        assert secret not in cleaned


def test_what_is_found():
    assert KeyFilter(KEY).found_in(f"x{KEY}x")
    assert not KeyFilter(KEY).found_in("sk-canar")
    assert not KeyFilter(None).found_in("anything")


def test_place_holders_of_local_engines_are_no_secrets():
    assert KeyFilter("EMPTY").clean("the list is EMPTY", 300) == "the list is EMPTY"


def test_long_text_is_cut():
    assert KeyFilter(None).clean("x" * 400, 300) == "x" * 299 + "…"
