"""Answers of lab deployments to many probes, kept as files: what is counted deeply and what streams are drawn from.

`python -m qcheck.lab.bank lab-tiny --out build/bank` asks every deployment of lab-tiny the evaluation probes of the
suite `logprobs`, each on its real engine. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from qcheck.baselines import Answer, answer_of
from qcheck.client.transport import Client
from qcheck.errors import LabError
from qcheck.jsonio import as_storage_error, atomic_write
from qcheck.lab.catalog import MODELS, deployments_of
from qcheck.lab.supervisor import Lab
from qcheck.packing import pack, unpack
from qcheck.registry.types import Endpoint
from qcheck.suites import Probe, Suite, load_suite

__all__ = ["CHUNK", "chunks", "fill", "read"]

CHUNK = 2000  # probes per file
CONCURRENCY = 8  # so that engines which batch do batch


async def _ask(endpoint: Endpoint, suite: Suite, probes: Sequence[Probe], repeats: int) -> dict[str, list[Answer]]:
    async def ask(client: Client, probe: Probe) -> Answer:
        request = suite.request(probe, endpoint.temperature, suite.manifest.top_logprobs)
        async for attempt in client.ask(request, endpoint.name, 0):
            if attempt.response is not None:
                return answer_of(attempt.response)
        raise LabError(f"{endpoint.name} gave no answer to {probe.id}: {attempt.error}; run the same command again.")

    async with Client(endpoint, concurrency=CONCURRENCY) as client:
        rounds = [await asyncio.gather(*(ask(client, probe) for probe in probes)) for _ in range(repeats)]
    return {probe.id: list(answers) for probe, *answers in zip(probes, *rounds, strict=True)}


def _file(folder: Path, deployment: str, chunk: int) -> Path:
    return folder / deployment / f"{chunk:04d}.answers"


def fill(
    folder: Path,
    model: str,
    deployment: str,
    suite: Suite,
    probes: Sequence[Probe],
    repeats: int = 1,
    on_progress: Callable[[str], None] = lambda _: None,
    files: Container[int] | None = None,
) -> None:
    """Ask one deployment all probes that the bank in `folder` does not hold yet, each `repeats` times.

    files: numbers of the files to fill, of `CHUNK` probes each; all unless given. They know nothing of the probes: a
    folder is for one model, one suite and one list of probes. Raises LabError for an engine that does not answer,
    StorageError for a folder that cannot be written.
    """
    starts = range(0, len(probes), CHUNK)
    missing = [
        n for n in range(len(starts)) if (files is None or n in files) and not _file(folder, deployment, n).exists()
    ]
    if not missing:
        return
    with Lab() as lab:
        endpoint = lab.engine(deployment, model)
        for n in missing:
            began, some = time.monotonic(), probes[starts[n] : starts[n] + CHUNK]
            answers = asyncio.run(_ask(endpoint, suite, some, repeats))
            with as_storage_error(folder):
                atomic_write(_file(folder, deployment, n), pack(answers))
            rate = repeats * len(some) / (time.monotonic() - began)
            on_progress(f"{deployment}: {starts[n] + len(some)} of {len(probes)} probes, {rate:.0f} answers/s")


def chunks(folder: Path, deployment: str) -> Iterator[dict[str, tuple[Answer, ...]]]:
    """One deployment's answers by probe id, file by file in the order of the probes."""
    for file in sorted((folder / deployment).glob("*.answers")):
        yield dict(unpack(file.read_bytes()))


def read(folder: Path, deployment: str) -> dict[str, tuple[Answer, ...]]:
    """All of one deployment's answers by probe id."""
    return {probe_id: answers for chunk in chunks(folder, deployment) for probe_id, answers in chunk.items()}


def main() -> None:
    """Fill a bank with the evaluation probes of a suite."""
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.bank", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("deployments", nargs="*", help="all unless given")
    parser.add_argument("--suite", default="logprobs")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/bank"))
    args = parser.parse_args()
    suite = load_suite(args.suite)
    for name in args.deployments or deployments_of(args.model):
        fill(
            args.out / args.model,
            args.model,
            name,
            suite,
            suite.fold("evaluation"),
            args.repeats,
            lambda line: print(line, file=sys.stderr, flush=True),
        )


if __name__ == "__main__":
    main()
