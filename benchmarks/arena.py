"""Run the main job many times on engines that stay up, one run folder a seed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.reference import Reference, choose_references
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.result import Result
from qcheck.run.folder import RunFolder
from qcheck.suites import Suite, load_suite, shipped_folder

MODEL = "lab-tiny"


@dataclass(frozen=True, slots=True)
class Arena:
    """A lab that stays up, the shipped suite and the shipped baseline."""

    lab: Lab
    suite: Suite
    reference: Reference
    folder: Path

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of the lab provider `name`."""
        return self.lab.endpoint(name)

    def run(self, names: list[str], seed: int) -> Result:
        """One `qcheck compare` of lab providers with that seed, at the default alpha and tolerance."""
        endpoints = [self.endpoint(name) for name in names]
        run_id = f"{'-'.join(names)}-{seed}"
        manifest = make_manifest(
            run_id, datetime.now(UTC), get_model(MODEL), endpoints, [(self.suite, self.reference)], Settings(seed)
        )
        folder = RunFolder.create(self.folder, run_id)
        start_run(folder, manifest)

        async def once() -> Result:
            async with clients(endpoints, {}, manifest.concurrency) as askers:
                return await compare(folder, manifest, manifest.load_panels(), endpoints, askers)

        return asyncio.run(once())


@contextlib.contextmanager
def open_arena(seed: int = 0) -> Iterator[Arena]:
    """A fresh arena; `seed` is that of the gateway's routing."""
    suite = load_suite("logprobs")
    (reference,) = choose_references(None, get_model(MODEL), [suite], [shipped_folder("baselines")], [], {})
    with tempfile.TemporaryDirectory() as folder, Lab(seed=seed) as lab:
        yield Arena(lab, suite, reference, Path(folder))
