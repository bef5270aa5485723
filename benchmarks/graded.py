"""Graded answers, right or wrong: `python -m benchmarks graded`.

How often an honest deployment that the reference does not know is accused, and how soon a worse model is found: honest
deployments that no baseline has, then each reference deployment, taken out of the baseline in turn. Streams come in
blocks, in each of which losses are counted on other items, drawn at random; each stream asks its items in an order of
its own, so that a deployment's alarms are those of one evaluation fold.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from baselines.record_lab import GRADED
from benchmarks.calibrated import calibrated
from benchmarks.detection.draws import Stops, count, first_reached
from benchmarks.detection.left_out import Recorded, Streams, Tails
from benchmarks.detection.material import ALPHA
from benchmarks.detection.table import interval
from qcheck.baselines import Baseline
from qcheck.evidence.answers import is_right
from qcheck.evidence.envelope import CALIBRATION_SHARE, freeze
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.views import VIEWS
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Probe, Suite, load_suite
from qcheck.tailcounts import FULL, LOSS
from qcheck.verdict import MIN_DEVIATING, Rules

MODELS, SUITE = ("lab-tiny", "lab-twin"), "lab-answers"
BLOCKS = 8  # for each deployment that is left out
WORSE = ("q3_k_m", "q2_k", "other-model")
RULES = Rules(ALPHA, CALIBRATION_SHARE * ALPHA, 1, 0.05)

Everything = Mapping[str, Recorded]  # by deployment


def report() -> str:
    """A table for each model."""
    suite = load_suite(SUITE)
    return "\n\n".join(f"**{model}**\n\n{_table(model, suite)}" for model in MODELS)


def _table(model: str, suite: Suite) -> str:
    known = deployments_of(model)
    honest = [name for name in GRADED if name in known and known[name].kind == "reference"]
    strangers = [name for name, d in known.items() if d.kind == "held-out"]
    worse = [name for name in WORSE if name in known]
    answers = _asked(model, suite, suite.probes, honest)
    answers |= _asked(model, suite, suite.fold("evaluation"), [*strangers, *worse])
    lines = [
        f"Items of the suite `{SUITE}`, null bounds counted on {', '.join(honest)}. Of those the one that computes in "
        "bfloat16 has no like: nothing is claimed of it where it is left out.",
        "",
        "| provider | how it stands to the baseline | lost items | *deviates*: of streams | requests: median / 90 % |",
        "|---|---|---|---|---|",
    ]
    for number, name in enumerate((*strangers, *honest, *worse)):
        others = {other: answers[other] for other in honest if other != name}
        with TemporaryDirectory() as folder:
            tails = left_out(calibrated(Path(folder), model, suite, others.items(), ()), suite, others, answers[name])
        rng = np.random.default_rng(number)
        found = Stops(np.concatenate([_requests(tails, rng) for _ in range(BLOCKS)]), len(tails.strata))
        stands = "honest, left out" if name in honest else "honest, never in it" if name in strangers else "deviates"
        lost = f"{int(tails.shown[FULL][LOSS].sum())} of {len(tails.strata)}"
        decided = f"{(found.requests <= found.limit).sum()} of {len(found.requests)}"
        sooner = f"{count(found.quantile(0.5))} / {count(found.quantile(0.9))}{interval(found)}"
        lines.append(f"| {' | '.join((name, stands, lost, decided, sooner))} |")
    return "\n".join(lines)


def _asked(model: str, suite: Suite, probes: Sequence[Probe], names: Sequence[str]) -> dict[str, Recorded]:
    bank = Bank(DEFAULT_FOLDER, model, suite, tuple(probes))
    for name in names:
        bank.fill(name, partial(print, file=sys.stderr, flush=True))
    return {name: bank.answers(name) for name in names}


def left_out(others: Baseline, suite: Suite, answers: Everything, own: Recorded) -> Tails:
    """What a provider's answers to the evaluation items show to an envelope of others. answers: theirs."""
    scorer, evaluation = LeaveOneOut(others, suite, None), suite.fold("evaluation")
    probes = [p for p in suite.probes if p.fold != "evaluation"]
    kept = dict(
        zip(others.references, ({p.id: mine[p.id][0] for p in probes} for mine in answers.values()), strict=True)
    )
    lost = [
        float(not is_right(own[p.id][0], p) and all(is_right(mine[p.id][0], p) for mine in answers.values()))
        for p in evaluation
    ]
    strata = np.array([p.stratum for p in evaluation])
    return Tails(scorer, probes, {VIEWS[0]: scorer(kept, probes, (), VIEWS[0])}, strata, {FULL: {LOSS: np.array(lost)}})


def _requests(tails: Tails, rng: np.random.Generator) -> NDArray[np.intp]:
    """(streams,) until *deviates*, one more than there are items where that is never."""
    envelope = freeze(tails.redrawn(rng), ALPHA)
    found: Streams = tails.streams(envelope, FULL, np.arange(len(tails.strata)), rng)
    return first_reached((found.log_e >= RULES.log_threshold) & (found.deviating >= MIN_DEVIATING))
