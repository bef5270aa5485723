"""What a run has cost, and when it was over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qcheck.errors import RunFolderError
from qcheck.jobs.manifest import PriceEntry, ProviderEntry
from qcheck.jobs.outcome import _ended, _spent
from qcheck.records import Attempt, Response

ENTRY = ProviderEntry(name="a", spec="a", display="", model_id=None, declared=None, price=None)
PRICED = ENTRY.model_copy(update={"price": PriceEntry(input=1.0, output=2.0)})
RESPONSE = Response("", (), 10, 5, None, "stop", None, None)
ANSWERED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00.000+00:00", 0.5, "answered", 200, response=RESPONSE)
FAILED = Attempt("a", 0, "p0", 0, "2026-11-23T18:45:00.000+00:00", 30.0, "failed", error="gone", fatal=True)


@pytest.mark.parametrize(
    ("entry", "attempts", "cost"),
    [
        (ENTRY, [], None),
        (ENTRY, [FAILED], None),
        (ENTRY, [ANSWERED], None),
        (ENTRY, [replace(ANSWERED, response=replace(RESPONSE, cost_usd=0.25))], 0.25),
        (PRICED, [FAILED], 0.0),
        (PRICED, [ANSWERED], 20e-6),
    ],
)
def test_what_nobody_knows_is_not_called_free(
    entry: ProviderEntry, attempts: list[Attempt], cost: float | None
) -> None:
    assert _spent(entry, attempts)[2] == (None if cost is None else pytest.approx(cost))


def test_a_run_ends_with_the_last_answer_not_with_the_last_question() -> None:
    later = replace(ANSWERED, started="2026-11-23T18:45:20.000+00:00")
    assert _ended([FAILED, later]) == "2026-11-23T18:45:30.000+00:00"
    assert _ended([]) is None
    with pytest.raises(RunFolderError, match="journal"):
        _ended([replace(ANSWERED, started="yesterday")])
