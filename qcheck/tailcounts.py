"""What calibration answers say about the envelope, as counts: `calibration.json` of a baseline.

Prompts come in strata, sub-populations that are sampled and bounded apart: a null bound holds for the prompts of its
own stratum, so that one which can be calibrated on tens of thousands of prompts is not held back by another. Answers
are seen in views (`qcheck.evidence.views`): as much as was recorded, or less; each has events of its own.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from qcheck.stats.bets import binomial_lower, binomial_upper

__all__ = [
    "DIRECTION",
    "FLIP",
    "FORMAT",
    "FULL",
    "LOSS",
    "NARROWEST",
    "SIZE",
    "STEADY",
    "CalibrationTable",
    "Score",
    "TailCount",
    "TailEvent",
]

Score = Literal["size", "steady", "direction", "flip", "loss"]
SIZE: Final = "size"
STEADY: Final = "steady"
DIRECTION: Final = "direction"
FLIP: Final = "flip"
LOSS: Final = "loss"
WATCHABLE: Final = (SIZE, FLIP, LOSS)
FORMAT: Final = 3
FULL: Final = "full"  # the view of an answer that shows all that was recorded


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TailCount(_Strict):
    """How often recorded deployments showed one tail event on one stratum's calibration prompts.

    clusters: how many were asked of the honest deployments. honest: in how many of them each showed it, scored
    against all others with the noise factor applied; honest_any: in how many at least one did. variant_clusters: how
    many were asked of the variants; shown: in how many of those every answer of the variant showed it, without the
    noise factor.
    """

    clusters: PositiveInt
    honest: Annotated[dict[str, NonNegativeInt], Field(min_length=1)]
    honest_any: NonNegativeInt
    variant_clusters: PositiveInt
    shown: dict[str, NonNegativeInt]

    @property
    def largest(self) -> int:
        """In how many clusters the honest deployment showed it that showed it most often."""
        return max(self.honest.values())

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if not self.largest <= self.honest_any <= self.clusters:
            raise ValueError("honest_any lies between each honest deployment's count and the number of clusters")
        if max(self.shown.values(), default=0) > self.variant_clusters:
            raise ValueError("a variant cannot show an event in more clusters than it was asked")
        return self


class TailEvent(_Strict):
    """`score > threshold` on answers seen in one view, with its counts by stratum.

    score: "size" (rms deviation from the nearest reference over the probe's noise), "steady" (the smallest that it is
    at one of several positions), "direction" (largest sum of a variant's matched filters), "flip" (margin in nats at
    which the text leaves the greedy paths of all reference deployments), or "loss" (1 where the answer is wrong and
    those of all reference deployments are right, else 0).
    """

    score: Score
    view: str = FULL
    threshold: float
    counts: Annotated[dict[str, TailCount], Field(min_length=1)]

    def null_bound(self, stratum: str, level: float) -> float:
        """Upper confidence bound, failing with probability at most `level`, of the null probability in a stratum.

        That is the largest probability with which one of the honest deployments shows the event on a random probe,
        hence that of a provider which mixes or switches between them without regard to what the prompt says. Bounded is
        the one that shows it most often, whichever it is, so that it costs nothing that there are several.
        """
        count = self.counts[stratum]
        return binomial_upper(count.largest, count.clusters, level)

    def visibility(self, variant: str, level: float) -> float:
        """Lower confidence bound of the probability that an answer of `variant` shows the event, in any stratum.

        In each stratum the bound fails with probability at most `level`.
        """
        counts = self.counts.values()
        return min(binomial_lower(c.shown.get(variant, 0), c.variant_clusters, level) for c in counts)


# Nats of usual noise from which on references make an envelope. On the lab's dense models float16 throughout moves
# log-probabilities by less than 0.003 nats rms, bfloat16 by more than 0.008 (`python -m benchmarks deployments`).
NARROWEST: Final = 0.005


class CalibrationTable(_Strict):
    """What the calibration answers say about the envelope and about what can be seen outside it.

    format: that of the scores; counts of scores that were defined otherwise are not read.
    directed: variants whose directions the events of that score are about; all of them unless stated.
    usual_deviations: by which those near the envelope usually deviate, nats, where their jumps count as noise
    (`qcheck.evidence.scoring`). noise_factor: by which honest scores were multiplied before counting; null bounds of a
    loss, which is 0 or 1 and cannot be multiplied, are still to be. noise_unit: nats that are added to each probe's own
    noise; most: that one position may add to a direction; noise_rms: largest rms deviation of an honest deployment from
    the others, nats, noise factor applied. envelope_kl, variant_kl: mean KL per position against the nearest reference,
    nats; the envelope's with the noise factor squared. Where no log-probabilities were compared they are None or empty.
    """

    format: Literal[3]
    noise_factor: Annotated[float, Field(ge=1)]
    noise_unit: PositiveFloat | None
    most: PositiveFloat | None
    noise_rms: NonNegativeFloat | None
    envelope_kl: NonNegativeFloat | None
    variant_kl: dict[str, NonNegativeFloat]
    events: Annotated[list[TailEvent], Field(min_length=1)]
    directed: list[str] | None = None
    usual_deviations: dict[str, PositiveFloat] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_this_version(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("format") != FORMAT:
            raise ValueError("it counts scores that another version of qcheck defined; record it anew")
        return data

    @model_validator(mode="after")
    def _agree(self) -> Self:
        first, *others = self.events
        if any(event.counts.keys() != first.counts.keys() for event in others):
            raise ValueError("all events are counted in the same strata")
        counts = [count for event in self.events for count in event.counts.values()]
        if any(set(count.shown) != set(self.variants) for count in counts):
            raise ValueError("all counts are of the same variants")
        counted: dict[tuple[str, str, float], dict[str, TailCount]] = {}
        if any(counted.setdefault((e.view, e.score, e.threshold), e.counts) != e.counts for e in self.events):
            raise ValueError("events of one view, score and threshold are one, and have the same counts")
        if any(self.scores(view) != self.scores(FULL) for view in self.views):
            raise ValueError(f"every view has as many events of each score as {FULL} has, in the same order")
        if not set(self.directed or ()) <= set(self.variants):
            raise ValueError("directions are looked for of variants that were counted")
        if not self.usual_deviations.keys() <= set(self.variants if self.directed is None else self.directed):
            raise ValueError("usual deviations are those of variants whose directions are looked for")
        if not self.watchable:
            raise ValueError(f"one event at least is of the score {SIZE}, {FLIP} or {LOSS}")
        return self

    @property
    def is_narrow(self) -> bool:
        """Whether it was made, by an earlier version, of references that differ too little to make an envelope."""
        return self.noise_unit is not None and self.noise_unit < NARROWEST

    @property
    def views(self) -> tuple[str, ...]:
        """The views that answers may be seen in; `FULL` is one of them."""
        return tuple(dict.fromkeys(event.view for event in self.events))

    def seen(self, view: str) -> tuple[TailEvent, ...]:
        """The events of one view."""
        return tuple(event for event in self.events if event.view == view)

    def scores(self, view: str) -> tuple[Score, ...]:
        """The scores of one view's events."""
        return tuple(event.score for event in self.seen(view))

    @property
    def clusters(self) -> dict[str, int]:
        """By stratum, how many clusters the best-counted event rests on."""
        strata = self.events[0].counts
        return {s: max(e.counts[s].clusters for e in self.events) for s in strata}

    @property
    def variants(self) -> tuple[str, ...]:
        """The recorded variants whose answers were counted."""
        return tuple(next(iter(self.events[0].counts.values())).shown)

    @property
    def watchable(self) -> tuple[int, ...]:
        """Which events of a view may be watched to bound a routing fraction: they show whatever deviates."""
        return tuple(i for i, score in enumerate(self.scores(FULL)) if score in WATCHABLE)

    @property
    def null_probabilities(self) -> int:
        """How many null probabilities of one view are bounded from the table: each event's, in every stratum.

        Events of one score and threshold are one. The view with most of them counts.
        """
        return len(self.clusters) * max(len(self._distinct(view)) for view in self.views)

    @property
    def visibilities(self) -> int:
        """How many visibilities of one view are: each variant's, by each watchable event, in every stratum."""
        watchable = max(sum(score in WATCHABLE for score, _ in self._distinct(view)) for view in self.views)
        return len(self.clusters) * len(self.variants) * watchable

    def _distinct(self, view: str) -> set[tuple[Score, float]]:
        return {(event.score, event.threshold) for event in self.seen(view)}
