"""A canary key is in no file, stream or traceback, whatever goes wrong and whatever a provider repeats of it.

All providers that fail are asked in one run, each over a real socket at a path of its own.
"""

import base64
import contextlib
import gzip
import html
import io
import json
import shutil
import socket
import socketserver
import struct
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from qcheck.cli.main import main
from qcheck.records import Message
from qcheck.suites import Manifest, Probe, save_suite

KEY = 'sk-canary/Zq7"x\\y+42=='
FORMS = {
    "as it is": KEY,
    "base64": base64.b64encode(KEY.encode()).decode().rstrip("="),
    "base64 within": base64.b64encode(b"Bearer " + KEY.encode()).decode()[12:-4],
    "URL-encoded": quote(KEY, safe=""),
    "JSON": json.dumps(KEY)[1:-1],
    "HTML": html.escape(KEY),
    "half": KEY[:14],
    "other half": KEY[-12:],
}
ALL_FORMS = " ".join(FORMS[name] for name in ("as it is", "base64", "base64 within", "URL-encoded", "JSON", "HTML"))


def http(status, body, *headers, length=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} {KEY}", f"Content-Length: {len(data) if length is None else length}", *headers]
    return "\r\n".join([*head, f"X-Echo: {KEY}", "", ""]).encode() + data


def refusal(status, *headers):
    return http(status, {"error": {"message": f"{status} for {ALL_FORMS}", "type": KEY}}, *headers)


def answer(text="Yes", **changes):
    """An answer, with other values where `message` or `choice` say so."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | changes.pop("choice", {})
    return http(200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}} | changes)


def tokens(key):
    top = [{"token": key, "logprob": -3.0}]
    return {"logprobs": {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": top}]}}


REPEATED = "the answer repeats the key"
ELSEWHERE = "Location: http://127.0.0.1:{other}/v1/chat/completions?key=" + quote(KEY, safe="")
RESET = b"reset"
CLOSED = "\r\nConnection: close\r\n\r\n"

# What a provider does, and what the journal says of it.
PATHS = {
    "bad-request": (refusal(400), "HTTP 400: 400 for [key]"),
    "unauthorised": (refusal(401), "HTTP 401: 401 for [key]"),
    "no-credit": (refusal(402), "HTTP 402: 402 for [key]"),
    "forbidden": (refusal(403), "HTTP 403: 403 for [key]"),
    "no-model": (refusal(404), "HTTP 404: 404 for [key]"),
    "timeout": (refusal(408), "HTTP 408: 408 for [key]"),
    "conflict": (refusal(409), "HTTP 409: 409 for [key]"),
    "retired": (refusal(410), "HTTP 410: 410 for [key]"),
    "unprocessable": (refusal(422), "HTTP 422: 422 for [key]"),
    "too-many": (refusal(429, "retry-after-ms: 1"), "HTTP 429: 429 for [key]"),
    "retry-after-key": (refusal(429, f"Retry-After: {KEY}"), "HTTP 429: 429 for [key]"),
    "broken": (refusal(500), "HTTP 500: 500 for [key]"),
    "unavailable": (refusal(503), "HTTP 503: 503 for [key]"),
    "overloaded": (refusal(529), "HTTP 529: 529 for [key]"),
    "no-content": (http(204, b""), "HTTP 204"),
    "found": (http(302, b"", ELSEWHERE), "HTTP 302"),
    "temporary": (http(307, ALL_FORMS.encode(), ELSEWHERE), "HTTP 307: it redirects to http"),
    "permanent": (http(308, b"", ELSEWHERE), "HTTP 308"),
    "cookie": (refusal(500, f"Set-Cookie: k={quote(KEY)}"), "HTTP 500: 500 for [key]"),
    "authenticate": (refusal(401, f'WWW-Authenticate: Bearer realm="{KEY}"'), "HTTP 401: 401 for [key]"),
    "page": (http(400, f"<p>{ALL_FORMS}</p>".encode()), "HTTP 400: <p>[key]"),
    "cut-json": (http(400, json.dumps({"error": ALL_FORMS}).encode()[:-2]), 'HTTP 400: {"error": "[key]'),
    "invisible": (http(400, {"message": KEY.replace("can", "c\u200ban")}), "HTTP 400: [key]"),
    "cut-off": (http(400, {"message": "x" * 280 + KEY * 9}), "HTTP 400: xxx"),
    "detail": (http(422, {"detail": ALL_FORMS}), "HTTP 422: [key]"),
    "error-in-200": (http(200, {"error": {"message": KEY, "metadata": {"raw": ALL_FORMS}}}), "HTTP 200: [key]"),
    "no-json": (http(200, ALL_FORMS.encode()), "the body is not JSON"),
    "no-object": (http(200, [KEY]), "the body is no object"),
    "deep": (http(200, b"[" * 200_000), "nested too deeply"),
    "no-number": (answer(usage={"prompt_tokens": KEY}), "no number of tokens"),
    "in-text": (answer(f"It is {KEY}."), REPEATED),
    "in-base64": (answer(FORMS["base64 within"]), REPEATED),
    "in-url": (answer(f"https://x.example/?k={FORMS['URL-encoded']}"), REPEATED),
    "in-reasoning": (answer(message={"reasoning_content": KEY}), REPEATED),
    "in-model": (answer(model=KEY), REPEATED),
    "in-fingerprint": (answer(system_fingerprint=f"fp {KEY}"), REPEATED),
    "in-finish": (answer(choice={"finish_reason": KEY}), REPEATED),
    "in-token": (answer(choice=tokens(f" {KEY}")), REPEATED),
    "compressed": (http(200, gzip.compress(KEY.encode()), "Content-Encoding: gzip"), "compressed"),
    "short": (http(200, KEY.encode(), "Connection: close", length=500), "the connection broke"),
    "nonsense": (f"{KEY} nonsense{CLOSED}".encode(), "the connection broke"),
    "bad-header": (f"HTTP/1.1 200 OK\r\n{KEY}{CLOSED}".encode(), "the connection broke"),
    "bad-chunk": (f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode(), "the connection broke"),
    "reset": (RESET, "the connection broke"),
}
LISTS = {  # what /models says, where nobody named a model
    "list-of-keys": (http(200, {"data": [{"id": KEY}, {"id": ALL_FORMS[:190]}]}), "2 models are listed ([key]"),
    "list-refused": (refusal(403), "asking /models: HTTP 403: 403 for [key]"),
    "list-broken": (http(200, ALL_FORMS.encode()), "asking /models: the body is not JSON"),
}


class Hostile(socketserver.ThreadingTCPServer):
    """Replies what the first part of the path stands for, and notes who came with the key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came = {}
        self.other = None
        self.replies = {name: reply for name, (reply, _) in (PATHS | LISTS).items()}

    @property
    def port(self):
        return self.server_address[1]


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError, ValueError):
            while first := self.rfile.readline().decode():
                self._reply(first.split(" ")[1])

    def _reply(self, path):
        lines = iter(self.rfile.readline, b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
        self.rfile.read(int(headers.get("content-length", 0)))
        case = path.split("/")[1]
        self.server.came.setdefault(case, []).append(headers.get("authorization"))
        reply = self.server.replies.get(case, answer())
        if reply is RESET:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise ConnectionResetError
        self.wfile.write(reply.replace(b"{other}", str(self.server.other).encode()))
        if not reply.startswith(b"HTTP/1.1") or b"Connection: close" in reply or b"chunked" in reply:
            raise ConnectionResetError


@contextlib.contextmanager
def hostile():
    with Hostile() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Said:
    """All that commands have said, and the folder that holds all they have written."""

    folder: Path
    text: str = ""
    codes: list = field(default_factory=list)

    def run(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.codes.append(main([str(a) for a in arguments]))
        self.text += out.getvalue() + err.getvalue()
        return self.codes[-1], out.getvalue() + err.getvalue()

    def leaks(self):
        """Where which form of the key stands."""
        texts = {"the streams": self.text.encode()}
        texts |= {str(p): p.read_bytes() for p in self.folder.rglob("*") if p.is_file() and p.name != "keys.env"}
        return [(where, form) for where, data in texts.items() for form, key in FORMS.items() if key.encode() in data]


def at_home(folder, patch):
    """Everything that is written goes into `folder`; the key is in an env file there; nobody waits."""
    patch.chdir(folder)
    patch.setenv("XDG_DATA_HOME", str(folder / "data"))
    patch.setattr(tempfile, "tempdir", str(folder))
    patch.setattr("qcheck.client.transport.backoff_s", lambda *_: 0.0)
    patch.setattr("qcheck.client.transport.jittered", lambda *_: 0.0)
    (folder / "keys.env").write_text(f"CANARY='{KEY}'\n")
    prompts = [(Message("user", f"Count to {i}."),) for i in range(8)]
    probes = [Probe(f"p{i}", f"c{i}", "evaluation", prompt) for i, prompt in enumerate(prompts)]
    manifest = Manifest(
        name="small",
        version="1.0.0",
        licence="CC0-1.0",
        description="A few.",
        observes=["logprobs"],
        max_tokens=1,
        top_logprobs=5,
    )
    save_suite(folder / "small", manifest, probes)
    return Said(folder)


def configure(folder, names, model_id="m"):
    of_model = f'.models.lab-tiny]\nmodel_id = "{model_id}"\n'
    tables = (f'[providers.{n}]\nkey_env = "CANARY"\n[providers.{n}{of_model}' for n in names)
    lists = (f'[providers.{n}]\nkey_env = "CANARY"\n' for n in LISTS)
    (folder / "qcheck.toml").write_text("".join([*tables, *lists]))


SMALL = ("--suite", "small", "--max-requests", "1")
WITH_KEY = ("--env-file", "keys.env", "--verbose")


@pytest.fixture(scope="module")
def everybody_fails(tmp_path_factory):
    """One run that asks everybody; what it said and wrote, its journal by provider, and the servers."""
    with pytest.MonkeyPatch.context() as patch, hostile() as server, hostile() as other:
        said = at_home(tmp_path_factory.mktemp("keys"), patch)
        server.other = other.port
        configure(said.folder, [*PATHS, "good"])
        specs = {name: f"{name}=http://127.0.0.1:{server.port}/{name}/v1" for name in [*PATHS, *LISTS, "good"]}
        live = ("--reference", "live:" + specs.pop("good"))
        arguments = ("lab-tiny", "--providers", ",".join(specs.values()), *live, *SMALL, "--json", "r.json")
        said.run("compare", *arguments, "--run-dir", "runs", *WITH_KEY)
        (run,) = (said.folder / "runs").iterdir()
        for command in (("resume", run, *WITH_KEY), ("verify", run, "--json", "-"), ("resume", run, "--verbose")):
            said.run(*command)
        journal = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
        yield said, journal, server, other


def test_the_run_ends_as_any_other(everybody_fails):
    said, _, server, other = everybody_fails
    assert said.codes == [3, 3, 0, 2]  # the last one had no key
    assert other.came == {}
    assert len(PATHS | LISTS) >= 25
    assert server.came.keys() == {*PATHS, *LISTS, "good"}


def test_the_key_was_sent_to_everybody_and_is_nowhere_else(everybody_fails):
    said, _, server, _ = everybody_fails
    assert {key for keys in server.came.values() for key in keys} == {f"Bearer {KEY}"}
    assert said.leaks() == []


@pytest.mark.parametrize("name", PATHS | LISTS)
def test_each_failed_as_meant(everybody_fails, name):
    _, journal, _, _ = everybody_fails
    errors = {row["error"] for row in journal if row["provider"] == name}
    assert errors
    assert {error for error in errors if (PATHS | LISTS)[name][1] not in error} == set()


def test_the_search_finds_what_is_there(tmp_path):
    for number, form in enumerate(FORMS.values()):
        (tmp_path / str(number)).write_text(form)
    found = {form for _, form in Said(tmp_path, ALL_FORMS).leaks()}
    assert found == FORMS.keys()


@pytest.fixture
def home(tmp_path, monkeypatch):
    return at_home(tmp_path, monkeypatch)


@pytest.mark.parametrize("case", ["unauthorised", "in-text", "nonsense"])
@pytest.mark.parametrize(
    "command",
    [
        ("baseline", "record", "lab-tiny", "--provider", "a={url}", "--out", "base", "--suite", "small"),
        (
            "suite",
            "new",
            "mine",
            "--model",
            "lab-tiny",
            "--for",
            "logprobs",
            "--from",
            "a={url},b={url}",
            "--max-requests",
            "200",
        ),
    ],
    ids=["baseline record", "suite new"],
)
def test_recording_and_mining(home, case, command):
    configure(home.folder, "ab")
    with hostile() as server:
        url = f"http://127.0.0.1:{server.port}/{case}/v1"
        code, text = home.run(*(part.format(url=url) for part in command), *WITH_KEY)
        assert server.came[case][0] == f"Bearer {KEY}", text
    assert code == 3, text
    assert home.leaks() == []


COMPARE = ("compare", "lab-tiny", "--reference", "none", *SMALL, "--providers")
NOWHERE = "a=http://127.0.0.1:9/v1,b=http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("compare", "lab-tiny", "--providers", f"a=https://x.example/v1?key={KEY}"), 2),
        (("compare", "lab-tiny", "--providers", f"a=https://{KEY}@x.example/v1"), 2),
        (("compare", "lab-tiny", "--providers", f"a=https://x.example/v1#{KEY}"), 2),
        (("compare", "lab-tiny", "--providers", f"A=https://x.example/{KEY}"), 2),
        ((*COMPARE, NOWHERE, "--env-file", "cut.env"), 2),
        ((*COMPARE, NOWHERE, "--env-file", "twice.env"), 2),
        ((*COMPARE, NOWHERE, "--env-file", "spaced.env"), 2),
        ((*COMPARE, NOWHERE, "--env-file", "latin.env"), 2),
        ((*COMPARE, NOWHERE, *WITH_KEY, "--dry-run"), 0),
        ((*COMPARE, NOWHERE, *WITH_KEY, "--run-dir", "/proc/none"), 2),
        ((*COMPARE, NOWHERE, *WITH_KEY), 3),
        (("providers", "show", "moonshot"), 0),
        (("providers", "list"), 0),
        (("baseline", "record", "lab-tiny", "--provider", "a=http://127.0.0.1:9/v1", "--dry-run", *WITH_KEY), 0),
        (("baseline", "list"), 0),
        (("suite", "list"), 0),
        (("lab", "list"), 0),
        (("resume", "none"), 2),
        (("verify", "none"), 2),
    ],
)
def test_what_goes_wrong_before_anything_is_sent(home, monkeypatch, arguments, code):
    monkeypatch.setenv("MOONSHOT_API_KEY", KEY)
    configure(home.folder, "ab")
    for name, data in {
        "cut.env": f"CANARY='{KEY}\n".encode(),
        "twice.env": f"CANARY='{KEY}'\nCANARY='{KEY}'\n".encode(),
        "spaced.env": f"CANARY='{KEY} and more'\n".encode(),
        "latin.env": f"CANARY='{KEY}é'\n".encode("latin-1"),
    }.items():
        (home.folder / name).write_bytes(data)
    said_code, text = home.run(*arguments)
    for path in home.folder.glob("*.env"):
        path.unlink()
    assert said_code == code, text
    assert home.leaks() == []


@pytest.mark.parametrize("proxy", [f"foo://u:{quote(KEY)}@host:1", f"http://u:{quote(KEY, safe='')}@host:port"])
def test_a_proxy_that_cannot_be_used(home, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    configure(home.folder, "ab")
    code, text = home.run(*COMPARE, "a=https://a.invalid/v1,b=https://b.invalid/v1", *WITH_KEY)
    assert (code, "ALL_PROXY" in text) == (2, True)
    assert home.leaks() == []


def test_a_key_in_place_of_its_variable(home):
    (home.folder / "qcheck.toml").write_text(f"[providers.a]\nkey_env = '{KEY}'\n")
    assert home.run(*COMPARE, NOWHERE)[0] == 2
    (home.folder / "qcheck.toml").unlink()
    assert home.leaks() == []


@pytest.mark.parametrize("where", ["qcheck.jobs.order.make_plan", "qcheck.client.transport.build_body"])
def test_a_defect_whose_error_holds_the_key(home, monkeypatch, where):
    def defect(*_, **__):
        try:
            raise ValueError(KEY)
        except ValueError as error:
            raise RuntimeError(f"Bearer {KEY}") from error

    monkeypatch.setattr(where, defect)
    configure(home.folder, "ab")
    code, text = home.run(*COMPARE, NOWHERE, *WITH_KEY)
    assert (code, "traceback is in" in text) == (4, True)
    assert list(home.folder.glob("qcheck-traceback-*"))
    assert home.leaks() == []
    shutil.rmtree(home.folder / "data", ignore_errors=True)
