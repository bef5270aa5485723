"""Real engines behind the real gateway, kept up for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.reference import Reference, choose_reference
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
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
    return choose_reference(None, get_model("lab-tiny"), suite, [shipped_folder("baselines")], [], {})


@pytest.fixture
def run(tmp_path: Path, suite: Suite, shipped: Reference) -> Runner:
    """Runs one comparison of endpoints, with the suite `asked` or log-probabilities; returns its result and folder."""

    def compared(
        endpoints: list[Endpoint],
        reference: Reference | None = None,
        settings: Settings | None = None,
        asked: Suite = suite,
    ) -> tuple[Result, RunFolder]:
        reference = reference or shipped
        folder = RunFolder.create(tmp_path, f"run-{len(list(tmp_path.iterdir()))}")
        manifest = make_manifest(
            folder.run_id,
            datetime.now(UTC),
            get_model("lab-tiny"),
            endpoints,
            asked,
            reference,
            settings or Settings(3),
        )
        start_run(folder, manifest)
        everyone = [*endpoints, *([reference.live] if reference.live else [])]

        async def once() -> Result:
            async with clients(everyone, {}, 4) as askers:
                return await compare(folder, manifest, asked, reference.baseline, everyone, askers)

        return asyncio.run(once()), folder

    return compared
