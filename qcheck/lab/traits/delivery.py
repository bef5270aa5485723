"""Traits that delay answers, or let them fail in the ways of real providers and networks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, ClassVar, Final

from qcheck.lab.traits.trait import Exchange, Forward, Reply, Trait, Wire, error_body
from qcheck.lab.traits.values import number, shares

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Fail", "Latency"]

STATUSES: Final[Mapping[str, str]] = {
    "500": "The server had an error while processing your request",
    "502": "Bad gateway",
    "503": "The model is overloaded, please try again later",
}
ON_THE_WIRE: Final[Mapping[str, Wire]] = {
    "reset": "reset", "truncated": "truncated", "keepalive": "keepalive", "drip": "drip",
}  # fmt: skip
BROKEN_OFF: Final = ("reset", "truncated")
KINDS: Final = ("429", *STATUSES, "error200", "malformed", *ON_THE_WIRE, "stall")

_HTML: Final = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"


@dataclass(frozen=True, slots=True)
class Latency(Trait):
    """Each answer is delayed by an exponential time of this mean, in seconds."""

    name: ClassVar = "latency"
    example: ClassVar = "latency=0.2"
    value: ClassVar = number(0, 3600)
    mean_s: float

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """What `forward` gives, later."""
        await asyncio.sleep(exchange.rng(self.name).exponential(self.mean_s))
        return (await forward(exchange)).by(self.name)


@dataclass(frozen=True, slots=True)
class Fail(Trait):
    """Shares of the requests fail, or are answered oddly.

    Failures: 429 (with any form of Retry-After), 500, 502, 503, error200 (an error in an HTTP 200), malformed (no
    JSON), reset and truncated (in the middle of the body), stall (no answer at all). Oddities: keepalive (white space
    comes first), drip (the body comes in small slow pieces).
    """

    name: ClassVar = "fail"
    example: ClassVar = "fail=429:0.1+reset:0.05"
    value: ClassVar = shares(KINDS)
    shares: tuple[tuple[str, float], ...]

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """A failure, or what `forward` gives, for some kinds with another way on the wire."""
        rng = exchange.rng(self.name)
        lot = rng.random()
        for kind, share in self.shares:
            if lot < share:
                reply = _failed(kind, exchange.time, rng)
                if reply is None:
                    answer = await forward(exchange)
                    deployment = None if kind in BROKEN_OFF else answer.deployment
                    reply = replace(answer, wire=ON_THE_WIRE[kind], deployment=deployment)
                return replace(reply, failure=kind).by(self.name)
            lot -= share
        return await forward(exchange)


def _failed(kind: str, now: datetime, rng: np.random.Generator) -> Reply | None:
    """The reply of a failure that asks no engine; None for one that does something to the engine's answer."""
    match kind:
        case "429":
            return Reply(429, error_body(429, "Rate limit reached, please slow down"), headers=_retry_after(now, rng))
        case "error200":
            metadata = {"provider_name": "Upstream", "raw": "upstream request timeout"}
            error = {"code": 502, "message": "Provider returned error", "metadata": metadata}
            return Reply(200, {"error": error, "user_id": "user_lab"})  # as OpenRouter does
        case "malformed":
            return Reply(200, _HTML, headers={"Content-Type": "text/html"})
        case "stall":
            return Reply(None, b"", wire="stall")
        case _ if kind in STATUSES:
            return Reply(int(kind), error_body(int(kind), STATUSES[kind]))
    return None


def _retry_after(now: datetime, rng: np.random.Generator) -> Mapping[str, str]:
    forms: tuple[Mapping[str, str], ...] = (
        {},
        {"Retry-After": "1"},
        {"Retry-After": "0.25"},
        {"Retry-After": format_datetime(now + timedelta(seconds=2), usegmt=True)},
        {"retry-after-ms": "250"},
        {"Retry-After": "86400"},
    )
    return forms[int(rng.integers(len(forms)))]
