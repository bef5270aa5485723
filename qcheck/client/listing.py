"""What OpenRouter lists of a model's upstreams: read once a day, without a key, and never needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import date

from qcheck.client.download import download
from qcheck.errors import DownloadError, StorageError
from qcheck.jsonio import atomic_write
from qcheck.registry.openrouter import ENDPOINTS, Listing, kept_listing, listing_file, read_listing

__all__ = ["openrouter_listing"]

MAX_BYTES, TIMEOUT_S = 2_000_000, 5.0


def openrouter_listing(model_id: str, today: date, on_failure: Callable[[str], None]) -> Listing | None:
    """The upstreams of a model: as read today, else as read last, of which `on_failure` is told; None for unknown."""
    path, kept = listing_file(model_id), kept_listing(model_id)
    if path is None or (kept and kept.read == today):
        return kept
    try:
        listing = read_listing(
            download(ENDPOINTS.format(model_id), max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S), model_id, today
        )
    except DownloadError as error:
        stands = f"what was listed on {kept.read} stands" if kept else "prices of upstreams there stay unknown"
        on_failure(f"{error} Therefore {stands}.")
        return kept
    with contextlib.suppress(StorageError):  # read once more next time
        atomic_write(path, listing.model_dump_json(indent=1))
    return listing
