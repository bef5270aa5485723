from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qcheck.result import (
    Cause,
    Deviating,
    Divergence,
    Evidence,
    Finding,
    Fraction,
    Nearest,
    PriceUsd,
    ProviderResult,
    ReferenceInfo,
    Result,
    SuiteInfo,
    Tokens,
    Totals,
)

REFERENCE = ReferenceInfo("lab-tiny", "recorded", "self-hosted", ("honest", "honest-flash"), "sha256:00", None)
GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares a text with the file of that name."""

    def compare(name: str, text: str) -> None:
        assert text == (GOLDEN / name).read_text()

    return compare


def provider(name: str, **changes: Any) -> ProviderResult:
    """A provider that turned out consistent, with changes."""
    base = ProviderResult(
        name=name,
        endpoint="https://a.example/v1",
        model_id="org/model",
        declared=None,
        price_usd_per_mtok=PriceUsd(0.5, 2.0),
        verdict="consistent",
        decided_by="evidence",
        summary="at most 4.9 % of the requests sent with this key in this window show a deviation as visible as q8_0 "
        "(120 answers, confidence 99%); could not have seen: q6_k",
        likely_cause=None,
        stop_reason="consistent",
        started="2026-11-23T18:45:00+00:00",
        ended="2026-11-23T18:47:00+00:00",
        unavailable_reason=None,
        requests=120,
        failures=0,
        tokens=Tokens(7200, 480),
        cost_usd=0.00456,
        needed_requests=None,
        log_e_value=-0.5,
        deviating=Deviating(0, 120, ()),
        routing_fraction=Fraction(0.0, 0.0, 0.0488, 0.98),
        blind_to=("q6_k",),
        divergence=Divergence(0.0001, 0.0, 0.0002, 0.0003),
        nearest=(),
        evidence=(Evidence("logprobs", 120, -0.5, 1.0, (), "logprobs"),),
        findings=(),
    )
    return replace(base, **changes)


def compared_with(reference: ReferenceInfo) -> dict[str, Any]:
    """What a result says of its one suite and the reference."""
    return {"reference": reference, "suites": (SuiteInfo("logprobs", "sha256:01", reference),)}


def result(*providers: ProviderResult, **changes: Any) -> Result:
    """A run with these providers against a recorded baseline."""
    base = Result(
        qcheck_version="0.1.0",
        run_id="20261123T184500-3f9a2c",
        model="lab-tiny",
        released_precision="F16",
        created="2026-11-23T18:45:00+00:00",
        seed=7,
        alpha=0.01,
        tolerance=0.05,
        exit_code=1,
        **compared_with(REFERENCE),
        groups=None,
        totals=Totals(245, Tokens(14700, 980), 0.00931),
        providers=providers,
    )
    return replace(base, **changes)


@pytest.fixture
def every_verdict() -> Result:
    """One provider of each verdict."""
    tokens = Finding(
        "prompt_tokens", "deviation", "76 prompt tokens where the reference has 69", None, ("p1", "p2", "p3")
    )
    return result(
        provider("moonshot"),
        provider(
            "openrouter/novita/fp8",
            verdict="deviates",
            summary="deviates from the reference: 9 of 14 answers lie outside the reference envelope; e-value 10^4.1, "
            "needed 10^2.7; at least 21 % of the requests deviate; matches its declared fp8",
            likely_cause=Cause("served as the recorded variant fp8", 0.9987),
            stop_reason="deviates",
            requests=14,
            log_e_value=9.44,
            deviating=Deviating(9, 14, ("p1", "p2")),
            routing_fraction=Fraction(0.21, 0.64, 1.0, 0.98),
            nearest=(Nearest("fp8", 0.9987),),
            findings=(tokens,),
        ),
        provider(
            "slow",
            verdict="inconclusive",
            decided_by=None,
            summary="cannot tell from 40 answers: at most 12 % of the requests deviate so far, the tolerance is 5.0 %; "
            "about 70 more requests would decide",
            stop_reason="deadline",
            requests=40,
            needed_requests=70,
            deviating=Deviating(1, 40, ("p9",)),
            routing_fraction=Fraction(0.0, 0.025, 0.117, 0.98),
        ),
        provider(
            "gone",
            verdict="unavailable",
            decided_by=None,
            summary="unavailable: HTTP 401: no such key",
            unavailable_reason="HTTP 401: no such key",
            stop_reason="unavailable",
            requests=1,
            failures=1,
            cost_usd=None,
            log_e_value=0.0,
            deviating=Deviating(0, 0, ()),
            routing_fraction=Fraction(0.0, 0.0, 1.0, 0.98),
            divergence=None,
        ),
        totals=Totals(175, Tokens(10500, 696), None),
    )


@pytest.fixture
def without_reference() -> Result:
    """Three providers and nothing to compare them with; one is known to differ from the others."""
    silence = "no reference: nothing can be said about fidelity, only about which providers agree with each other"
    changes = {
        "verdict": "inconclusive",
        "decided_by": None,
        "summary": silence,
        "stop_reason": "grouped",
        "log_e_value": 8.0,
        "routing_fraction": Fraction(0.0, 0.0, 1.0, 0.98),
        "deviating": Deviating(0, 0, ()),
    }
    return result(
        *(provider(name, **changes) for name in ("a", "b", "c")),
        exit_code=3,
        **compared_with(ReferenceInfo(None, "none", None, (), None, None)),
        groups=(("a", "b"), ("c",)),
        different=(("a", "c"),),
    )


@pytest.fixture
def hostile() -> Result:
    """A run whose every text wants to act on the terminal, or on the table."""
    evil = "\x1b]0;owned\x07\x1b[2J[red]x[/red] :smile: \u202egnp.exe\u200b\r\nsecond\tline\x9b31m"
    return result(
        provider(
            f"p {evil}",
            verdict="deviates",
            summary=evil,
            likely_cause=Cause(evil, 0.5),
            findings=(Finding("new-kind", "warning", evil + "!", None, ()),),
        ),
        provider("w" * 150),
        model=evil,
        **compared_with(ReferenceInfo(evil, "live", "third-party", (evil,), None, 0.002, evil, (evil,))),
    )
