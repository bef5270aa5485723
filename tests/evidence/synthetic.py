"""A baseline made from formulas, for tests of the statistics alone. The lab's tests use real engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar
from unittest.mock import patch

import numpy as np

from benchmarks.calibrated import calibrated
from qcheck.baselines import Answer, Baseline
from qcheck.evidence import leave_one_out
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.tails import TailEvidence
from qcheck.evidence.views import VIEWS, View
from qcheck.records import Position
from qcheck.suites import Suite, load_suite
from qcheck.verdict import Rules

VOCABULARY, K = 40, 12
STRATA = ("even", "odd")
PROBES = {"evaluation": 300, "selection": 100, "calibration": 600}
ALPHA = 0.01
THRESHOLD = Rules(ALPHA, 0.2 * ALPHA, family=1, tolerance=0.05).log_threshold
Recorded = tuple[Baseline, Suite]
Answering = Callable[[int, np.random.Generator], Answer]


@cache
def _normal(*seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=VOCABULARY)


@dataclass(frozen=True)
class World:
    """Logits that every probe has, and deviations that variants add to them, the same each time."""

    observes: ClassVar = ("logprobs", "prompt_tokens")
    seed: int = 5
    noise: float = 0.004

    def answer(self, probe: int, rng: np.random.Generator, deviation: float = 0.0, kind: int = 0, k: int = K) -> Answer:
        moved = deviation * _normal(self.seed, probe, 1 + kind) if deviation else 0.0
        logits = 2 * _normal(self.seed, probe) + moved + rng.normal(0, self.noise, VOCABULARY)
        logprobs = logits - np.log(np.exp(logits).sum())
        best = np.argsort(-logprobs)[:k]
        top = tuple((f"={t}", float(logprobs[t])) for t in best)
        return Answer(10 + probe % 7, (Position(top[0][0], top[0][1], top),) if top else ())


@dataclass(frozen=True)
class Items:
    """Items that the model gets right or wrong; a variant also gets a share of them wrong, the same each time.

    noise: how often an answer comes out the other way, right or wrong, by chance.
    """

    observes: ClassVar = ("answers", "prompt_tokens")
    seed: int = 5
    noise: float = 0.001

    def knows(self, probe: int) -> bool:
        return np.random.default_rng((self.seed, probe)).random() < 0.8

    def answer(self, probe: int, rng: np.random.Generator, deviation: float = 0.0, kind: int = 0) -> Answer:
        lost = np.random.default_rng((self.seed, probe, 1 + kind)).random() < deviation
        right = (self.knows(probe) and not lost) != (rng.random() < self.noise)
        return Answer(10, (), f"It is {probe}." if right else "I cannot tell.")


def _suite(folder: Path, counts: Mapping[str, int], observes: tuple[str, ...]) -> Suite:
    folder.mkdir(parents=True)
    manifest = {
        "name": "synthetic", "version": "1.0.0", "licence": "CC0-1.0", "description": "formulas",
        "observes": observes, "max_tokens": 1, "top_logprobs": K,
    }  # fmt: skip
    folds = [fold for fold, count in counts.items() for _ in range(count)]
    rows = [
        {
            "id": f"p{i}",
            "cluster": f"c{i}",
            "fold": fold,
            "stratum": STRATA[i % 2],
            "messages": [{"role": "user", "content": f"q{i}"}],
            **({"answer": {"kind": "integer", "value": i}, "level": 1} if "answers" in observes else {}),
        }
        for i, fold in enumerate(folds)
    ]
    (folder / "suite.json").write_text(json.dumps(manifest))
    (folder / "probes.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return load_suite(str(folder))


def build(
    folder: Path,
    world: World | Items,
    honest: int,
    variants: dict[str, float],
    probes: Mapping[str, int] = PROBES,
    views: Sequence[View] = VIEWS,
) -> tuple[Baseline, Suite]:
    """A baseline of `honest` deployments and variants by the size of their deviation, calibrated in some views.

    probes: how many there are of each fold.
    """
    suite = _suite(folder / "suite", probes, world.observes)
    rng = np.random.default_rng(world.seed)
    sizes = {**{f"honest{i}": 0.0 for i in range(honest)}, **variants}
    answers = {
        name: {
            p.id: [world.answer(int(p.id[1:]), rng, size, max(0, i - honest)) for _ in range(2)] for p in suite.probes
        }
        for i, (name, size) in enumerate(sizes.items())
    }
    with patch.object(leave_one_out, "VIEWS", views):
        return calibrated(folder, "m", suite, answers.items(), variants), suite


def fold(evidence: TailEvidence, suite: Suite, seed: int, answer: Answering, length: int) -> float:
    """Fold `length` random evaluation probes; returns the largest log e-value on the way."""
    rng, largest, probes = np.random.default_rng(seed), 0.0, suite.fold("evaluation")
    for i in rng.permutation(len(probes))[:length]:
        evidence.update(probes[i].id, answer(int(probes[i].id[1:]), rng))
        largest = max(largest, evidence.log_e)
    return largest


def stream(recorded: Recorded, seed: int, answer: Answering, length: int = 250) -> tuple[LogprobEvidence, float]:
    """One provider's log-probabilities, and the largest log e-value on the way."""
    baseline, suite = recorded
    assert baseline.table is not None
    evidence = LogprobEvidence(baseline, freeze(baseline.table, ALPHA), suite)
    return evidence, fold(evidence, suite, seed, answer, length)
