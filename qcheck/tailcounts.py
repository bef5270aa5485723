"""What calibration answers say about the envelope, as counts: `calibration.json` of a baseline.

Prompts come in strata, sub-populations that are sampled and bounded apart: a null bound holds for the prompts of its
own stratum, so that one which can be calibrated on tens of thousands of prompts is not held back by another.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from qcheck.stats.bets import binomial_lower, binomial_upper

__all__ = ["LOSS", "SIZE", "CalibrationTable", "TailCount", "TailEvent"]

SIZE, LOSS = "size", "loss"


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
    honest: dict[str, NonNegativeInt]
    honest_any: NonNegativeInt
    variant_clusters: PositiveInt
    shown: dict[str, NonNegativeInt]

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        if not max(self.honest.values(), default=0) <= self.honest_any <= self.clusters:
            raise ValueError("honest_any lies between each honest deployment's count and the number of clusters")
        if max(self.shown.values(), default=0) > self.variant_clusters:
            raise ValueError("a variant cannot show an event in more clusters than it was asked")
        return self


class TailEvent(_Strict):
    """`score > threshold`, with its counts by stratum.

    score: "size" (rms deviation in nats), a variant's name (projection on its direction, 1 = the variant itself), or
    "loss" (1 where the answer is wrong and those of all reference deployments are right, else 0).
    """

    score: str
    threshold: float
    counts: Annotated[dict[str, TailCount], Field(min_length=1)]

    def null_bound(self, stratum: str, level: float) -> float:
        """Upper confidence bound, failing with probability at most `level`, of the null probability in a stratum.

        It bounds the probability that *some* honest deployment shows the event on a random probe, hence that of each
        of them, and that of a provider which chooses among them, by the prompt if it likes.
        """
        count = self.counts[stratum]
        return binomial_upper(count.honest_any, count.clusters, level)

    def visibility(self, variant: str, level: float) -> float:
        """Lower confidence bound of the probability that an answer of `variant` shows the event, in any stratum.

        In each stratum the bound fails with probability at most `level`.
        """
        counts = self.counts.values()
        return min(binomial_lower(c.shown.get(variant, 0), c.variant_clusters, level) for c in counts)


class CalibrationTable(_Strict):
    """What the calibration answers say about the envelope and about what can be seen outside it.

    noise_factor: by which honest scores were multiplied before counting; null bounds of a loss, which is 0 or 1 and
    cannot be multiplied, are still to be. noise_rms: largest rms deviation of an honest deployment from the others,
    nats, noise factor applied. envelope_kl, variant_kl: mean KL per position against the nearest reference, nats; the
    envelope's with the noise factor squared. Where no log-probabilities were compared they are None or empty.
    """

    noise_factor: Annotated[float, Field(ge=1)]
    noise_rms: NonNegativeFloat | None
    envelope_kl: NonNegativeFloat | None
    variant_kl: dict[str, NonNegativeFloat]
    events: Annotated[list[TailEvent], Field(min_length=1)]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        first, *others = self.events
        if any(event.counts.keys() != first.counts.keys() for event in others):
            raise ValueError("all events are counted in the same strata")
        counts = [count for event in self.events for count in event.counts.values()]
        if any(set(count.shown) != set(self.variants) for count in counts):
            raise ValueError("all counts are of the same variants")
        if not self.watchable:
            raise ValueError(f"one event at least is of the score {SIZE} or {LOSS}")
        if unknown := {event.score for event in self.events} - {SIZE, LOSS, *self.variants}:
            raise ValueError(f"{min(unknown)} is neither {SIZE}, nor {LOSS}, nor a variant")
        return self

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
        """Indices of the events that may be watched to bound a routing fraction: they show whatever deviates."""
        return tuple(i for i, e in enumerate(self.events) if e.score in (SIZE, LOSS))

    @property
    def bounded(self) -> int:
        """How many quantities may be bounded from the table: the calibration's error is split over them.

        Those are, in every stratum, each event's null probability and each variant's visibility by each watchable one.
        """
        return len(self.clusters) * (len(self.events) + len(self.variants) * len(self.watchable))
