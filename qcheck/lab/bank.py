"""Answers of lab deployments to many probes, kept as files: what is counted deeply and what streams are drawn from.

`python -m qcheck.lab.bank lab-tiny` asks every deployment of lab-tiny the evaluation probes of the suite `logprobs`,
each on its real engine. Interrupted, it goes on where it stopped; what was asked of other weights, settings, engines
or probes is never taken for this.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from qcheck.baselines import Answer, answer_of
from qcheck.client.transport import Client
from qcheck.errors import LabError, UnknownNameError
from qcheck.jsonio import as_storage_error, atomic_write, content_hash, to_plain
from qcheck.lab.catalog import MODELS, TorchSettings, deployments_of
from qcheck.lab.supervisor import MODELS_DIR, Lab
from qcheck.packing import pack, unpack
from qcheck.registry.types import Endpoint
from qcheck.suites import Probe, Suite, load_suite, plain

__all__ = ["DEFAULT_FOLDER", "Bank", "identity"]

DEFAULT_FOLDER: Final = Path("build/bank")
CHUNK: Final = 2000  # probes per file
CONCURRENCY: Final = 8  # so that engines which batch do batch


def identity(model: str, deployment: str, *, versioned: bool = True) -> str:
    """A hash of all that a deployment's answers depend on: weights, format, settings, and the engine's version.

    versioned: whether the version counts. Raises UnknownNameError for what is no deployment of the model.
    """
    known = deployments_of(model)
    if deployment not in known:
        raise UnknownNameError("lab deployment", deployment, known)
    d = known[deployment]
    weights = MODELS[model].sources[d.source]
    files = [MODELS_DIR / name for name in (weights.file, weights.adapter) if name]
    engine = "torch" if isinstance(d.settings, TorchSettings) else "xllamacpp"
    contents = [content_hash(file.read_bytes()) for file in files]
    versions = [version(engine)] if versioned else []
    return content_hash([contents, d.format, to_plain(d.settings), dict(MODELS[model].template), *versions])


@dataclass(frozen=True, slots=True)
class Bank:
    """Where the answers of a model's deployments to `probes` of a suite are kept, `repeats` to each probe."""

    folder: Path
    model: str
    suite: Suite
    probes: tuple[Probe, ...]
    repeats: int = 1
    _places: dict[str, Path] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fill(
        self,
        deployment: str,
        on_progress: Callable[[str], None] = lambda _: None,
        files: Container[int] | None = None,
    ) -> None:
        """Ask one deployment what is not there yet. `files`: numbers of the files to fill; all unless given.

        Raises LabError for an engine that does not answer, StorageError for a folder that cannot be written.
        """
        place = self._place(deployment)
        missing = [n for n in self.numbers if (files is None or n in files) and not self.has(deployment, n)]
        if not missing:
            return
        with Lab() as lab:
            endpoint = lab.engine(deployment, self.model)
            for n in missing:
                began, some = time.monotonic(), self.probes[n * CHUNK : (n + 1) * CHUNK]
                answers = asyncio.run(_ask(endpoint, self.suite, some, self.repeats))
                with as_storage_error(place):
                    atomic_write(_file(place, n), pack(answers))
                rate = self.repeats * len(some) / (time.monotonic() - began)
                on_progress(f"{deployment}: {n * CHUNK + len(some)} of {len(self.probes)} probes, {rate:.0f} answers/s")

    @property
    def numbers(self) -> range:
        """The numbers of its files."""
        return range(-(-len(self.probes) // CHUNK))

    def has(self, deployment: str, number: int) -> bool:
        """Whether one file is filled."""
        return _file(self._place(deployment), number).exists()

    def chunk(self, deployment: str, number: int) -> dict[str, tuple[Answer, ...]] | None:
        """One file's answers by probe id; None where it is not filled."""
        file = _file(self._place(deployment), number)
        return dict(unpack(file.read_bytes())) if file.exists() else None

    def answers(self, deployment: str) -> dict[str, tuple[Answer, ...]]:
        """All of one deployment's answers by probe id. Raises LabError where some are missing."""
        chunks = [self.chunk(deployment, number) for number in self.numbers]
        if None in chunks:
            raise LabError(f"the bank in {self.folder} lacks answers of {deployment}: fill it with qcheck.lab.bank.")
        return {probe_id: answers for chunk in chunks if chunk for probe_id, answers in chunk.items()}

    def _place(self, deployment: str) -> Path:
        if deployment not in self._places:  # tens of thousands of probes take a second
            asked = [self.suite.manifest.model_dump(exclude_none=True), [plain(p) for p in self.probes], self.repeats]
            key = content_hash([identity(self.model, deployment), asked]).removeprefix("sha256:")
            self._places[deployment] = self.folder / self.model / f"{deployment}-{key[:16]}"
        return self._places[deployment]


def _file(place: Path, number: int) -> Path:
    return place / f"{number:04d}.answers"


async def _ask(endpoint: Endpoint, suite: Suite, probes: Sequence[Probe], repeats: int) -> dict[str, list[Answer]]:
    async def ask(client: Client, probe: Probe) -> Answer:
        request = suite.request(probe, endpoint.temperature, suite.manifest.top_logprobs)
        async for attempt in client.ask(request, endpoint.name, 0):
            if attempt.response is not None:
                return answer_of(attempt.response, with_text=suite.judges_text, with_calls=suite.judges_calls)
        raise LabError(f"{endpoint.name} gave no answer to {probe.id}: {attempt.error}; run the same command again.")

    async with Client(endpoint, concurrency=CONCURRENCY) as client:
        rounds = [await asyncio.gather(*(ask(client, probe) for probe in probes)) for _ in range(repeats)]
    return {probe.id: list(answers) for probe, *answers in zip(probes, *rounds, strict=True)}


def main() -> None:
    """Fill a bank with the evaluation probes of a suite."""
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.bank", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("deployments", nargs="*", help="all that need no GPU unless given")
    parser.add_argument("--suite", default="logprobs")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    args = parser.parse_args()
    suite = load_suite(args.suite)
    bank = Bank(args.folder, args.model, suite, suite.fold("evaluation"), args.repeats)
    usual = [name for name, d in deployments_of(args.model).items() if not d.needs_gpu]
    for name in args.deployments or usual:
        bank.fill(name, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
