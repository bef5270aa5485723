"""Which references are chosen, and who runs a live one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from qcheck.errors import BaselineError, ConfigurationError
from qcheck.jobs.reference import Reference, choose_references, provenance_of
from qcheck.registry.config import UserConfig
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import RegistryResolver
from qcheck.registry.types import Endpoint
from qcheck.suites import Suite, shipped_folder


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


ROOTS = [shipped_folder("baselines")]


def chosen(option: str | None, suites: list[Suite], roots: list[Path] = ROOTS) -> list[str | None]:
    found = choose_references(option, get_model("lab-tiny"), suites, roots, [], {})
    return [reference.baseline.name if reference.baseline else None for reference in found]


@pytest.mark.parametrize(
    "option",
    [None, "lab-tiny,lab-tiny-answers", "lab-tiny-answers, lab-tiny", "lab-tiny-answers", str(ROOTS[0] / "lab-tiny")],
)
def test_each_suite_gets_the_baseline_that_was_recorded_with_it(
    option: str | None, suite: Suite, graded_suite: Suite
) -> None:
    assert chosen(option, [suite, graded_suite]) == ["lab-tiny", "lab-tiny-answers"]
    assert chosen(option, [graded_suite, suite]) == ["lab-tiny-answers", "lab-tiny"]


def test_a_recording_that_is_not_calibrated_is_no_envelope(shipped: Reference) -> None:
    assert shipped.has_envelope
    assert shipped.baseline is not None
    assert not Reference(replace(shipped.baseline, table=None)).has_envelope


def test_a_suite_without_a_baseline_has_none(suite: Suite, graded_suite: Suite, tmp_path: Path) -> None:
    assert chosen(None, [suite, graded_suite], [tmp_path]) == [None, None]
    named = str(ROOTS[0] / "lab-tiny-answers")
    assert chosen(named, [suite, graded_suite], [tmp_path]) == [None, "lab-tiny-answers"]


@pytest.mark.parametrize(
    ("option", "error", "says"),
    [
        ("lab-tiny,lab-tiny", ConfigurationError, "two baselines for the suite logprobs"),
        ("live:moonshot", ConfigurationError, "goes with one suite"),
        ("none", ConfigurationError, "goes with one suite"),
        ("lab-tiny,nowhere", Exception, "nowhere"),
    ],
)
def test_what_several_suites_cannot_be_compared_with(
    option: str, error: Any, says: str, suite: Suite, graded_suite: Suite
) -> None:
    with pytest.raises(error, match=says):
        chosen(option, [suite, graded_suite])


def test_a_baseline_of_none_of_the_suites_is_refused(suite: Suite) -> None:
    with pytest.raises(BaselineError, match=r"recorded with the suite lab-answers; record one with .*--suite logprobs"):
        chosen("lab-tiny,lab-tiny-answers", [suite])


def test_one_suite_may_go_without(suite: Suite) -> None:
    assert choose_references("none", get_model("lab-tiny"), [suite], ROOTS, [], {}) == (Reference(),)


@pytest.mark.parametrize(
    ("changes", "live", "notice"),
    [
        ({"temperature": {}}, "moonshot", None),
        ({}, None, "the first party is no reference: as to log-probabilities, nobody knows whether those"),
        (
            {"retires": {"moonshot": date(2026, 11, 28)}},
            None,
            "the first party is no reference: moonshot retired kimi-k2.6 on 2026-11-28",
        ),
    ],
)
def test_a_first_party_that_shows_nothing_is_passed_over_with_a_notice(
    changes: dict[str, Any], live: str | None, notice: str | None, suite: Suite
) -> None:
    model = replace(get_model("kimi-k2.6"), **changes)
    resolvers = [RegistryResolver(UserConfig(), date(2026, 11, 28))]
    (reference,) = choose_references(None, model, [suite], [], resolvers, {"MOONSHOT_API_KEY": "sk-1"})
    assert (reference.live.name if reference.live else None) == live
    assert (reference.notice or "").startswith(notice or "")
    assert (reference.notice is None) == (notice is None)
