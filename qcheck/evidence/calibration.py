"""From recorded answers of honest deployments and variants to the table of tail counts.

Every honest deployment is scored against the *others*, as a provider would be; its scores are multiplied by the
noise factor, for kernels that nobody recorded. Thresholds are chosen on the selection fold, tail events counted on
the calibration fold, stratum by stratum, and the evaluation fold, on which providers are judged, is not looked at.
Log-probabilities are counted once for every view in which a provider may show them. Where answers are graded the one
event is a loss, and what the noise factor multiplies is its bound (`envelope`).

A deep calibration adds answers of the honest deployments to further prompts of the suite's strata, tens of thousands
of them: a bound on n answers is never below about 1/n. Directions need the answers of the variants too whose directions
are looked for, which may be some of them: those that hardly differ from the envelope in size. Without them directions
stay with the suite's own folds.

Honest deployments whose log-probabilities hardly differ make no envelope: beside one server that is recorded twice, or
float16 and float32 on one engine, every honest provider that computes in bfloat16 would deviate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from qcheck.baselines import Baseline
from qcheck.errors import BaselineError
from qcheck.evidence.leave_one_out import DISTANCE, KL, Answers, LeaveOneOut, Scores, usual_noise, yardstick_of
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.scoring import EQUAL, NOISE_FACTOR, most_of
from qcheck.evidence.views import View
from qcheck.jsonio import significant
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import (
    DIRECTION,
    FLIP,
    FORMAT,
    LOSS,
    NARROWEST,
    SIZE,
    STEADY,
    CalibrationTable,
    Score,
    TailCount,
    TailEvent,
)

__all__ = ["Block", "calibrate", "deepened", "tail_events"]

# Thresholds: quantiles that honest answers pass now and then, and multiples of their largest score.
QUANTILES: Mapping[Score, tuple[float, ...]] = {
    SIZE: (0.985, 0.998),
    FLIP: (0.985, 0.998),
    STEADY: (0.985,),
    DIRECTION: (0.985, 0.998),
}
MULTIPLES: Mapping[Score, tuple[float, ...]] = {SIZE: (1.0, 1.4), FLIP: (1.0, 1.4), STEADY: (1.0, 1.4, 2.0)}
# The least that thresholds are. Not looked at: an answer that lies within a fraction of the noise, one that no variant
# explains, and a text that leaves a path where rounding in files could have made the difference.
FLOORS: Mapping[Score, tuple[float, ...]] = {
    SIZE: (0.2,) * 2,
    FLIP: (EQUAL,) * 2,
    STEADY: (0.2,),
    DIRECTION: (0.05, 0.5),
}
# The higher ones on direction: more than one of four positions can show, and more than two. Where a 99.8 % quantile is
# no lower, as on grids, even steps to a share of what all positions can show together, which no threshold is above.
AGREED = (1.25, 2.25)
REACHED = 0.9
MIN_CLUSTERS = 100
DIRECTION_REFERENCES = 3  # so that a direction has two references when one honest deployment is left out
LOST = 0.5  # a threshold between the two scores that an answer's loss can have


@dataclass(frozen=True, slots=True)
class Block:
    """Further prompts, of clusters that stand nowhere else, and every honest deployment's answers to them.

    Directions are counted on them too where all the variants that are looked for have answered.
    """

    probes: Sequence[Probe]
    answers: Answers


def calibrate(
    baseline: Baseline,
    suite: Suite,
    on_progress: Callable[[str], None] = lambda _: None,
    further: Iterable[Block] = (),
    directed: Sequence[str] | None = None,
) -> CalibrationTable | None:
    """The table for a baseline whose calibration answers are at hand; None with fewer than two honest deployments.

    `further` blocks are taken one at a time, so that they need not all be in memory. directed: variants whose
    directions are looked for; all of them unless given.

    Raises BaselineError where calibration answers are missing or too few, where the honest deployments hardly differ,
    or a block's clusters are not new.
    """
    if len(baseline.references) < 2:
        return None
    answers = _calibration_answers(baseline)
    chosen, counted = _folds(suite, answers)
    asked = [p for p in suite.probes if p.id in chosen or p.id in counted.index]
    named = zip(baseline.variants, baseline.names(baseline.variants), strict=True)
    looked_for = [index for index, name in named if directed is None or name in directed]
    lists = evidence_of(suite) is LogprobEvidence
    yardstick = yardstick_of(baseline, suite, answers, list(chosen), looked_for) if lists else None
    noise = yardstick.unit if yardstick else usual_noise(baseline, answers, chosen)
    if noise is not None and noise < NARROWEST:
        raise BaselineError(
            f"{', '.join(baseline.names(baseline.references))} differ by {noise:.2g} nats rms on a usual prompt, and "
            f"an envelope takes {NARROWEST}: beside one server recorded twice, or float16 beside float32, every honest "
            "provider that computes in bfloat16 would deviate, and short or coarse lists cannot tell; record one that "
            "computes in bfloat16."
        )
    scorer = LeaveOneOut(baseline, suite, yardstick)
    events: list[TailEvent] = []
    full: Scores = {}
    for view in scorer.views:
        on_progress(f"scoring {len(answers)} deployments, view {view.name}")
        scores = scorer(answers, asked, looked_for, view)
        full = full or scores
        events += tail_events(scorer, view, scores, chosen, counted)
    for number, block in enumerate(_new(further, suite), 1):
        on_progress(f"counting block {number}: {len(block.probes)} further prompts")
        events = deepened(events, scorer, block, looked_for)
    if yardstick is None:
        return CalibrationTable(
            format=FORMAT,
            noise_factor=NOISE_FACTOR,
            noise_unit=None,
            most=None,
            noise_rms=None,
            envelope_kl=None,
            variant_kl={},
            events=events,
        )
    kl = {name: float(frame.loc[counted.index, KL].mean()) for name, frame in full.items()}
    rms = {name: float(np.sqrt((frame.loc[counted.index, DISTANCE] ** 2).mean())) for name, frame in full.items()}
    honest, variants = baseline.names(baseline.references), baseline.names(baseline.variants)
    return CalibrationTable(
        format=FORMAT,
        noise_factor=NOISE_FACTOR,
        noise_unit=yardstick.unit,
        most=yardstick.most,
        noise_rms=significant(NOISE_FACTOR * max(rms[name] for name in honest)),
        envelope_kl=significant(NOISE_FACTOR**2 * max(kl[name] for name in honest)),
        variant_kl={name: significant(kl[name]) for name in variants},
        events=events,
        directed=None if directed is None else list(directed),
        usual_deviations=dict(zip(baseline.names(list(yardstick.usual)), yardstick.usual.values(), strict=True)),
    )


def _new(further: Iterable[Block], suite: Suite) -> Iterator[Block]:
    """The blocks, each once its clusters are known to stand neither in the suite nor in an earlier one."""
    seen = {p.cluster for p in suite.probes}
    for number, block in enumerate(further, 1):
        clusters = {p.cluster for p in block.probes}
        if repeated := seen & clusters:
            raise BaselineError(
                f"block {number} of further prompts repeats {len(repeated)} clusters of the suite or an earlier block, "
                f"{min(repeated)} among them; a cluster counts once: leave those prompts out."
            )
        seen |= clusters
        yield block


def _folds(suite: Suite, answers: Answers) -> tuple[pd.Index[str], pd.DataFrame]:
    """Of the probes that all have answered those that thresholds are chosen on, and stratum and cluster of the counted.

    Raises BaselineError where there are too few for a stratum that providers are asked in.
    """
    columns = ["fold", "stratum", "cluster"]
    answered = [p for p in suite.probes if all(p.id in kept for kept in answers.values())]
    probes = pd.DataFrame({p.id: (p.fold, p.stratum, p.cluster) for p in answered}, columns).T
    chosen, counted = probes.index[probes.fold == "selection"], probes[probes.fold == "calibration"]
    totals = counted.groupby("stratum").cluster.nunique()
    fewest, stratum = min((int(totals.get(s, 0)), s) for s in {p.stratum for p in suite.fold("evaluation")})
    if fewest < MIN_CLUSTERS:
        raise BaselineError(
            f"only {fewest} calibration clusters of the stratum {stratum} have answers from every deployment; at least "
            f"{MIN_CLUSTERS} are needed to bound anything: record the missing ones, or give the suite more."
        )
    if chosen.empty:
        raise BaselineError("no selection probe has answers from every deployment; record the missing ones.")
    return chosen, counted


def _calibration_answers(baseline: Baseline) -> Answers:
    answers = {}
    for index in (*baseline.references, *baseline.variants):
        kept = baseline.calibration_answers(index)
        if kept is None:
            name = baseline.manifest.deployments[index].name
            raise BaselineError(f"the calibration answers of {name} are not in {baseline.folder}; record it again.")
        answers[index] = kept
    return answers


def tail_events(
    scorer: LeaveOneOut, view: View, scores: Scores, chosen: pd.Index[str], counted: pd.DataFrame
) -> list[TailEvent]:
    """One view's events, their thresholds chosen on some probes and counted on others.

    chosen: ids. counted: by id, the columns stratum and cluster.
    """
    honest = {n: scores[n] for n in scorer.baseline.names(scorer.baseline.references)}
    variants = {n: scores[n] for n in scorer.baseline.names(scorer.baseline.variants)}
    directed = scorer.yardstick is not None and variants and len(honest) >= DIRECTION_REFERENCES
    kinds: list[Score] = [scorer.watched]
    tokens = scorer.suite.manifest.max_tokens
    if scorer.yardstick is not None and tokens > 1:
        kinds.append(STEADY)
    if directed:
        kinds.append(DIRECTION)
    return [
        TailEvent(
            score=kind,
            view=view.name,
            threshold=threshold,
            counts=_counts(kind, threshold, counted, honest, variants),
        )
        for kind in kinds
        for threshold in _thresholds(kind, [frame.loc[chosen, kind] for frame in honest.values()], tokens)
    ]


def _thresholds(kind: Score, honest: Sequence[pd.Series[float]], tokens: int) -> list[float]:
    """Rising thresholds from the honest deployments' scores of one kind on the selection fold; one for losses.

    tokens: that answers have at most.
    """
    if kind == LOSS:
        return [LOST]
    usual = [max(float(values.quantile(q)) for values in honest) for q in QUANTILES[kind]]
    lower = [max(value, floor) for value, floor in zip(usual, FLOORS[kind], strict=True)]
    if kind == DIRECTION:
        most, last = REACHED * tokens * most_of(tokens), lower[-1]
        higher = AGREED if last < AGREED[0] else ((last + most) / 2, most)
        return [significant(min(value, most)) for value in (*lower, *higher)]
    largest = max(lower[0], *(float(values.max()) for values in honest))
    if kind == FLIP and largest == FLOORS[FLIP][0]:  # nobody flips: these events coincide, and are paid for once
        return [largest] * len((*lower, *MULTIPLES[kind]))
    return [significant(value) for value in (*lower, *(m * largest for m in MULTIPLES[kind]))]


def _counts(
    kind: Score, threshold: float, probes: pd.DataFrame, honest: Scores, variants: Scores
) -> dict[str, TailCount]:
    """The counts of `score > threshold` by stratum. A cluster shows it if any honest answer or all of a variant do."""
    over = pd.DataFrame({n: frame.loc[probes.index, kind] > threshold for n, frame in {**honest, **variants}.items()})
    counts = {}
    for stratum, rows in over.groupby(probes.stratum):
        grouped = rows.groupby(probes.cluster[rows.index])
        some, every = grouped[list(honest)].any(), grouped[list(variants)].all()
        counts[str(stratum)] = TailCount(
            clusters=len(some),
            honest={str(n): int(c) for n, c in some.sum().items()},
            honest_any=int(some.any(axis=1).sum()),
            variant_clusters=len(some),
            shown={str(n): int(c) for n, c in every.sum().items()},
        )
    return counts


def deepened(
    events: Sequence[TailEvent], scorer: LeaveOneOut, block: Block, looked_for: Sequence[int]
) -> list[TailEvent]:
    """The events with the block's honest answers counted too, as far as it has answers.

    The block's clusters must be new to the events. looked_for: indices of the variants whose directions are looked for.
    Raises BaselineError where a prompt is of a stratum that the events do not know.
    """
    answered = [p for p in block.probes if all(p.id in kept for kept in block.answers.values())]
    probes = pd.DataFrame({p.id: (p.stratum, p.cluster) for p in answered}, ["stratum", "cluster"]).T
    if unknown := set(probes.stratum) - events[0].counts.keys():
        raise BaselineError(f"further prompts are of the stratum {min(unknown)}, which the suite has not.")
    references, directed = scorer.baseline.references, set(looked_for) <= block.answers.keys()
    honest = {
        view.name: scorer(block.answers, answered, looked_for if directed else (), view, references)
        for view in scorer.views
    }

    def with_more(event: TailEvent) -> TailEvent:
        counts = dict(event.counts)
        for stratum, added in _counts(event.score, event.threshold, probes, honest[event.view], {}).items():
            old = counts[stratum]
            counts[stratum] = old.model_copy(
                update={
                    "clusters": old.clusters + added.clusters,
                    "honest": {n: c + added.honest[n] for n, c in old.honest.items()},
                    "honest_any": old.honest_any + added.honest_any,
                }
            )
        return event.model_copy(update={"counts": counts})

    return [with_more(e) if directed or e.score != DIRECTION else e for e in events]
