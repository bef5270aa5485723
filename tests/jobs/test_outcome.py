"""What a run has cost, and when it was over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qcheck.errors import RunFolderError
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.manifest import PriceEntry, ProviderEntry
from qcheck.jobs.outcome import _ended, _spent, make_result
from qcheck.jobs.reference import Reference
from qcheck.records import Attempt, Response
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.suites import Suite

ENTRY = ProviderEntry(name="a", spec="a", display="", model_id=None, declared=None, price=None)
PRICED = ENTRY.model_copy(update={"price": PriceEntry(input=1.0, output=2.0)})
RESPONSE = Response("", (), 10, 5, None, "stop", None, None)
ANSWERED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00.000+00:00", 0.5, "answered", 200, response=RESPONSE)
FAILED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00.000+00:00", 30.0, "failed", error="gone", fatal=True)


@pytest.mark.parametrize(
    ("entry", "charges", "cost", "estimated"),
    [
        (ENTRY, [], None, 0.0),
        (PRICED, [], 0.0, 0.0),
        (ENTRY, [(FAILED, None)], None, 0.0),
        (ENTRY, [(ANSWERED, None), (FAILED, 0.0)], None, 0.0),
        (ENTRY, [(ANSWERED, 0.25)], 0.25, 0.0),
        (PRICED, [(replace(FAILED, outcome="retried"), 0.5), (ANSWERED, 0.25)], 0.75, 0.5),
    ],
)
def test_what_nobody_knows_is_not_called_free_and_what_is_estimated_is_said(
    entry: ProviderEntry, charges: list[tuple[Attempt, float | None]], cost: float | None, estimated: float
) -> None:
    spent = _spent(entry, [replace(attempt, charged_usd=charged) for attempt, charged in charges])
    assert (spent.cost_usd, spent.estimated_usd) == (cost, estimated)


def test_what_was_never_sent_is_no_request() -> None:
    unsent = replace(FAILED, sent=False)
    assert _spent(ENTRY, [unsent]).requests == 0
    assert _spent(ENTRY, [replace(FAILED, outcome="retried", index=0), replace(unsent, index=1)]).requests == 1
    assert _spent(ENTRY, [ANSWERED, replace(unsent, seq=1)]).requests == 1


def test_a_run_ends_with_the_last_answer_not_with_the_last_question() -> None:
    later = replace(ANSWERED, started="2026-11-23T18:45:20.000+00:00")
    assert _ended([FAILED, later]) == "2026-11-23T18:45:30.000+00:00"
    assert _ended([]) is None
    with pytest.raises(RunFolderError, match="journal"):
        _ended([replace(ANSWERED, started="yesterday")])


def test_who_routes_to_unknown_upstreams_is_told_from_who_answers_alone(both: list[tuple[Suite, Reference]]) -> None:
    alone = Endpoint("alone", "x", "https://a.example/v1", "m", None)
    endpoints = [alone, replace(alone, name="gateway", unpinned=True)]
    manifest = make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), endpoints, both, Settings(1))
    one, other = make_result(manifest, manifest.load_panels(), [], {}).providers
    assert one.findings == ()
    (finding,) = other.findings
    assert (finding.kind, finding.severity) == ("unpinned_upstreams", "info")
    assert "routes to unknown upstreams" in finding.text
    assert (one.verdict, one.log_e_value) == (other.verdict, other.log_e_value)
