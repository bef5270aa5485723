"""A chat template that renders the date, on real engines: what moves at midnight is no deviation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qcheck.jobs.compare import Settings
from qcheck.jobs.reference import Reference
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.run.budget import Limits

DAY_S = 86_400
SETTINGS = Settings(3, tolerance=0.1, limits=Limits(max_requests=70))


def dated(lab: Lab, spec: str, date: str | None = None) -> Endpoint:
    return replace(lab.endpoint(spec, "lab-dated"), date_string=date)


@pytest.mark.parametrize("days", [1, 10])
def test_a_recorded_reference_of_another_day_accuses_nobody(lab: Lab, run: Any, shipped: Reference, days: int) -> None:
    """The shipped baseline stands for one of another day: it was recorded without the line that names the date."""
    moved = [dated(lab, f"honest?clock=+{days * DAY_S}")]
    result, _ = run(moved, settings=SETTINGS)
    assert result.providers[0].verdict == "deviates"  # what is said of a model that is not known to be dated
    result, _ = run(moved, settings=SETTINGS, model=replace(get_model("lab-tiny"), dated_template=True))
    provider = result.providers[0]
    assert (provider.verdict, provider.stop_reason) == ("inconclusive", "date not pinned")
    assert "live:PROVIDER" in provider.summary
    assert all(finding.severity == "info" for finding in provider.findings)


def test_a_live_reference_of_another_day_accuses_nobody(lab: Lab, run: Any) -> None:
    live = Reference(live=dated(lab, "honest"))
    specs = ["honest-b", f"honest?clock=+{DAY_S}", "q2_k"]
    result, _ = run([dated(lab, spec) for spec in specs], live, SETTINGS, model=get_model("lab-dated"))
    assert [p.verdict for p in result.providers] == ["consistent", *["inconclusive"] * 2]


def test_with_the_date_pinned_a_deviation_shows_whatever_the_clocks_say(lab: Lab, run: Any) -> None:
    date = "01 Feb 2026"
    live = Reference(live=dated(lab, "honest", date))
    specs = [f"honest-b?clock=+{10 * DAY_S}", f"q2_k?clock=+{DAY_S}"]
    result, _ = run([dated(lab, spec, date) for spec in specs], live, SETTINGS, model=get_model("lab-dated"))
    assert [p.verdict for p in result.providers] == ["consistent", "deviates"]


def test_without_a_reference_another_date_makes_no_difference_of_models(lab: Lab, run: Any) -> None:
    specs = ["honest", f"honest?clock=+{10 * DAY_S}"]
    result, _ = run([dated(lab, spec) for spec in specs], Reference(), SETTINGS, model=get_model("lab-dated"))
    assert (result.groups, result.different) == ((("lab/honest",), (f"lab/{specs[1]}",)), ())
