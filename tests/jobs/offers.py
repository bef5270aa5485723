"""What was found at an endpoint that offers everything."""

from __future__ import annotations

from datetime import UTC, datetime

from qcheck.jobs.known import KnownOffer

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OFFER = KnownOffer(
    found=NOW,
    qcheck_version="0",
    model_id="m",
    logprobs="boolean",
    top_logprobs_max=20,
    listed=20,
    lattice=0.0,
    after_temperature=None,
    max_tokens="max_tokens",
    min_tokens=1,
    temperature=None,
    greedy=True,
)
