"""Log-probabilities and answers in one run, on real engines with the shipped baselines."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qcheck.errors import ConfigurationError, RunFolderError
from qcheck.evidence.envelope import CALIBRATION_SHARE
from qcheck.jobs.compare import Settings, clients, compare, make_manifest
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.reference import Reference
from qcheck.jobs.verify import verify
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.result import Result, json_schema, result_to_json
from qcheck.suites import Suite, load_suite, save_suite

Asked = Sequence[tuple[Suite, Reference]]
NOBODY = Endpoint("nobody", "x", "http://127.0.0.1:9/v1", "m", None)
TOLERANCE = 0.3  # which few requests show


def manifest(asked: Asked, settings: Settings | None = None) -> RunManifest:
    return make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), [NOBODY], asked, settings or Settings(1))


def test_each_provider_is_judged_by_the_suite_that_shows_it(lab: Lab, run: Any, both: Asked) -> None:
    names = ["honest-b", "q4_k_m", "finetuned?no_logprobs", "honest-b?no_logprobs"]
    endpoints = [lab.endpoint(name) for name in names]
    result, folder = run(endpoints, both[0][1], Settings(3, tolerance=TOLERANCE), both[0][0], both[1:])
    honest, quantised, worse, silent = result.providers
    assert [p.verdict for p in result.providers] == ["consistent", "deviates", "deviates", "consistent"]

    def answered(provider: Any) -> dict[str, int]:
        return {e.suite: e.requests for e in provider.evidence if e.weight}

    for provider in (honest, quantised):
        assert answered(provider) == {"logprobs": provider.deviating.of, "lab-answers": 0}
    assert "answers to the suite logprobs" in honest.summary
    assert "lie outside the reference envelope" in quantised.summary
    turn = answered(worse)["logprobs"]
    assert answered(silent)["logprobs"] == turn > 0
    assert f"of {answered(worse)['lab-answers']} answers are wrong where every reference" in worse.summary
    assert "answers to the suite lab-answers" in silent.summary
    assert "q4_k_m" in silent.blind_to
    assert "q4_k_m" not in honest.blind_to
    assert {s.name: s.reference.name for s in result.suites} == {
        "logprobs": "lab-tiny",
        "lab-answers": "lab-tiny-answers",
    }
    assert result.reference == result.suites[0].reference
    jsonschema.validate(result_to_json(result), json_schema())
    assert verify(folder).differences == ()
    _resumes(folder, endpoints, result)
    _does_not_verify_with_another_envelope(folder)


def _resumes(folder: Any, endpoints: list[Endpoint], whole: Result) -> None:
    """From the middle of the second suite's turn, asking nothing twice."""
    lines = folder.journal.read_text().splitlines(keepends=True)
    folder.journal.write_text("".join(lines[: 3 * len(lines) // 4]))
    (folder.path / "result.json").unlink()
    again = RunManifest.parse(folder.read_manifest())

    async def rest() -> Result:
        async with clients(endpoints, {}, 4) as askers:
            return await compare(folder, again, again.load_panels(), endpoints, askers)

    resumed = asyncio.run(rest())
    assert [(p.verdict, p.log_e_value, p.deviating, p.summary) for p in resumed.providers] == [
        (p.verdict, p.log_e_value, p.deviating, p.summary) for p in whole.providers
    ]
    rows = map(json.loads, folder.journal.read_text().splitlines())
    asked = [(row["provider"], row["seq"], row.get("scores")) for row in rows]
    assert len(asked) == len(set(asked))
    assert verify(folder).differences == ()


def _does_not_verify_with_another_envelope(folder: Any) -> None:
    path = folder.path / "manifest.json"
    promised = json.loads(path.read_text())
    (level,) = promised["suites"][1]["envelope"]["levels"]["full"]
    level["null_bounds"]["all"] *= 1.5
    path.write_text(json.dumps(promised))
    assert "the manifest's envelope of the suite lab-answers (not the baseline's)" in verify(folder).differences
    for changed in ({}, {"all": 0.0}, "all", {"other": 0.01}):
        level["null_bounds"] = changed
        path.write_text(json.dumps(promised))
        with pytest.raises(RunFolderError, match=r"manifest .*start anew"):
            verify(folder)
    for name, value in (("alpha", 0), ("alpha", promised["delta"]), ("family", 0), ("delta", float("nan"))):
        path.write_text(json.dumps(promised | {name: value, "suites": promised["suites"][:1]}))
        with pytest.raises(RunFolderError):
            verify(folder)


def test_the_error_is_split_over_the_suites(both: Asked) -> None:
    together, alone = manifest(both), [manifest([pair]) for pair in both]
    assert together.delta == pytest.approx(CALIBRATION_SHARE * together.alpha)
    assert together.rules.log_threshold == pytest.approx(alone[0].rules.log_threshold)
    assert sum(suite.weight for suite in together.suites) == 1
    for suite, single in zip(together.suites, alone, strict=True):
        mine, its = suite.panel(both[0][0], None).envelope, single.suites[0].panel(both[0][0], None).envelope
        assert mine is not None
        assert its is not None
        assert mine.delta == pytest.approx(its.delta / 2)
        for level, other in zip(mine.levels["full"], its.levels["full"], strict=True):
            assert all(level.null_bounds[s] >= bound for s, bound in other.null_bounds.items())
        assert mine.requests_expected(0.05) > its.requests_expected(0.05)  # type: ignore[operator]


def copied(suite: Suite, folder: Path, **changes: str) -> Suite:
    shutil.copytree(suite.folder, folder)
    about = json.loads((folder / "suite.json").read_text())
    (folder / "suite.json").write_text(json.dumps(about | changes))
    return load_suite(str(folder))


def test_suites_that_share_probes_are_no_evidence_beside_each_other(both: Asked, tmp_path: Path) -> None:
    answers, reference = both[1]
    same = copied(answers, tmp_path / "same")
    with pytest.raises(ConfigurationError, match="two suites are called lab-answers"):
        manifest([(answers, reference), (same, reference)])
    other = copied(answers, tmp_path / "other", name="other")
    with pytest.raises(ConfigurationError, match="lab-answers and other share probes"):
        manifest([(answers, reference), (other, reference)])


def test_several_suites_need_recorded_baselines(both: Asked) -> None:
    (logprobs, recorded), (answers, graded) = both
    with pytest.raises(ConfigurationError, match=r"several suites .* none for lab-tiny and the suite logprobs"):
        manifest([(logprobs, Reference()), (answers, graded)])
    with pytest.raises(ConfigurationError, match="record two or more"):
        manifest([(logprobs, recorded), (answers, Reference())])


def test_a_first_party_that_two_suites_share_is_not_called_named_twice(suite: Suite, tmp_path: Path) -> None:
    maker, asked = Reference(live=replace(NOBODY, name="maker")), []
    for name, probe in zip(("one", "other"), suite.fold("evaluation"), strict=False):
        part = save_suite(tmp_path / name, suite.manifest.model_copy(update={"name": name}), [probe])
        asked.append((part, maker))
    with pytest.raises(ConfigurationError, match="several suites are compared with recorded baselines alone"):
        manifest(asked)


def test_a_run_of_another_format_is_refused(both: Asked) -> None:
    old = manifest(both).model_dump(mode="json")
    with pytest.raises(RunFolderError, match=r"not one that this version reads \(format\)"):
        RunManifest.parse(old | {"format": 1})
    for suite in old["suites"]:
        suite["weight"] = 0.6
    with pytest.raises(RunFolderError, match="weights"):
        RunManifest.parse(old)
