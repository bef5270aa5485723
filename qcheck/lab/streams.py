"""Streams of a provider's answers, drawn from a bank of real ones, with the truth about every answer.

A benchmark needs thousands of streams from a handful of mixtures, and asking the engines anew for each would take days.
So a stream is an order of probes, and for each of them which deployment answers and with which of its recorded
repeats. Deployments without batching or caches always answer the same; of those that do not, the bank's repeats are
resampled, so that streams of theirs share answers.

`python -m qcheck.lab.streams lab-tiny honest=0.9 q4_k_m=0.1 --out build/streams.npz` draws 2,000 of them from the bank
that `python -m qcheck.lab.bank lab-tiny` fills.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer
from qcheck.errors import LabError
from qcheck.jsonio import atomic_write, content_hash
from qcheck.lab.bank import DEFAULT_FOLDER, Bank, identity
from qcheck.lab.catalog import MODELS
from qcheck.suites import load_suite

__all__ = ["Source", "Streams", "draw", "load_source", "load_streams", "save_streams"]


@dataclass(frozen=True, slots=True)
class Source:
    """Recorded answers: `answers[deployment][probe id]` holds one per repeat.

    identity: a hash of what the answers depend on, so that streams are not replayed over others.
    """

    answers: Mapping[str, Mapping[str, tuple[Answer, ...]]]
    probes: tuple[str, ...]
    repeats: int
    identity: str


@dataclass(frozen=True, slots=True)
class Streams:
    """Many streams of one mixture: row s is a stream, column i its i-th request.

    probes: ids. deployments: names. probe, deployment, repeat: (streams, requests) indices into them and into the
    source's repeats.
    """

    source: str
    probes: tuple[str, ...]
    deployments: tuple[str, ...]
    probe: NDArray[np.uint32]
    deployment: NDArray[np.uint8]
    repeat: NDArray[np.uint8]

    def replay(self, source: Source, stream: int) -> Iterator[tuple[str, str, Answer]]:
        """The requests of one stream: (probe id, the deployment that answered, its answer).

        Raises LabError for a source that the streams were not drawn from.
        """
        if source.identity != self.source:
            raise LabError("these streams were drawn from other answers: draw them anew.")
        rows = zip(self.probe[stream], self.deployment[stream], self.repeat[stream], strict=True)
        for probe, deployment, repeat in rows:
            probe_id, name = self.probes[probe], self.deployments[deployment]
            yield probe_id, name, source.answers[name][probe_id][repeat]


def load_source(bank: Bank, deployments: Sequence[str]) -> Source:
    """The answers of some deployments in a bank. Raises LabError where some are missing."""
    answers = {name: bank.answers(name) for name in deployments}
    key = content_hash([[identity(bank.model, name) for name in deployments], bank.suite.hash, bank.repeats])
    return Source(answers, tuple(p.id for p in bank.probes), bank.repeats, key)


def draw(
    source: Source, shares: Mapping[str, float], streams: int, requests: int, rng: np.random.Generator, burst: float = 1
) -> Streams:
    """Streams in which each request is answered by a deployment drawn by `shares`; no probe stands twice in one.

    burst: mean number of requests in a row that one draw holds for (1: every request is drawn by itself); shares stay
    what they are in the long run. Raises ValueError for what cannot be drawn.
    """
    if requests > len(source.probes):
        raise ValueError(f"{requests} requests need as many probes, there are {len(source.probes)}")
    if not np.isclose(sum(shares.values()), 1.0) or min(shares.values()) < 0:
        raise ValueError("shares must be at least 0 and sum to 1")
    if burst < 1 or max(source.repeats, len(shares)) > np.iinfo(np.uint8).max:
        raise ValueError("a burst is of one request at least, and there are at most 255 deployments and repeats")
    shape = (streams, requests)
    probe = np.argsort(rng.random((streams, len(source.probes))), axis=1)[:, :requests]
    drawn = rng.choice(len(shares), size=shape, p=list(shares.values()))
    fresh = rng.random(shape) < 1 / burst
    fresh[:, 0] = True
    held = np.maximum.accumulate(np.where(fresh, np.arange(requests), 0), axis=1)
    return Streams(
        source.identity,
        source.probes,
        tuple(shares),
        probe.astype(np.uint32),
        np.take_along_axis(drawn, held, axis=1).astype(np.uint8),
        rng.integers(source.repeats, size=shape).astype(np.uint8),
    )


def save_streams(path: Path, streams: Streams) -> None:
    """Write streams to one `.npz` file, atomically."""
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        source=np.array(streams.source),
        probes=np.array(streams.probes),
        deployments=np.array(streams.deployments),
        probe=streams.probe,
        deployment=streams.deployment,
        repeat=streams.repeat,
    )
    atomic_write(path, buffer.getvalue())


def load_streams(path: Path) -> Streams:
    """Read what `save_streams` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Streams(
            str(file["source"]),
            tuple(map(str, file["probes"])),
            tuple(map(str, file["deployments"])),
            file["probe"],
            file["deployment"],
            file["repeat"],
        )


def main() -> None:
    """Draw streams of one mixture."""
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.streams", description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("mixture", nargs="+", metavar="DEPLOYMENT=SHARE")
    parser.add_argument("--suite", default="logprobs")
    parser.add_argument("--repeats", type=int, default=2, help="those of the bank")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="the bank's")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--burst", type=float, default=1.0, help="mean number of requests that one draw holds for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    shares = {name: float(share) for name, _, share in (word.partition("=") for word in args.mixture)}
    suite = load_suite(args.suite)
    source = load_source(Bank(args.folder, args.model, suite, suite.fold("evaluation"), args.repeats), list(shares))
    rng = np.random.default_rng(args.seed)
    save_streams(args.out, draw(source, shares, args.streams, args.requests, rng, args.burst))


if __name__ == "__main__":
    main()
