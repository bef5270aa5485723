"""What a deployment shows to an envelope of others, in streams of requests, by what of its answers is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection.draws import BLOCK, bet_at, blocks, deepest_first
from benchmarks.detection.observed import observe
from benchmarks.detection.pairwise import Pairwise
from qcheck.baselines import Answer, Baseline
from qcheck.evidence.calibration import tail_events
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.greedy import GreedyPath, flip
from qcheck.evidence.leave_one_out import Answers, LeaveOneOut, Scores, yardstick_of
from qcheck.evidence.scoring import NOISE_FACTOR
from qcheck.evidence.views import View
from qcheck.stats.bets import log_e_paths
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import DIRECTION, FLIP, FORMAT, SIZE, STEADY, CalibrationTable, Score
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["REQUESTS", "Case", "Recorded", "Streams", "Tails", "answered", "greedy_text", "log_probabilities"]

Array = NDArray[np.float64]
Recorded = Mapping[str, Sequence[Answer]]  # by probe id, by repeat

REQUESTS = 1000
SELECTION_SHARE = 0.23  # as in the shipped suite


@dataclass(frozen=True, slots=True)
class Case:
    """Who is the provider, and which deployments the baseline lacks, the provider among them."""

    provider: str
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Streams:
    """(streams, requests) after each request: logarithm of the e-value, and how many answers counted as deviating."""

    log_e: Array
    deviating: NDArray[np.intp]

    def alarms(self, rules: Rules) -> int:
        """How many ever raise an alarm."""
        return int(((self.log_e >= rules.log_threshold) & (self.deviating >= MIN_DEVIATING)).any(axis=1).sum())


@dataclass(frozen=True, slots=True)
class Tails:
    """One deployment's tail events beside an envelope that is made anew for every block of streams.

    probes: those that are calibrated on. honest: by view, the reference deployments' scores on them. strata: (asked
    probes,) names. shown: by view's name and kind, (asked probes,) the provider's scores.
    """

    scorer: LeaveOneOut
    probes: Sequence[Probe]
    honest: Mapping[View, Scores]
    strata: NDArray[np.str_]
    shown: Mapping[str, Mapping[Score, Array]]

    def streams(self, envelope: Envelope, view: str, among: NDArray[np.intp], rng: np.random.Generator) -> Streams:
        """A block of streams of `REQUESTS` at most that ask those probes whose indices are `among`."""
        levels = envelope.levels[view]
        bounds = np.array([[level.null_bounds[stratum] for level in levels] for stratum in self.strata])
        turns = deepest_first(self.strata[among], bounds[among])
        (block,) = blocks(turns, 1, 0.0, rng, BLOCK, REQUESTS)
        order = among[block.order]
        hits = np.stack([self.shown[view][level.score] > level.threshold for level in levels], axis=1)[order]
        outlying = (hits & [level.outlying for level in levels]).any(axis=2)
        at = bet_at(envelope, view, self.strata, order, hits)
        path, _ = log_e_paths(hits, at, [level.weight for level in levels])
        return Streams(path, np.cumsum(outlying, axis=1))

    def redrawn(self, rng: np.random.Generator) -> CalibrationTable:
        """The table where other clusters are for choosing thresholds and for counting."""
        rows = pd.DataFrame({p.id: (p.stratum, p.cluster) for p in self.probes}, ["stratum", "cluster"]).T
        chosen = pd.Series(False, rows.index)
        for _, stratum in rows.groupby("stratum"):
            clusters = rng.permutation(stratum.cluster.unique())
            chosen |= rows.cluster.isin(clusters[: round(SELECTION_SHARE * len(clusters))])
        baseline = self.scorer.baseline
        names = baseline.names(baseline.variants)
        # What variants show themselves matters for *consistent* alone.
        unseen = dict.fromkeys(names, pd.DataFrame(0.0, rows.index, [SIZE, STEADY, DIRECTION]))
        folds = rows.index[chosen], rows[~chosen]
        events = (tail_events(self.scorer, view, {**own, **unseen}, *folds) for view, own in self.honest.items())
        unit = self.scorer.yardstick and self.scorer.yardstick.unit
        unknown = None if unit is None else 0.0
        return CalibrationTable(
            format=FORMAT,
            noise_factor=NOISE_FACTOR,
            noise_unit=unit,
            most=self.scorer.yardstick and self.scorer.yardstick.most,
            noise_rms=unknown,
            envelope_kl=unknown,
            variant_kl=dict.fromkeys(names, 0.0) if names else {},
            events=list(chain.from_iterable(events)),
        )


def answered(suite: Suite, answers: Answers) -> list[Probe]:
    """The probes that all have answered."""
    return [p for p in suite.probes if all(p.id in kept for kept in answers.values())]


def log_probabilities(
    others: Baseline, suite: Suite, answers: Answers, honest: Mapping[View, Pairwise], case: Case, own: Recorded
) -> Tails:
    """Scores in all views of `honest`.

    others: the baseline without the absent deployments, with the directed variants. answers: of its deployments to the
    selection and calibration probes, of which `honest` has the scores. own: the provider's to the evaluation probes.
    """
    probes = answered(suite, answers)
    selection = [p.id for p in probes if p.fold == "selection"]
    yardstick = yardstick_of(others, suite, answers, selection, others.variants)
    evaluation, provider = suite.fold("evaluation"), case.provider
    seen = [observe(others, yardstick, evaluation, {provider: own}, view) for view in honest]
    shown = {
        o.view: {kind: np.where(o.full[provider], s, -np.inf) for kind, s in o.scores(provider, o.variants).items()}
        for o in seen
    }
    places = {others.variants.index(v): nats for v, nats in yardstick.usual.items()}
    own_places = replace(yardstick, usual=places)
    scores = {view: pairs.beside(case.absent, own_places.on_grid(view.step)) for view, pairs in honest.items()}
    return Tails(LeaveOneOut(others, suite, yardstick), probes, scores, seen[0].strata, shown)


def greedy_text(others: Baseline, suite: Suite, answers: Answers, own: Recorded, view: View) -> Tails:
    """Where the text that the tokens spell leaves the paths of the references. `others` has no variants."""
    probes, scorer = answered(suite, answers), LeaveOneOut(others, suite, None)
    references = {p: known for p in suite.fold("evaluation") if (known := others.probe(p.id))}
    flips = [
        flip(GreedyPath.of(own[p.id][0]).text, [GreedyPath.of(repeats[0]) for repeats in known.answers])
        for p, known in references.items()
    ]
    honest = {view: scorer(answers, probes, (), view)}
    return Tails(
        scorer, probes, honest, np.array([p.stratum for p in references]), {view.name: {FLIP: np.array(flips)}}
    )
