import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qcheck.client.download import download
from qcheck.errors import ConfigurationError, DownloadError


@contextmanager
def sending(*chunks: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """A server that sends these chunks to the first who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                for chunk in chunks:
                    try:
                        connection.sendall(chunk)
                    except OSError:
                        return
                    time.sleep(pause_s)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api.json"
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_the_body_is_read():
    with sending(HEAD, b'{"a"', b": 1}") as url:
        assert download(url, max_bytes=8, timeout_s=5) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("chunks", "complaint"),
    [
        ((HEAD, b"123456789"), "sends more than 8 bytes"),
        ((b"HTTP/1.1 500 Oops\r\n\r\n",), "answers HTTP 500"),
        ((b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\n\r\n",), "answers HTTP 302"),
        ((b"SSH-2.0-OpenSSH\r\n",), r"cannot be read \(RemoteProtocolError\)"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"1234"), "cannot be read"),
        ((b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"not gzip"), "cannot be read"),
    ],
)
def test_anything_else_is_refused(chunks, complaint):
    with sending(*chunks) as url, pytest.raises(DownloadError, match=complaint):
        download(url, max_bytes=8, timeout_s=5)


def test_a_trickle_is_given_up():
    with sending(HEAD, *[b"1"] * 20, pause_s=0.03) as url, pytest.raises(DownloadError, match=r"longer than 0\.2 s"):
        download(url, max_bytes=100, timeout_s=0.2)


def test_nobody_there(refused_url):
    with pytest.raises(DownloadError, match="cannot be read"):
        download(refused_url, max_bytes=8, timeout_s=5)


def test_plain_http_elsewhere_is_not_even_tried():
    with pytest.raises(ConfigurationError, match="https"):
        download("http://models.example/api.json", max_bytes=8, timeout_s=5)
