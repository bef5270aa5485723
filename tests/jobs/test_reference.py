"""Who runs a live reference."""

from __future__ import annotations

import pytest

from qcheck.jobs.reference import provenance_of
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint


@pytest.mark.parametrize(
    ("name", "url", "provenance"),
    [
        ("lab/honest", "http://127.0.0.1:0/honest/v1", "self-hosted"),
        ("mine", "http://localhost:8000/v1", "self-hosted"),
        ("moonshot", "https://api.moonshot.ai/v1", "first-party"),
        ("mine", "https://host.example/v1", "third-party"),
    ],
)
def test_who_runs_it_follows_from_address_and_name(name: str, url: str, provenance: str) -> None:
    assert provenance_of(Endpoint(name, "", url, "m", None), get_model("kimi-k2.6")) == provenance
