"""Graded answers from recording to verdict, on real engines."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qcheck.baselines import load_baseline
from qcheck.errors import BaselineError, ConfigurationError
from qcheck.jobs.compare import Settings, clients, make_manifest
from qcheck.jobs.estimate import estimate
from qcheck.jobs.record import Recording, recalibrate, record
from qcheck.jobs.reference import Reference, choose_references
from qcheck.jobs.verify import verify
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.suites import Suite, load_suite

MODEL = get_model("lab-tiny")
HONEST, VARIANTS = ("honest", "honest-f32"), ("q2_k", "finetuned")
TOLERANCE = 0.25  # so few items bear no finer claim


@pytest.fixture(scope="session")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """60 evaluation, 5 selection and 100 calibration items that have four numbers sorted.

    The fine-tuned variant has forgotten how to; Q2_K fails on a fifth more than the honest deployments do.
    """
    folder, shipped = tmp_path_factory.mktemp("sorting"), load_suite("lab-answers")
    shutil.copy(shipped.folder / "suite.json", folder)
    wanted = {"evaluation": 60, "selection": 5, "calibration": 100}
    lines = []
    for line in (shipped.folder / "probes.jsonl").read_text().splitlines():
        item = json.loads(line)
        if item["tags"] == {"family": "sorting", "difficulty": "2"} and wanted[item["fold"]]:
            wanted[item["fold"]] -= 1
            lines.append(line)
    assert not any(wanted.values())
    (folder / "probes.jsonl").write_text("\n".join(lines) + "\n")
    return load_suite(str(folder))


@pytest.fixture(scope="session")
def graded(lab: Lab, sorting: Suite, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A baseline of two honest deployments and two variants, calibrated."""
    folder = tmp_path_factory.mktemp("baselines") / "graded"

    async def record_all() -> None:
        for name in (*HONEST, *VARIANTS):
            endpoint = lab.endpoint(name)
            role = "variant" if name in VARIANTS else "reference"
            async with clients([endpoint], {}, 4) as askers:
                what = Recording(folder, name, name, role, "self-hosted")
                await record(what, MODEL, sorting, endpoint, askers[endpoint.name])

    asyncio.run(record_all())
    assert recalibrate(folder, sorting)
    return Reference(load_baseline(folder))


def manifest(lab: Lab, suite: Suite, reference: Reference, names: Sequence[str] = ("honest", "finetuned")) -> Any:
    endpoints = [lab.endpoint(n) for n in names]
    settings = Settings(1, tolerance=TOLERANCE)
    return make_manifest("r", datetime.now(UTC), MODEL, endpoints, [(suite, reference)], settings)


def test_who_answers_worse_than_every_reference_deviates(lab: Lab, run: Any, sorting: Suite, graded: Reference) -> None:
    endpoints = [lab.endpoint("honest"), lab.endpoint("finetuned")]
    result, folder = run(endpoints, graded, Settings(3, tolerance=TOLERANCE), sorting)
    honest, worse = result.providers
    assert (honest.verdict, worse.verdict) == ("consistent", "deviates")
    assert "as visible as finetuned" in honest.summary
    assert honest.blind_to == ("q2_k",)
    assert worse.decided_by == "evidence"
    assert f"{worse.deviating.answers} of {worse.deviating.of} answers are wrong where every reference" in worse.summary
    for provider in result.providers:
        assert [e.observable for e in provider.evidence] == ["answers", "prompt_tokens"]
        finding, accuracy = provider.findings
        assert (accuracy.kind, accuracy.severity) == ("accuracy_difference", "info")
        right, of, reference, lost, won = map(int, re.findall(r"\d+", finding.text))
        assert (finding.kind, finding.severity, of) == ("answers_graded", "info", provider.deviating.of)
        assert right == reference - lost + won
        assert lost == provider.deviating.answers
        assert (provider.divergence, provider.nearest, provider.likely_cause) == (None, (), None)
    assert verify(folder).differences == ()


def test_what_could_be_seen_is_stated_beforehand(lab: Lab, sorting: Suite, graded: Reference) -> None:
    planned = manifest(lab, sorting, graded)
    plan = estimate(planned, planned.load_panels())
    assert plan.could_reject
    assert plan.observables == ("answers", "prompt_tokens")
    medians = {d.fraction: d.median_requests for d in plan.detectable if d.variant == "finetuned"}
    assert medians[1.0] is not None
    assert medians[0.01] is None
    assert "wrong answers" in plan.detectability


def test_without_an_envelope_answers_judge_nobody(lab: Lab, sorting: Suite) -> None:
    for reference in (Reference(), Reference(live=lab.endpoint("honest-b"))):
        with pytest.raises(ConfigurationError, match=r"record two or more .* --suite lab-answers"):
            manifest(lab, sorting, reference)


def test_the_baseline_of_the_suite_is_found_among_others(
    sorting: Suite, graded: Reference, suite: Suite, tmp_path: Path
) -> None:
    assert graded.baseline is not None
    folder = shutil.copytree(graded.baseline.folder, tmp_path / "z-answers")
    other = shutil.copytree(folder, tmp_path / "a-logprobs")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["suite"] = {"name": suite.name, "version": "1.0.0", "hash": suite.hash}
    (other / "manifest.json").write_text(json.dumps(manifest))

    for wanted, name in ((sorting, "z-answers"), (suite, "a-logprobs")):
        (found,) = choose_references(None, MODEL, [wanted], [tmp_path], [], {})
        assert found.baseline is not None
        assert (found.baseline.name, found.notice) == (name, None)
    with pytest.raises(BaselineError, match=r"recorded with the suite logprobs; record one with .*--suite lab-answers"):
        choose_references("a-logprobs", MODEL, [sorting], [tmp_path], [], {})
