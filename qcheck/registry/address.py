"""Base URLs: which ones may be sent to at all."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from qcheck.errors import ConfigurationError

__all__ = ["check_base_url", "is_loopback"]

_PRINTABLE = re.compile(r"[!-~]+")


def _split(url: str) -> SplitResult | None:
    """The parts of `url`; None where it is no http(s) URL with a host."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError where it is no number
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname and _PRINTABLE.fullmatch(url) else None


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    parts = _split(url)
    host = (parts.hostname or "") if parts else ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str, owner: str, *, allow_http: bool = False) -> str:
    """`url` without trailing slashes, if requests may go there: by https, on this machine or if allowed by http, too.

    Raises ConfigurationError, which names `owner` and never repeats the URL: it may hold a key.
    """
    parts = _split(url)
    if parts is None:
        raise ConfigurationError(f"the URL of {owner} must look like https://host/v1.")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError(
            f"the URL of {owner} must have no user, password, query or fragment; "
            "put the key into an environment variable and its name into qcheck.toml as key_env."
        )
    if parts.scheme == "http" and not allow_http and not is_loopback(url):
        raise ConfigurationError(
            f"the URL of {owner} must use https; over plain http, which --allow-http permits, others on the way can "
            "read the key."
        )
    return url.rstrip("/")
