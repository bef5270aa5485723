"""Prompts chosen for what honest deployments answer to them, with a baseline of their own.

`CERTAIN`: tasks whose first token is nearly certain, so that later positions are what is seen. `FOLLOWED`: words on
whose whole path honest deployments go, sure of each token, by the rule of `qcheck suite new --for logprobs`. Prompts of
a pool are kept that suit two honest deployments of different engines; no variant or candidate is looked at. They are
dealt to the folds at random, so that calibration prompts are like those that providers are asked; a larger part of them
calibrates than of a suite that `qcheck suite new` deals. Those of a pool's calibration fold stay there: what variants
and further references answered to them had been looked at when this was chosen, and what they answered to the others
had not.
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
from benchmarks.detection.rows import FOUR_BITS
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
TASKS = 8 * (("copying", 2700), ("holder", 1350), ("position", 1350))  # those that the lab's models are surest of
LEVEL, SEED = 3, 20261128
MARGIN = MARGIN_NATS["logprobs"]
WORDS, UNSEEN, FRAMES = 45_000, 21_000, 2  # UNSEEN: how many words, the last ones, may be in any fold


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What prompts are chosen, in a word and in some. pool: those to choose from. suits: whether a prompt is kept with
    these honest answers.

    folds: how many probes of a fold; all others calibrate. besides: deployments that the baseline knows beside the
    usual ones. strangers: honest ones, beside those that no baseline knows, that are tried on it. left_out: whether
    false alarms of references that are left out are counted, in all observables: samples need an open first token.
    """

    name: str
    what: str
    pool: Callable[[], Sequence[Probe]]
    suits: Callable[[Sequence[Answer]], bool]
    folds: Mapping[Fold, int]
    besides: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    left_out: bool = True


def chosen(
    choice: Choice, model: str, suite: Suite, banks: Path, root: Path, on_progress: Callable[[str], None]
) -> tuple[Baseline, Suite]:
    """A baseline of the lab model, calibrated, and its suite of chosen prompts, asked as those of `suite` are.

    Of prompts of one cluster the first one that suits the first engine is asked on. What is missing in `banks` is
    asked; the baseline is kept below `root`.
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
    known = deployments_of(model)
    variants = [d.name for d in known.values() if d.kind == "variant" and d.name in (*DIRECTED, *choice.besides)]
    recorded = [d.name for d in known.values() if d.kind == "reference" or d.name in (*variants, *choice.besides)]
    for name in recorded:
        bank.fill(name, on_progress)
    key = content_hash([to_plain(dealt.probes), [identity(model, name) for name in recorded]])
    folder = root / f"{model}-{choice.name}-{key.removeprefix('sha256:')[:16]}"
    if not (folder / "calibration.json").exists():
        seen.clear()  # all answers to so many prompts are more than memory holds
        calibrated(folder, model, dealt, ((name, bank.answers(name)) for name in recorded), variants)
    return load_baseline(folder), dealt


def _dealt(probes: Sequence[Probe], choice: Choice) -> tuple[Probe, ...]:
    """The chosen prompts, each in a fold: those that may be in any of them in random order, then the others."""
    anywhere = [p for p in probes if p.fold == "evaluation"]
    folds: list[Fold] = [fold for fold, count in choice.folds.items() for _ in range(count)]
    calibrating = len(probes) - len(folds)
    if calibrating < MIN_CLUSTERS or len(anywhere) < len(folds):
        raise ValueError(
            f"of {len(probes)} prompts, {len(anywhere)} of which may be asked, {calibrating} are left to calibrate on; "
            "ask a larger pool"
        )
    folds += ["calibration"] * (len(anywhere) - len(folds))
    order = np.random.default_rng(SEED).permutation(len(anywhere))
    dealt = [replace(anywhere[i], fold=fold) for i, fold in zip(order, folds, strict=True)]
    others = [p for p in probes if p.fold != "evaluation"]
    return tuple(replace(p, stratum=choice.name) for p in (*dealt, *others))


def _tasks() -> tuple[Probe, ...]:
    rng, prompts = np.random.default_rng(SEED), dict[str, None]()
    for family, count in TASKS:
        wanted = len(prompts) + count
        while len(prompts) < wanted:
            prompts[generate(rng, family, LEVEL).prompt] = None
    numbered = ((f"task-{number:04d}", prompt) for number, prompt in enumerate(prompts, 1))
    return tuple(Probe(name, name, "evaluation", (Message("user", prompt),)) for name, prompt in numbered)


def _words() -> tuple[Probe, ...]:
    rows, unseen = framed(WORDS, FRAMES), UNSEEN * FRAMES
    return composed(rows[:-unseen], "calibration") + composed(rows[-unseen:], "evaluation")


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
    left_out=False,
)
FOLLOWED = Choice(
    "followed",
    f"on whose path two honest deployments go, each token preferred by more than {MARGIN} nats",
    _words,
    _followed,
    {"evaluation": 2000, "selection": 600},
    # Every arithmetic on every engine in two configurations on different kernels; all formats that are asked about.
    (
        "honest-bf16-flash",
        "honest-f32-flash",
        "honest-torch-fp16-single",
        "honest-torch-f32-batch",
        *FOUR_BITS.values(),
    ),
    ("honest-bf16-ubatch",),
)
