"""Real engines behind the real gateway, kept up for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.panel import Panel
from qcheck.jobs.reference import Reference, choose_references
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint, ModelProfile
from qcheck.result import Result
from qcheck.run.folder import RunFolder
from qcheck.suites import Suite, load_suite, shipped_folder

Runner = Callable[..., tuple[Result, RunFolder]]


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab(seed=11) as running:
        yield running


@pytest.fixture(scope="session")
def suite() -> Suite:
    return load_suite("logprobs")


@pytest.fixture(scope="session")
def shipped(suite: Suite) -> Reference:
    (reference,) = choose_references(None, get_model("lab-tiny"), [suite], [shipped_folder("baselines")], [], {})
    return reference


@pytest.fixture(scope="session")
def graded_suite() -> Suite:
    return load_suite("lab-answers")


@pytest.fixture(scope="session")
def both(suite: Suite, graded_suite: Suite) -> list[tuple[Suite, Reference]]:
    """Log-probabilities and answers, each with the shipped baseline."""
    suites, roots = [suite, graded_suite], [shipped_folder("baselines")]
    return list(zip(suites, choose_references(None, get_model("lab-tiny"), suites, roots, [], {}), strict=True))


@pytest.fixture(scope="session")
def panels(both: list[tuple[Suite, Reference]]) -> list[Panel]:
    """The same, as a run folds them at the usual alpha."""
    endpoint = Endpoint("p", "x", "http://127.0.0.1:9/v1", "m", None)
    manifest = make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), [endpoint], both, Settings(1))
    return [used.panel(suite, of.baseline) for used, (suite, of) in zip(manifest.suites, both, strict=True)]


@pytest.fixture
def run(tmp_path: Path, suite: Suite, shipped: Reference) -> Runner:
    """Runs one comparison of endpoints, with the suite `asked` or log-probabilities, and further suites.

    Returns its result and folder.
    """

    def compared(
        endpoints: list[Endpoint],
        reference: Reference | None = None,
        settings: Settings | None = None,
        asked: Suite = suite,
        further: Sequence[tuple[Suite, Reference]] = (),
        model: ModelProfile | None = None,
    ) -> tuple[Result, RunFolder]:
        reference = reference or shipped
        pairs = [(asked, reference), *further]
        folder = RunFolder.create(tmp_path, f"run-{len(list(tmp_path.iterdir()))}")
        manifest = make_manifest(
            folder.run_id,
            datetime.now(UTC),
            model or get_model("lab-tiny"),
            endpoints,
            pairs,
            settings or Settings(3),
        )
        start_run(folder, manifest)
        everyone = [*endpoints, *reference.endpoints]

        async def once() -> Result:
            async with clients(everyone, {}, 4) as askers:
                return await compare(folder, manifest, manifest.load_panels(), everyone, askers)

        return asyncio.run(once()), folder

    return compared
