"""Public files, without a key: bounded in size and time."""

from __future__ import annotations

import asyncio

import httpx

from qcheck import __version__
from qcheck.errors import DownloadError
from qcheck.registry.address import check_base_url, is_loopback

__all__ = ["download"]


def download(url: str, *, max_bytes: int, timeout_s: float) -> bytes:
    """The body that an HTTP 200 from `url` carries, decompressed.

    Redirects are not followed. `timeout_s` bounds the whole exchange, `max_bytes` the body. Raises DownloadError, and
    ConfigurationError for an address that is neither https nor on this machine.
    """
    check_base_url(url, "the file")
    try:
        return asyncio.run(_read(url, max_bytes, timeout_s))
    except TimeoutError:
        raise DownloadError(f"{url} takes longer than {timeout_s:g} s.") from None
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, ValueError, OSError) as error:
        # The error's own text is not repeated: a proxy's URL may hold a password.
        raise DownloadError(f"{url} cannot be read ({type(error).__name__}).") from None


async def _read(url: str, max_bytes: int, timeout_s: float) -> bytes:
    body = bytearray()
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(
            headers={"User-Agent": f"qcheck/{__version__}"}, timeout=timeout_s, trust_env=not is_loopback(url)
        ) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise DownloadError(f"{url} answers HTTP {response.status_code}.")
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise DownloadError(f"{url} sends more than {max_bytes} bytes.")
    return bytes(body)
