import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from qcheck.client.listing import openrouter_listing
from qcheck.registry.openrouter import listing_file

MODEL = "moonshotai/kimi-k2.6"
MONDAY, TUESDAY = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def listed(*tags: str) -> bytes:
    return json.dumps({"data": {"endpoints": [{"tag": tag} for tag in tags]}}).encode()


class OpenRouter:
    """A server in place of OpenRouter: what it answers with next, and what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, listed("novita")
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture
def openrouter(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[OpenRouter]:
    there = OpenRouter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(there.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(there.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("qcheck.client.listing.ENDPOINTS", f"http://127.0.0.1:{server.server_port}/{{}}/endpoints")
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


def tags(model_id: str, now: datetime, failures: list[str] | None = None) -> list[str] | None:
    listing = openrouter_listing(model_id, now, [].append if failures is None else failures.append)
    return [u.tag for u in listing.upstreams] if listing else None


def test_a_list_is_read_once_a_day_and_without_a_key(openrouter: OpenRouter) -> None:
    assert tags(MODEL, MONDAY) == tags(MODEL, MONDAY) == ["novita"]
    assert openrouter.asked == [(f"/{MODEL}/endpoints", None)]
    openrouter.body = listed("parasail")
    assert tags(MODEL, MONDAY) == ["novita"]
    assert tags(MODEL, TUESDAY) == ["parasail"]


@pytest.mark.parametrize(("status", "body"), [(404, b""), (302, b""), (200, b"<html>"), (200, b" " * 2_000_001)])
def test_a_list_that_cannot_be_read_is_said_and_what_was_known_stands(
    openrouter: OpenRouter, status: int, body: bytes
) -> None:
    failures: list[str] = []
    good = openrouter.body
    openrouter.status, openrouter.body = status, body
    assert tags(MODEL, MONDAY, failures) is None
    assert failures[0].endswith("prices of upstreams there stay unknown.")
    openrouter.status, openrouter.body = 200, good
    assert tags(MODEL, MONDAY + 10 * MINUTE) == ["novita"]
    openrouter.status, openrouter.body = status, body
    assert tags(MODEL, TUESDAY, failures) == ["novita"]
    assert failures[1].endswith("what was listed on 2026-11-23 stands.")


def test_what_could_not_be_read_is_left_alone_for_some_minutes(openrouter: OpenRouter) -> None:
    failures: list[str] = []
    openrouter.status = 503
    assert tags(MODEL, MONDAY, failures) is None
    openrouter.status = 200
    assert tags(MODEL, MONDAY + 9 * MINUTE, failures) is None
    assert len(openrouter.asked) == 1
    assert "could not be read less than 10 minutes ago, and is not asked again yet. Therefore prices" in failures[1]
    assert tags("moonshotai/kimi-k3", MONDAY + 9 * MINUTE) == ["novita"]
    assert tags(MODEL, MONDAY + 10 * MINUTE) == ["novita"]


@pytest.mark.parametrize("kept", ["", "soon", "2026-11-23T00:00:00", "2026-11-24T00:00:00+00:00", "\ud800"])
def test_a_failure_that_was_kept_at_no_time_before_now_does_not_count(openrouter: OpenRouter, kept: str) -> None:
    path = listing_file(MODEL)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.with_suffix(".failed").write_bytes(kept.encode(errors="surrogatepass"))
    assert tags(MODEL, MONDAY) == ["novita"]


@pytest.mark.parametrize("kept", [b"", b"{}", b"\xff", b'{"model_id": "a/b", "read": "2026-11-23", "upstreams": []}'])
def test_a_kept_list_that_is_none_is_read_anew(openrouter: OpenRouter, kept: bytes) -> None:
    path = listing_file(MODEL)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_bytes(kept)
    assert tags(MODEL, MONDAY) == ["novita"]


def test_a_list_that_cannot_be_kept_is_used(openrouter: OpenRouter, tmp_path) -> None:
    (tmp_path / "qcheck").write_text("no folder")
    assert tags(MODEL, MONDAY) == ["novita"]


def test_nothing_is_asked_for_what_is_no_id(openrouter: OpenRouter) -> None:
    assert tags("../x", MONDAY) is None
    assert openrouter.asked == []
