from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from fake_engine import serving
from scipy.stats import kstest

from qcheck.client.transport import Client
from qcheck.lab.traits import delivery
from qcheck.records import Message, Request
from qcheck.registry.types import Endpoint

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_latency_asks_for_exponential_delays(monkeypatch: pytest.MonkeyPatch):
    """By a Kolmogorov-Smirnov test of 200 delays, at a level of 0.001; the seed is fixed."""
    delays: list[float] = []

    async def note(delay_s: float) -> None:
        delays.append(delay_s)

    monkeypatch.setattr(delivery, "asyncio", SimpleNamespace(sleep=note))
    async with serving("honest?latency=0.05") as provider:
        for i in range(200):
            await provider.chat(str(i))
        assert all(row["traits"] == ["latency"] for row in provider.truth())
    assert len(delays) == 200
    assert kstest(delays, "expon", args=(0, 0.05)).pvalue > 0.001


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_server_errors(status: int):
    async with serving(f"honest?fail={status}:1") as provider:
        response = await provider.post({"messages": []})
        assert response.status_code == status
        assert response.json()["error"]["code"] == status
        assert not provider.engines["honest"].asked
        row = provider.truth()[0]
        assert (row["status"], row["deployment"], row["traits"]) == (status, None, ["fail"])
        assert (row["wire"], row["failure"]) == ("whole", str(status))


async def test_every_form_of_retry_after_comes():
    """In 60 draws of six forms, one is missing with a probability of 6 · (5/6)^60 = 0.0001; the seed is fixed."""
    forms: Counter[tuple[str | None, str | None]] = Counter()
    async with serving("honest?fail=429:1", now=NOW) as provider:
        for i in range(60):
            response = await provider.post({"messages": [], "seed": i})
            assert response.status_code == 429
            forms[response.headers.get("Retry-After"), response.headers.get("retry-after-ms")] += 1
    assert set(forms) == {
        (None, None),
        ("1", None),
        ("0.25", None),
        ("Tue, 24 Nov 2026 12:00:02 GMT", None),
        (None, "250"),
        ("86400", None),
    }


async def test_an_error_in_an_http_200():
    async with serving("honest?fail=error200:1") as provider:
        response = await provider.post({"messages": []})
        assert response.status_code == 200
        assert response.json()["error"]["message"] == "Provider returned error"
        assert provider.truth()[0]["deployment"] is None


async def test_a_body_that_is_no_json():
    async with serving("honest?fail=malformed:1") as provider:
        response = await provider.post({"messages": []})
        assert response.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            response.json()


async def test_shares_are_kept_and_the_rest_is_answered():
    """200 requests at 20 % and 10 %: 40 ± 5.7 and 20 ± 4.2; three standard deviations, and the seed is fixed."""
    async with serving("honest?fail=500:0.2+503:0.1") as provider:
        counts = Counter([(await provider.post({"messages": [], "seed": i})).status_code for i in range(200)])
        rows = provider.truth()
    assert 23 <= counts[500] <= 57
    assert 8 <= counts[503] <= 32
    assert counts[200] == 200 - counts[500] - counts[503]
    assert Counter(row["status"] for row in rows) == counts
    assert all((row["traits"] == ["fail"]) is (row["status"] != 200) for row in rows)


async def test_a_failed_request_may_succeed_when_it_is_repeated():
    async with serving("honest?fail=500:0.5") as provider:
        statuses = [(await provider.post({"messages": []})).status_code for _ in range(24)]
    assert set(statuses) == {200, 500}


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("429", "failed"),
        ("503", "failed"),
        ("error200", "failed"),
        ("malformed", "failed"),
        ("truncated", "failed"),
        ("reset", "failed"),
        ("stall", "failed"),
        ("keepalive", "answered"),
        ("drip", "answered"),
    ],
)
async def test_the_client_survives_it(kind: str, outcome: str):
    request = Request("a", (Message("user", "x"),), 1, 0.0, 5)
    async with serving(f"honest?fail={kind}:1") as provider:
        endpoint = Endpoint("lab", "lab", f"{provider.url}/v1", "lab-tiny", None)
        timeout_s = 0.3 if kind == "stall" else 10.0
        async with Client(endpoint, timeout_s=timeout_s, max_attempts=2, sleep=lambda _: asyncio.sleep(0)) as client:
            attempts = [attempt async for attempt in client.ask(request, "lab", 0)]
    assert attempts[-1].outcome == outcome
    assert len(attempts) == (2 if outcome == "failed" else 1)
