"""Prompts chosen for what honest deployments answer to them, with a baseline of their own.

`CERTAIN`: tasks whose first token is nearly certain, so that later positions are what is seen. `FOLLOWED`: words on
whose whole path honest deployments go, sure of each token, by the rule of `qcheck suite new --for logprobs`. Prompts of
a pool are kept that suit two honest deployments of different engines; no variant or candidate is looked at. They are
dealt to the folds at random, so that calibration prompts are like those that providers are asked; a larger part of them
calibrates than of a suite that `qcheck suite new` deals.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from baselines.record_lab import DIRECTED, composed
from benchmarks.calibrated import calibrated
from probes.compose import framed
from qcheck.baselines import Answer, Baseline, load_baseline
from qcheck.cli.mine import MARGIN_NATS
from qcheck.evidence.calibration import MIN_CLUSTERS
from qcheck.evidence.choice import is_followed
from qcheck.evidence.greedy import GreedyPath
from qcheck.jobs.mine import one_of_each
from qcheck.jsonio import content_hash, to_plain
from qcheck.lab.bank import Bank, identity
from qcheck.lab.catalog import deployments_of
from qcheck.lab.training.tasks import generate
from qcheck.records import Message
from qcheck.suites import Fold, Probe, Suite

__all__ = ["CERTAIN", "CHOSEN_ON", "FOLLOWED", "MARGIN", "SURE", "Choice", "chosen"]

CHOSEN_ON = ("honest-f32", "honest-torch-bf16")  # the second is asked what the first one keeps
SURE = 0.97  # probability of a nearly certain first token
TASKS = 4 * (("copying", 2700), ("holder", 1350), ("position", 1350))  # those that the lab's models are surest of
LEVEL, SEED = 3, 20261128
MARGIN = MARGIN_NATS["logprobs"]
WORDS, FRAMES = 24_000, 2


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What prompts are chosen, in a word and in some. pool: those to choose from. suits: whether a prompt is kept with
    these honest answers.

    folds: how many probes of a fold; all others calibrate. besides: honest deployments that a second baseline knows.
    """

    name: str
    what: str
    pool: Callable[[], Sequence[Probe]]
    suits: Callable[[Sequence[Answer]], bool]
    folds: Mapping[Fold, int]
    besides: tuple[str, ...] = ()


def chosen(
    choice: Choice,
    model: str,
    suite: Suite,
    banks: Path,
    root: Path,
    on_progress: Callable[[str], None],
    besides: Sequence[str] = (),
) -> tuple[Baseline, Suite]:
    """A baseline of the lab model, calibrated, and its suite of chosen prompts, asked as those of `suite` are.

    Of prompts of one cluster the first one that suits the first engine is asked on. What is missing in `banks` is
    asked; the baseline is kept below `root`. besides: honest deployments that it knows beside the usual ones.
    """
    probes, seen = choice.pool(), defaultdict[str, list[Answer]](list)
    for name in CHOSEN_ON:
        bank = Bank(banks, model, suite, tuple(probes))
        bank.fill(name, on_progress)
        for probe_id, (answer, *_) in bank.answers(name).items():
            seen[probe_id].append(answer)
        suiting = [p for p in probes if choice.suits(seen[p.id])]
        probes = one_of_each({choice.name: suiting})[choice.name]
    dealt = replace(suite, probes=_dealt(probes, choice))
    known = [d.name for d in deployments_of(model).values() if d.kind == "reference" or d.name in DIRECTED]
    recorded = [*known, *besides]
    for name in recorded:
        bank.fill(name, on_progress)
    key = content_hash([to_plain(dealt.probes), [identity(model, name) for name in recorded]])
    folder = root / f"{model}-{choice.name}-{key.removeprefix('sha256:')[:16]}"
    if not (folder / "calibration.json").exists():
        kept = {name: bank.answers(name) for name in recorded}
        calibrated(folder, model, dealt, kept, DIRECTED)
    return load_baseline(folder), dealt


def _dealt(probes: Sequence[Probe], choice: Choice) -> tuple[Probe, ...]:
    """The chosen prompts in random order, each in a fold."""
    further = len(probes) - sum(choice.folds.values())
    if further < MIN_CLUSTERS:
        raise ValueError(f"of {len(probes)} prompts {further} are left to calibrate on; ask a larger pool")
    folds: list[Fold] = [fold for fold, count in choice.folds.items() for _ in range(count)]
    folds += ["calibration"] * further
    order = np.random.default_rng(SEED).permutation(len(probes))
    return tuple(replace(probes[i], stratum=choice.name, fold=fold) for i, fold in zip(order, folds, strict=True))


def _tasks() -> tuple[Probe, ...]:
    rng, prompts = np.random.default_rng(SEED), dict[str, None]()
    for family, count in TASKS:
        wanted = len(prompts) + count
        while len(prompts) < wanted:
            prompts[generate(rng, family, LEVEL).prompt] = None
    numbered = ((f"task-{number:04d}", prompt) for number, prompt in enumerate(prompts, 1))
    return tuple(Probe(name, name, "evaluation", (Message("user", prompt),)) for name, prompt in numbered)


def _words() -> tuple[Probe, ...]:
    return composed(framed(WORDS, FRAMES), "evaluation")


def _certain(answers: Sequence[Answer]) -> bool:
    return min(max(logprob for _, logprob in answer.positions[0].top) for answer in answers) > math.log(SURE)


def _followed(answers: Sequence[Answer]) -> bool:
    return is_followed([GreedyPath.of(answer) for answer in answers], MARGIN)


CERTAIN = Choice(
    "certain",
    f"whose first token has a probability above {SURE}, so that what is seen are the later tokens",
    _tasks,
    _certain,
    {"evaluation": 1300, "selection": 500},
)
FOLLOWED = Choice(
    "followed",
    f"on whose path two honest deployments go, each token preferred by more than {MARGIN} nats",
    _words,
    _followed,
    {"evaluation": 2000, "selection": 600},
    ("honest-bf16-flash",),
)
