"""How often an honest deployment that the reference does not know is accused, looked at after every request.

Each honest deployment in turn is taken out of the baseline; the envelope is made of the others alone, and the one left
out is the provider. Then the configurations of one arithmetic on one engine are taken out together, so that nothing
like the provider remains; then all that compute in bfloat16, so that one of them is judged by f16 and f32 alone and
nothing as noisy remains, and all others, so that f32 is judged by bfloat16 alone. Events are counted on the suite's own
folds, without the further words that baselines are calibrated on.

The recorded answers are looked at as log-probabilities, as greedy text of which nothing but the tokens is seen, and as
distributions that one token each is drawn from; and as a run of three suites that have a third of the probes each, one
observable to a suite, in the order and with the weights of `qcheck.jobs`.

Streams come in blocks; in each the clusters are dealt anew to those that thresholds are chosen on and those that events
are counted on. What is resampled from stream to stream is the order of the probes, and what is drawn, so that the
streams of one deployment ask the same answers again and again: their alarms are those of one evaluation fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from benchmarks.detection.draws import BLOCK
from benchmarks.detection.left_out import (
    REQUESTS,
    Case,
    Recorded,
    Streams,
    Tails,
    answered,
    greedy_text,
    log_probabilities,
)
from benchmarks.detection.pairwise import Pairwise
from benchmarks.detection.samples import Sampled, observe, paths
from qcheck.baselines import Answer, Baseline, read_answers
from qcheck.evidence.envelope import CALIBRATION_SHARE, freeze
from qcheck.evidence.scoring import NOISE_FACTOR
from qcheck.evidence.views import VIEWS
from qcheck.jobs.panel import TURN
from qcheck.suites import Suite
from qcheck.tailcounts import FULL, SIZE, CalibrationTable
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["OBSERVABLES", "FalseAlarms", "LeftOut", "cases", "together"]

BLOCKS, TOLERANCE = 8, 0.05
TEXT, SAMPLES, TOGETHER = "greedy text", "sampled text", "in one run"
OBSERVABLES = (*(view.name for view in VIEWS), TEXT, SAMPLES, TOGETHER)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many of `streams` ever raised an alarm, by what is looked at (`OBSERVABLES`).

    size, noisiest: mean size of the provider beside the reference deployments, and of the noisiest of these beside the
    others, in units of the noise.
    """

    case: Case
    alarms: Mapping[str, int]
    streams: int
    size: float
    noisiest: float


def cases(honest: Sequence[str]) -> list[Case]:
    """Every honest deployment alone, each beside those of other arithmetics or engines, and then those that compute in
    bfloat16 beside the others, and f32 beside those.

    honest: names, which say what they compute in; of one arithmetic on one engine they begin alike.
    """
    families = [tuple(n for n in honest if n == stem or n.startswith(f"{stem}-")) for stem in honest if "-" in stem]
    coarse = tuple(name for name in honest if "bf16" in name)
    fine = tuple(name for name in honest if name not in coarse)
    alone = [Case(name, (name,)) for name in honest]
    alike = [Case(n, family) for family in families if len(family) > 1 and family != coarse for n in family]
    return [*alone, *alike, *(Case(n, coarse) for n in coarse), *(Case(n, fine) for n in fine if "f32" in n)]


def together(parts: Sequence[Streams], first_turn: int) -> Streams:
    """A run of several suites of equal weight, of which the first has a turn before the others and one after them."""
    lengths = [part.log_e.shape[1] for part in parts]
    turns = [min(first_turn, lengths[0]), *lengths[1:], max(0, lengths[0] - first_turn)]
    asked = np.repeat([*range(len(parts)), 0], turns)[:REQUESTS]
    log_e, deviating = [], []
    for number, part in enumerate(parts):
        so_far = np.cumsum(asked == number)
        log_e.append(np.pad(part.log_e, ((0, 0), (1, 0)))[:, so_far])
        deviating.append(np.pad(part.deviating, ((0, 0), (1, 0)))[:, so_far])
    # As in `qcheck.verdict`: a suite without two deviating answers of its own proves nothing.
    proving = np.where(np.array(deviating) >= MIN_DEVIATING, log_e, -np.inf)
    with np.errstate(divide="ignore"):
        proof = logsumexp(proving, axis=0) - np.log(len(parts))
    return Streams(proof, np.max(deviating, axis=0))


class FalseAlarms:
    """Counts the alarms of deployments that are left out of a baseline whose calibration answers are at hand."""

    def __init__(self, baseline: Baseline, suite: Suite, alpha: float) -> None:
        self._baseline, self._suite, self._alpha = baseline, suite, alpha
        self._rules = Rules(alpha, CALIBRATION_SHARE * alpha, 1, TOLERANCE)
        entries = baseline.manifest.deployments
        self._calibration = {d.name: baseline.calibration_answers(i) or {} for i, d in enumerate(entries)}
        answers = {i: self._calibration[entries[i].name] for i in (*baseline.references, *baseline.directed)}
        probes = answered(suite, answers)
        self._honest = {view: Pairwise.of(baseline, answers, probes, view) for view in VIEWS}

    def of(self, case: Case) -> LeftOut:
        """Every observable by itself, and all of them in one run."""
        own, rng, rules = self._own(case.provider), self._rng(case), self._rules
        logprobs, text = self._log_probabilities(case, own), self._text(case, own)
        everything = np.arange(len(logprobs.strata))
        first, second, third = np.array_split(rng.permutation(everything), 3)
        samples, evaluation = self._samples(case, own, logprobs.redrawn(rng)), self._suite.fold("evaluation")
        fewer = samples.only({evaluation[i].id for i in third})
        share = self._alpha / 3
        turn, alarms = self._first_turn(share), Counter[str]()
        for _ in range(BLOCKS):
            tables = logprobs.redrawn(rng), text.redrawn(rng)
            envelope, paths = (freeze(table, self._alpha) for table in tables)
            for view in VIEWS:
                alarms[view.name] += logprobs.streams(envelope, view.name, everything, rng).alarms(rules)
            alarms[TEXT] += text.streams(paths, FULL, everything, rng).alarms(rules)
            alarms[SAMPLES] += _drawn(samples, case.provider, rng).alarms(rules)
            envelope, paths = (freeze(table, share) for table in tables)
            run = (
                logprobs.streams(envelope, FULL, first, rng),
                text.streams(paths, FULL, second, rng),
                _drawn(fewer, case.provider, rng),
            )
            alarms[TOGETHER] += together(run, turn).alarms(rules)
        noisiest = max(float(frame[SIZE].mean()) for frame in logprobs.honest[VIEWS[0]].values()) / NOISE_FACTOR
        seen = logprobs.shown[FULL][SIZE]
        return LeftOut(case, alarms, BLOCKS * BLOCK, float(seen[np.isfinite(seen)].mean()), noisiest)

    def _rng(self, case: Case) -> np.random.Generator:
        return np.random.default_rng([len(case.absent), list(self._calibration).index(case.provider)])

    def _own(self, name: str) -> Recorded:
        entry = next(d for d in self._baseline.manifest.deployments if d.name == name)
        return read_answers(self._baseline.folder, entry.answers)

    def _without(self, case: Case, variants: Sequence[str]) -> Baseline:
        """The baseline without the absent deployments, and with some of the variants only."""
        kept = [
            d
            for d in self._baseline.manifest.deployments
            if d.name in variants or (d.role == "reference" and d.name not in case.absent)
        ]
        manifest = self._baseline.manifest.model_copy(update={"deployments": kept})
        return Baseline(self._baseline.name, self._baseline.folder, manifest, self._baseline.hash, None)

    def _answers(self, others: Baseline) -> dict[int, dict[str, Answer]]:
        return {i: self._calibration[d.name] for i, d in enumerate(others.manifest.deployments)}

    def _log_probabilities(self, case: Case, own: Recorded) -> Tails:
        others = self._without(case, self._baseline.names(self._baseline.directed))
        return log_probabilities(others, self._suite, self._answers(others), self._honest, case, own)

    def _text(self, case: Case, own: Recorded) -> Tails:
        others = self._without(case, ())
        return greedy_text(others, self._suite, self._answers(others), own, VIEWS[0])

    def _samples(self, case: Case, own: Recorded, table: CalibrationTable) -> Sampled:
        """table: it says how large the noise is."""
        others = replace(self._without(case, self._baseline.names(self._baseline.variants)), table=table)
        return observe(others, others.references, self._suite.fold("evaluation"), {case.provider: own})

    def _first_turn(self, alpha: float) -> int:
        """Requests that log-probabilities get before it is another suite's turn; all where nothing says how many."""
        if self._baseline.table is None:
            return REQUESTS
        expected = freeze(self._baseline.table, alpha).requests_expected(TOLERANCE)
        return REQUESTS if expected is None else TURN * expected


def _drawn(samples: Sampled, provider: str, rng: np.random.Generator) -> Streams:
    """A block of streams of samples; those to probes that tell nothing apart, worth 1, are left out."""
    log_e, deviating = paths(samples, [provider], provider, 0.0, samples.variants, rng, BLOCK)
    return Streams(log_e[:, :REQUESTS], deviating[:, :REQUESTS])
