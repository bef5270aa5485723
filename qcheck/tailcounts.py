"""What calibration answers say about the envelope, as counts: `calibration.json` of a baseline.

Prompts come in strata, sub-populations that are sampled and bounded apart: a null bound holds for the prompts of its
own stratum, so that one which can be calibrated on tens of thousands of prompts is not held back by another.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from qcheck.stats.bets import binomial_lower, binomial_upper

__all__ = ["LOSS", "SIZE", "CalibrationTable", "TailCount", "TailEvent"]

SIZE, LOSS = "size", "loss"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TailCount(_Strict):
    """How often recorded deployments showed one tail event on one stratum's calibration prompts.

    clusters: how many were asked of the honest deployments. honest: in how many of them each showed it, scored
    against all others with the noise factor applied; honest_any: in how many at least one did. variant_clusters: how
    many were asked of the variants; shown: in how many of those every answer of the variant showed it, without the
    noise factor.
    """

    clusters: int
    honest: dict[str, int]
    honest_any: int
    variant_clusters: int
    shown: dict[str, int]


class TailEvent(_Strict):
    """`score > threshold`, with its counts by stratum.

    score: "size" (rms deviation in nats), a variant's name (projection on its direction, 1 = the variant itself), or
    "loss" (1 where the answer is wrong and those of all reference deployments are right, else 0).
    """

    score: str
    threshold: float
    counts: dict[str, TailCount]

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

    noise_factor: float
    noise_rms: float | None
    envelope_kl: float | None
    variant_kl: dict[str, float]
    events: list[TailEvent]

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
