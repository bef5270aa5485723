"""Streams of a provider's answers, drawn from a bank of real ones, with the truth about every answer.

A benchmark needs thousands of streams from a handful of mixtures. Asking the engines anew for each would add nothing:
what a deployment answers to a probe is (nearly) always the same, and its repeats are in the bank. So a stream is an
order of probes, and for each of them which deployment answers and with which of its recorded repeats.

`python -m qcheck.lab.streams build/bank/lab-tiny honest=0.9 q4_k_m=0.1 --out build/streams.npz` draws 2,000 of them.
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
from qcheck.jsonio import atomic_write
from qcheck.lab.bank import read

__all__ = ["Bank", "Streams", "draw", "load_bank", "load_streams", "save_streams"]


@dataclass(frozen=True, slots=True)
class Bank:
    """Recorded answers: `answers[deployment][probe id]` holds one per repeat. `probes` are those that all answered."""

    answers: Mapping[str, Mapping[str, tuple[Answer, ...]]]
    probes: tuple[str, ...]
    repeats: int


@dataclass(frozen=True, slots=True)
class Streams:
    """Many streams of one mixture: row s is a stream, column i its i-th request.

    probes: ids. deployments: names. probe, deployment, repeat: (streams, requests) indices into them and into the
    bank's repeats.
    """

    probes: tuple[str, ...]
    deployments: tuple[str, ...]
    probe: NDArray[np.uint16]
    deployment: NDArray[np.uint8]
    repeat: NDArray[np.uint8]

    def replay(self, bank: Bank, stream: int) -> Iterator[tuple[str, str, Answer]]:
        """The requests of one stream: (probe id, the deployment that answered, its answer)."""
        rows = zip(self.probe[stream], self.deployment[stream], self.repeat[stream], strict=True)
        for probe, deployment, repeat in rows:
            probe_id, name = self.probes[probe], self.deployments[deployment]
            yield probe_id, name, bank.answers[name][probe_id][repeat]


def load_bank(folder: Path, deployments: Sequence[str]) -> Bank:
    """The answers of some deployments in the bank at `folder` (see `qcheck.lab.bank`)."""
    answers = {name: read(folder, name) for name in deployments}
    shared = tuple(i for i in answers[deployments[0]] if all(i in mine for mine in answers.values()))
    repeats = min(len(mine[i]) for mine in answers.values() for i in shared)
    return Bank(answers, shared, repeats)


def draw(
    bank: Bank, shares: Mapping[str, float], streams: int, requests: int, rng: np.random.Generator, burst: float = 1.0
) -> Streams:
    """Streams in which each request is answered by a deployment drawn by `shares`; no probe stands twice in one.

    burst: mean number of requests in a row that one draw holds for (1: every request is drawn by itself); shares stay
    what they are in the long run.
    """
    if requests > len(bank.probes):
        raise ValueError(f"{requests} requests need as many probes, the bank has {len(bank.probes)}")
    if not np.isclose(sum(shares.values()), 1.0):
        raise ValueError("shares must sum to 1")
    shape = (streams, requests)
    probe = np.argsort(rng.random((streams, len(bank.probes))), axis=1)[:, :requests]
    drawn = rng.choice(len(shares), size=shape, p=list(shares.values()))
    fresh = rng.random(shape) < 1 / burst
    fresh[:, 0] = True
    held = np.maximum.accumulate(np.where(fresh, np.arange(requests), 0), axis=1)
    return Streams(
        bank.probes,
        tuple(shares),
        probe.astype(np.uint16),
        np.take_along_axis(drawn, held, axis=1).astype(np.uint8),
        rng.integers(bank.repeats, size=shape).astype(np.uint8),
    )


def save_streams(path: Path, streams: Streams) -> None:
    """Write streams to one `.npz` file, atomically."""
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
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
            tuple(map(str, file["probes"])),
            tuple(map(str, file["deployments"])),
            file["probe"],
            file["deployment"],
            file["repeat"],
        )


def main() -> None:
    """Draw streams of one mixture."""
    parser = argparse.ArgumentParser(prog="python -m qcheck.lab.streams", description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("mixture", nargs="+", metavar="DEPLOYMENT=SHARE")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--burst", type=float, default=1.0, help="mean number of requests that one draw holds for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    shares = {name: float(share) for name, _, share in (word.partition("=") for word in args.mixture)}
    bank = load_bank(args.bank, list(shares))
    save_streams(
        args.out, draw(bank, shares, args.streams, args.requests, np.random.default_rng(args.seed), args.burst)
    )


if __name__ == "__main__":
    main()
