"""Prompts whose first token is nearly certain, with a baseline of their own: later positions are chosen there.

The pool are tasks that the lab's models were taught. Those are kept to whose first token two honest deployments of
different engines give more than `SURE`; no variant or candidate is looked at. They are dealt to the folds at random, so
that calibration prompts are like those that providers are asked; a larger part of them calibrates than of a suite that
`qcheck suite new` deals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from baselines.record_lab import DIRECTED
from benchmarks.calibrated import calibrated
from qcheck.baselines import Answer, Baseline, load_baseline
from qcheck.evidence.calibration import MIN_CLUSTERS
from qcheck.jsonio import content_hash, to_plain
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.lab.training.tasks import generate
from qcheck.records import Message
from qcheck.suites import Fold, Probe, Suite

__all__ = ["SURE", "certain"]

SURE, CHOSEN_ON = 0.97, ("honest-f32", "honest-torch-bf16")
POOL = 4 * (("copying", 2700), ("holder", 1350), ("position", 1350))  # tasks that the lab's models are surest of
FOLDS: Mapping[Fold, int] = {"evaluation": 1300, "selection": 500}
LEVEL, SEED = 3, 20261128


def certain(
    model: str, suite: Suite, banks: Path, root: Path, on_progress: Callable[[str], None]
) -> tuple[Baseline, tuple[Probe, ...]]:
    """A baseline of the lab model, calibrated, and the prompts that providers are asked, the way that `suite` asks.

    What is missing in `banks` is asked; the baseline is kept below `root`.
    """
    pool = _tasks()
    asked = Bank(banks, model, suite, pool)
    for name in CHOSEN_ON:
        asked.fill(name, on_progress)
    sure = [asked.answers(name) for name in CHOSEN_ON]
    surest = np.min([[_certainty(mine[p.id][0]) for p in pool] for mine in sure], axis=0)
    chosen = [p for p, certainty in zip(pool, surest, strict=True) if certainty > SURE]
    probes = _dealt(chosen)
    recorded = [d for d in deployments_of(model).values() if d.kind == "reference" or d.name in DIRECTED]
    bank = Bank(banks, model, suite, probes)
    for deployment in recorded:
        bank.fill(deployment.name, on_progress)
    folder = root / f"{model}-certain-{content_hash(to_plain(probes)).removeprefix('sha256:')[:16]}"
    if not (folder / "calibration.json").exists():
        answers = {d.name: bank.answers(d.name) for d in recorded}
        calibrated(folder, model, replace(suite, probes=probes), answers, DIRECTED)
    return load_baseline(folder), tuple(p for p in probes if p.fold == "evaluation")


def _tasks() -> tuple[Probe, ...]:
    rng, prompts = np.random.default_rng(SEED), dict[str, None]()
    for family, count in POOL:
        wanted = len(prompts) + count
        while len(prompts) < wanted:
            prompts[generate(rng, family, LEVEL).prompt] = None
    numbered = ((f"task-{number:04d}", prompt) for number, prompt in enumerate(prompts, 1))
    return tuple(Probe(name, name, "evaluation", (Message("user", prompt),)) for name, prompt in numbered)


def _dealt(chosen: Sequence[Probe]) -> tuple[Probe, ...]:
    """The chosen prompts in random order, each in a fold."""
    further = len(chosen) - sum(FOLDS.values())
    if further < MIN_CLUSTERS:
        raise ValueError(f"of {len(chosen)} prompts {further} are left to calibrate on; ask a larger pool")
    folds: list[Fold] = [fold for fold, count in FOLDS.items() for _ in range(count)] + ["calibration"] * further
    order = np.random.default_rng(SEED).permutation(len(chosen))
    return tuple(replace(chosen[i], stratum="certain", fold=fold) for i, fold in zip(order, folds, strict=True))


def _certainty(answer: Answer) -> float:
    return float(np.exp(max(logprob for _, logprob in answer.positions[0].top)))
