import pytest

from qcheck.errors import ConfigurationError
from qcheck.registry.address import check_base_url, is_loopback


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("https://host.example/v1/", "https://host.example/v1"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://127.3.2.1/v1", "http://127.3.2.1/v1"),
        ("http://[::1]:9/v1", "http://[::1]:9/v1"),
    ],
)
def test_good_urls(url, result):
    assert check_base_url(url, "p") == result


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "look like"),
        ("host.example/v1", "look like"),
        ("ftp://canary.example", "look like"),
        ("https://", "look like"),
        ("https://canary.example:port/v1", "look like"),
        ("https://canary.example/v 1", "look like"),
        ("https://canary.example/v1\n", "look like"),
        ("https://c\u0430nary.example/v1", "look like"),
        ("https://[canary/v1", "look like"),
        ("https://canary@host.example/v1", "no user"),
        ("https://user:canary@host.example/v1", "no user"),
        ("https://host.example/v1?key=canary", "no user"),
        ("https://host.example/v1#canary", "no user"),
        ("http://canary.example/v1", "https"),
        ("http://127.0.0.1.canary.example/v1", "https"),
        ("http://localhost.canary.example/v1", "https"),
    ],
)
def test_bad_urls_are_refused_and_not_repeated(url, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        check_base_url(url, "p")
    assert "canary" not in str(caught.value)


def test_plain_http_to_other_machines_is_permitted_by_name_alone():
    assert check_base_url("http://host.example/v1/", "p", allow_http=True) == "http://host.example/v1"
    with pytest.raises(ConfigurationError, match="look like"):
        check_base_url("ftp://host.example/v1", "p", allow_http=True)


def test_loopback():
    assert is_loopback("http://127.0.0.1:8000")
    assert not is_loopback("https://8.8.8.8")
    assert not is_loopback("nonsense")
