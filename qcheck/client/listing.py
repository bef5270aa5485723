"""What OpenRouter lists of a model's upstreams: read once a day, without a key, and never needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from qcheck.client.download import download
from qcheck.errors import DownloadError, StorageError
from qcheck.jsonio import atomic_write
from qcheck.registry.openrouter import ENDPOINTS, Listing, kept_listing, listing_file, read_listing

__all__ = ["openrouter_listing"]

MAX_BYTES, TIMEOUT_S = 2_000_000, 5.0
REST: Final = timedelta(minutes=10)  # after a failure, so that not every command waits for another one


def openrouter_listing(model_id: str, now: datetime, on_failure: Callable[[str], None]) -> Listing | None:
    """The upstreams of a model: as read today, else as read last, of which `on_failure` is told; None for unknown.

    now: with its time zone. What could not be read is not asked for again within `REST`.
    """
    path, kept = listing_file(model_id), kept_listing(model_id)
    if path is None or (kept and kept.read == now.date()):
        return kept
    try:
        listing = _read(model_id, now, path.with_suffix(".failed"))
    except DownloadError as error:
        stands = f"what was listed on {kept.read} stands" if kept else "prices of upstreams there stay unknown"
        on_failure(f"{error} Therefore {stands}.")
        return kept
    _keep(path, listing.model_dump_json(indent=1))
    return listing


def _read(model_id: str, now: datetime, failure: Path) -> Listing:
    """The listing as it is now; `failure` keeps when it could not be read. Raises DownloadError."""
    url, failed = ENDPOINTS.format(model_id), _kept_time(failure)
    if failed and timedelta(0) <= now - failed < REST:
        minutes = REST // timedelta(minutes=1)
        raise DownloadError(f"{url} could not be read less than {minutes} minutes ago, and is not asked again yet.")
    try:
        return read_listing(download(url, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S), model_id, now.date())
    except DownloadError:
        _keep(failure, now.isoformat(timespec="seconds"))
        raise


def _kept_time(path: Path) -> datetime | None:
    try:
        time = datetime.fromisoformat(path.read_text())
    except (OSError, ValueError):
        return None
    return time if time.tzinfo else None


def _keep(path: Path, text: str) -> None:
    with contextlib.suppress(StorageError):  # read once more next time
        atomic_write(path, text)
