"""A question as it is kept in a run folder until the run has promised."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qcheck.baselines import load_baseline
from qcheck.errors import RunFolderError, UnknownNameError
from qcheck.jobs.compare import Settings
from qcheck.jobs.promise import Question
from qcheck.jobs.question import QuestionEntry
from qcheck.jobs.reference import Reference
from qcheck.jsonio import loads, pretty
from qcheck.registry.config import UserConfig
from qcheck.registry.loader import get_model
from qcheck.registry.resolve import RegistryResolver, resolve_all
from qcheck.run.budget import Limits
from qcheck.suites import load_suite, shipped_folder

RESOLVERS = (RegistryResolver(UserConfig()),)
MODEL = get_model("lab-tiny")
SETTINGS = Settings(7, alpha=0.05, until="deviates", concurrency=2, limits=Limits(40, 0.5, 60.0))


def asked_of(reference: Reference) -> Question:
    providers = resolve_all(["a=http://127.0.0.1:9/v1", "b=https://b.invalid/v1"], MODEL, RESOLVERS)
    suite = load_suite("logprobs")
    return Question("r", datetime.now(UTC), MODEL, providers, ((suite, reference),), True, SETTINGS)


def kept(question: Question) -> dict[str, Any]:
    data = loads(pretty(QuestionEntry.of(question).model_dump(mode="json")))
    assert isinstance(data, dict)
    return data


def test_a_question_comes_back_as_it_was() -> None:
    (live,) = resolve_all(["c=https://c.invalid/v1"], MODEL, RESOLVERS)
    recorded = load_baseline(shipped_folder("baselines") / "lab-tiny")
    for reference in (Reference(), Reference(recorded), Reference(live=live)):
        before = asked_of(reference)
        after = QuestionEntry.parse(kept(before)).question(RESOLVERS)
        assert (after.run_id, after.created, after.model, after.automatic) == ("r", before.created, MODEL, True)
        assert after.providers == before.providers
        assert after.settings == SETTINGS
        ((suite, found),) = after.asked
        assert suite.hash == before.asked[0][0].hash
        assert found.live == reference.live
        assert (found.baseline and found.baseline.hash) == (reference.baseline and reference.baseline.hash)


@pytest.mark.parametrize("change", [{"format": 2}, {"providers": 3}, {"settings": {"seed": "x"}}, {"more": 1}])
def test_a_damaged_question_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RunFolderError, match=f"{next(iter(change))}.*start a new run"):
        QuestionEntry.parse(kept(asked_of(Reference())) | change)


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    data = kept(asked_of(Reference()))
    data["asked"][0]["suite"] = str(tmp_path / "gone")
    with pytest.raises(UnknownNameError, match="gone"):
        QuestionEntry.parse(data).question(RESOLVERS)
