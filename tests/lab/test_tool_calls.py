"""Tool calls from recording to verdict, over real sockets; the lab's mock calls in the place of a model."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest
from fake_engine import MODEL, serving

from qcheck.baselines import load_baseline
from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.record import Recording, recalibrate, record
from qcheck.jobs.reference import Reference
from qcheck.jobs.verify import verify
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.result import ProviderResult, Result
from qcheck.run.folder import RunFolder
from qcheck.suites import Suite, load_suite

HONEST = {"honest": "honest?calls=0.005", "honest-f32": "honest-f32?calls=0.005"}
VARIANT = {"poor": "q2_k?calls=0.6"}
ASKED = {
    "good": "honest-b?calls=0.004",
    "worse": "q4_k_m?calls=0.5",
    "json": "honest?calls=0&tools=json",
    "forgets": "honest-b?calls=0&drop_reasoning",
    "prompted": "honest?calls=0&system=Be+brief.",
}


@asynccontextmanager
async def serving_all(specs: Mapping[str, str]) -> AsyncIterator[list[Endpoint]]:
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving(spec)) for spec in specs.values()]
        yield [
            Endpoint(name, name, f"{provider.url}/v1", MODEL, None)
            for name, provider in zip(specs, served, strict=True)
        ]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """60 evaluation, 5 selection and 110 calibration probes of the shipped suite, all plain ones to be asked first."""
    folder, shipped = tmp_path_factory.mktemp("tools"), load_suite("tools")
    shutil.copy(shipped.folder / "suite.json", folder)
    left = {"evaluation": 60, "selection": 5, "calibration": 110}
    with (folder / "probes.jsonl").open("w") as file:
        lines = (shipped.folder / "probes.jsonl").read_text().splitlines(keepends=True)
        for line in sorted(lines, key=lambda line: bool(json.loads(line).get("tools"))):
            left[fold] = left[fold := json.loads(line)["fold"]] - 1
            if left[fold] >= 0:
                file.write(line)
    return load_suite(str(folder))


@pytest.fixture(scope="module")
def providers(part: Suite, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProviderResult]:
    """The results of one run, which its replay gives again."""
    folder, model = tmp_path_factory.mktemp("baselines") / "calls", get_model(MODEL)

    async def record_all() -> None:
        async with serving_all(HONEST | VARIANT) as endpoints, clients(endpoints, {}, 8) as askers:
            for endpoint in endpoints:
                role = "variant" if endpoint.name in VARIANT else "reference"
                what = Recording(folder, endpoint.name, "the mock", role, "self-hosted", repeats=2, concurrency=8)
                await record(what, model, part, endpoint, askers[endpoint.name])

    async def compare_all() -> Result:
        async with serving_all(ASKED) as endpoints, clients(endpoints, {}, 8) as askers:
            asked = [
                (part, Reference(load_baseline(folder)))
            ]  # 13 of its prompts are plain, which do for such an alpha
            settings = Settings(3, alpha=0.05, until="consistent", concurrency=8)
            manifest = make_manifest(run.run_id, datetime.now(UTC), model, endpoints, asked, settings)
            start_run(run, manifest)
            return await compare(run, manifest, manifest.load_panels(), endpoints, askers)

    asyncio.run(record_all())
    assert recalibrate(folder, part)
    run = RunFolder.create(tmp_path_factory.mktemp("runs"), "run")
    result = asyncio.run(compare_all())
    assert verify(run).differences == ()
    return {provider.name: provider for provider in result.providers}


def test_who_calls_wrongly_deviates_and_who_calls_rightly_does_not(providers: dict[str, ProviderResult]) -> None:
    assert [e.observable for e in providers["worse"].evidence] == ["tool_calls", "prompt_tokens"]
    assert (providers["worse"].verdict, providers["worse"].decided_by) == ("deviates", "evidence")
    assert providers["good"].verdict != "deviates"
    assert providers["good"].log_e_value < 0


def test_calls_are_counted_beside_the_reference(providers: dict[str, ProviderResult]) -> None:
    said = {f.kind: f.text for f in providers["worse"].findings}
    assert set(said) == {"answers_graded", "accuracy_difference", "finish_reason_tool_calls", "schema_valid"}
    assert "at all times together" in said["finish_reason_tool_calls"]
    valid, of = map(int, said["schema_valid"].split(" answers")[0].split(" of "))
    assert 0 < valid < of


@pytest.mark.parametrize(
    ("name", "words"),
    [("json", "declare tools"), ("forgets", "thoughts of earlier turns"), ("prompted", "hidden system prompt")],
)
def test_prompt_tokens_tell_what_is_rendered_otherwise(
    providers: dict[str, ProviderResult], name: str, words: str
) -> None:
    (finding,) = [f for f in providers[name].findings if f.kind == "prompt_tokens_differ"]
    assert finding.likely_cause is not None
    assert words in finding.likely_cause.text
    assert finding.severity == ("deviation" if name == "prompted" else "info")
