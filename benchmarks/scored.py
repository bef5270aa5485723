"""How soon deviations show in text that a live reference scores: `python -m benchmarks scored`.

Every deployment answers the same natural prompts with 32 tokens at temperature 1 on its real engine; PyTorch engines,
as live references and live variants, score the texts, and requests are folded as `qcheck.evidence.scored_text` does.
Candidates run on llama.cpp, the live variants that are looked for on PyTorch.

Power: streams of requests drawn with replacement from the texts. The oracle is the sequential likelihood ratio on the
same tokens: the live variant's probability of the text, uncut and without a margin, mixed at the fraction at which it
is with that of the float32 reference, against the latter.

False alarms: every honest deployment's texts in random order, each once, looked at after every request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.draws import Stops, count, first_reached
from benchmarks.detection.rows import FRACTIONS
from qcheck.baselines import Answer, answer_of
from qcheck.client.transport import Client
from qcheck.errors import LabError
from qcheck.evidence.sampled_text import RAISES, UNRECORDED, weights
from qcheck.evidence.scored_text import Sampling, request_ratios, scorable
from qcheck.jsonio import atomic_write, content_hash, to_plain
from qcheck.lab.bank import CONCURRENCY, identity
from qcheck.lab.catalog import deployments_of
from qcheck.lab.supervisor import Lab
from qcheck.packing import pack, unpack
from qcheck.records import Request
from qcheck.registry.types import Endpoint
from qcheck.stats.likelihood import log_e_paths
from qcheck.suites import Probe, load_suite
from qcheck.verdict import Rules

__all__ = ["Texts", "oracle", "report", "stops"]

Array = NDArray[np.float64]

RULES = Rules(alpha=0.01, delta=0.0, family=1, tolerance=0.05)  # nothing is calibrated that could fail
FOLDER = Path("build/scored")
HONEST = "honest-b"  # which answers the rest where a candidate answers a share
PROBES, LISTED = 160, 20
STREAMS, LIMIT = 400, 1500
ANY, PLAIN = Sampling(1.0, 32), Sampling(1.0, 32, plain=True)
# Live references, and what is known of how the provider draws.
SETUPS = {
    "float32; nothing cut or penalised": (("honest-torch-f32",), PLAIN),
    "float32 and bfloat16; nothing cut or penalised": (("honest-torch-f32", "honest-torch-bf16"), PLAIN),
    "float32; tail may be cut, penalties": (("honest-torch-f32",), ANY),
}
# By candidate, on llama.cpp: the live variant that it is, on PyTorch.
ROWS = {
    "4-bit": {"q4_k_m": "q4_k_m-torch", "q4_0": "q4_0-torch", "int4": "int4-bf16", "nf4": "nf4-bf16"},
    "fp8, Q6_K": {"q6_k": "q6_k-torch", "fp8": "fp8-bf16"},
    "other model": {"other-model": None},
}
ASKED = {"4-bit": "40 / 80"}
BET_ON = ("int4-bf16",)  # the live variant that honest deployments are taken for


@dataclass(frozen=True)
class Texts:
    """What a model's deployments say to the prompts, and how others score it; both are kept in a folder."""

    lab: Lab
    folder: Path
    model: str
    probes: tuple[Probe, ...]

    def of(self, deployment: str) -> list[str]:
        """Its texts, one a prompt."""
        requests = [Request(p.id, p.messages, ANY.max_tokens, ANY.temperature, 0) for p in self.probes]
        return [scorable(answer.text or "") for answer in self._answers(deployment, requests)]

    def scored(self, deployment: str, by: str) -> list[Answer]:
        """Its texts as another deployment scores them."""
        requests = [
            Request(p.id, p.messages, 1, 0.0, LISTED, scored=text)
            for p, text in zip(self.probes, self.of(deployment), strict=True)
        ]
        return self._answers(by, requests)

    def ratios(self, deployment: str, references: Sequence[str], variants: Sequence[str], sampling: Sampling) -> Array:
        """(prompts, alternatives) what each of its texts is worth."""
        scorers = [[answer.positions for answer in self.scored(deployment, by)] for by in (*references, *variants)]
        return np.array(
            [
                request_ratios(prompt, scored[: len(references)], scored[len(references) :], sampling)
                for prompt, *scored in zip(self._prompts, *scorers, strict=True)
            ]
        )

    def log_likelihoods(self, deployment: str, by: str) -> Array:
        """(prompts,) natural logarithms of the probability of its texts, 0 for those that cannot be scored."""
        return np.array(
            [
                sum(p.logprob or 0.0 for p in answer.positions[:-1][: ANY.max_tokens])
                for answer in self.scored(deployment, by)
            ]
        )

    @cached_property
    def _prompts(self) -> list[bytes]:
        return [b"\n".join(m.content.encode() for m in p.messages) for p in self.probes]

    def _answers(self, deployment: str, requests: Sequence[Request]) -> list[Answer]:
        key = content_hash([identity(self.model, deployment), [to_plain(r) for r in requests]]).removeprefix("sha256:")
        file = self.folder / self.model / f"{deployment}-{key[:16]}.answers"
        if not file.exists():
            print(f"asking {deployment} of {self.model}", file=sys.stderr, flush=True)
            answers = asyncio.run(_ask(self.lab.engine(deployment, self.model), requests))
            atomic_write(file, pack({r.probe_id: [a] for r, a in zip(requests, answers, strict=True)}))
        kept = dict(unpack(file.read_bytes()))
        return [kept[r.probe_id][0] for r in requests]


async def _ask(endpoint: Endpoint, requests: Sequence[Request]) -> list[Answer]:
    async def ask(client: Client, request: Request) -> Answer:
        async for attempt in client.ask(request, endpoint.name, 0):
            if attempt.response is not None:
                return answer_of(attempt.response, with_text=request.scored is None)
        raise LabError(f"{endpoint.name} gave no answer to {request.probe_id}: {attempt.error}; run it again.")

    async with Client(endpoint, concurrency=CONCURRENCY) as client:
        return await asyncio.gather(*(ask(client, request) for request in requests))


def stops(deviating: Array, honest: Array, fraction: float, rng: np.random.Generator) -> Stops:
    """Requests until *deviates*, drawn with replacement.

    deviating, honest: (texts, alternatives) what texts of the two kinds are worth, of the same alternatives.
    """
    bets = weights(deviating.shape[1] - len(UNRECORDED))
    return Stops(np.array([_decided(_drawn(deviating, honest, fraction, rng), bets) for _ in range(STREAMS)]), LIMIT)


def oracle(deviating: Array, honest: Array, fraction: float, rng: np.random.Generator) -> Stops:
    """Requests that the likelihood ratio needs to reach the same threshold.

    deviating, honest: (texts,) the ratios of texts of the two kinds.
    """
    paths = (np.cumsum(np.log1p(fraction * (_drawn(deviating, honest, fraction, rng) - 1))) for _ in range(STREAMS))
    return Stops(np.array([_first(path >= RULES.log_threshold) for path in paths]), LIMIT)


def _drawn(deviating: Array, honest: Array, fraction: float, rng: np.random.Generator) -> Array:
    """(LIMIT, …) requests of a stream, of which a share `fraction` is answered by the deviating deployment."""
    routed = (rng.random(LIMIT) < fraction).reshape(-1, *(1 for _ in deviating.shape[1:]))
    mine, theirs = (kind[rng.integers(len(kind), size=LIMIT)] for kind in (deviating, honest))
    return np.where(routed, mine, theirs)


def _decided(ratios: Array, bets: Array) -> int:
    """The number of the first request after which a stream is said to deviate; one more than it has if none is."""
    path = log_e_paths(ratios, bets)
    raised = np.diff(path, prepend=0.0) >= np.log(RAISES)
    return _first((path >= RULES.log_threshold) & (np.cumsum(raised) >= 2))


def _first(reached: NDArray[np.bool_]) -> int:
    return int(first_reached(reached[None])[0])


def alarms(ratios: Array, rng: np.random.Generator) -> int:
    """How many streams accuse, of `STREAMS` that hold each text once, in random order.

    ratios: (texts, alternatives).
    """
    bets = weights(ratios.shape[1] - len(UNRECORDED))
    return sum(_decided(rng.permutation(ratios), bets) <= len(ratios) for _ in range(STREAMS))


def report(models: Sequence[str] = ("lab-twin", "lab-moe"), folder: Path = FOLDER) -> str:
    """Power and false alarms for each model."""
    with Lab() as lab:
        return "\n\n".join(f"**{model}**\n\n" + "\n".join(_tables(lab, model, folder)) for model in models)


def _tables(lab: Lab, model: str, folder: Path) -> Iterator[str]:
    written = [p for p in load_suite("logprobs").fold("evaluation") if p.stratum == "written"]
    order = np.random.default_rng(0).permutation(len(written))[:PROBES]
    texts = Texts(lab, folder, model, tuple(written[i] for i in order))
    kinds = {name: d.kind for name, d in deployments_of(model).items()}
    yield (
        "| live references | deviation | candidate | "
        + " | ".join(f"{fraction:.0%} of requests | oracle" for fraction in FRACTIONS[:2])
        + " |"
    )
    yield "|---|---|---|" + "---|---|" * 2
    for setup in SETUPS:
        for deviation, candidates in ROWS.items():
            yield from _power(texts, setup, deviation, {c: v for c, v in candidates.items() if c in kinds})
    yield ""
    yield f"| live references | honest deployment | scored | largest mean e-value of a request | alarms of {STREAMS} |"
    yield "|---|---|---|---|---|"
    honest = [name for name, kind in kinds.items() if kind in ("reference", "held-out")]
    for setup, (references, sampling) in SETUPS.items():
        for name in honest:
            ratios = texts.ratios(name, references, BET_ON, sampling)
            counted = f"{int(ratios.any(axis=1).sum())} of {len(ratios)}"
            mean, accused = ratios.mean(axis=0), alarms(ratios, np.random.default_rng(1))
            error = ratios.std(axis=0) / np.sqrt(len(ratios))
            worst = int(mean.argmax())
            yield f"| {setup} | {name} | {counted} | {mean[worst]:.2f} ± {error[worst]:.2f} | {accused} |"


def _power(texts: Texts, setup: str, deviation: str, candidates: Mapping[str, str | None]) -> Iterator[str]:
    """A line for each candidate, and one for all of them that are looked for by a live variant."""
    references, sampling = SETUPS[setup]
    pooled: dict[float, list[tuple[Stops, Stops]]] = {fraction: [] for fraction in FRACTIONS[:2]}
    for candidate, variant in candidates.items():
        looked_for = [variant] if variant else []
        kinds = (candidate, HONEST)
        deviating, honest = (texts.ratios(name, references, looked_for, sampling) for name in kinds)
        cells = []
        for fraction, both in pooled.items():
            rng = np.random.default_rng(int(100 * fraction))
            ours = stops(deviating, honest, fraction, rng)
            cells.append(_counts(ours))
            if variant is None:
                cells.append("")
                continue
            known = (
                np.exp(texts.log_likelihoods(name, variant) - texts.log_likelihoods(name, references[0]))
                for name in kinds
            )
            both.append((ours, oracle(*known, fraction, rng)))
            cells.append(_counts(both[-1][1]))
        yield f"| {setup} | {deviation} | {candidate} | {' | '.join(cells)} |"
    if any(pooled.values()):
        cells = [_counts(_pool(some)) for both in pooled.values() for some in zip(*both, strict=True)]
        cells[0] += f" (asked {ASKED[deviation]})" if deviation in ASKED else ""
        yield f"| {setup} | {deviation} | all | {' | '.join(cells)} |"


def _pool(some: Sequence[Stops]) -> Stops:
    return Stops(np.concatenate([stopped.requests for stopped in some]), LIMIT)


def _counts(stopped: Stops) -> str:
    """Median / 90 % quantile."""
    return f"{count(stopped.quantile(0.5))} / {count(stopped.quantile(0.9))}"
