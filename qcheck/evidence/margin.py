"""Two endpoints, or one endpoint and recordings that make no envelope.

Without an envelope, engine differences cannot be told from deviations, so a documented margin takes its place: honest
deployments of one model differ by more than `MARGIN_NATS` per token on at most `MARGIN_SHARE` of the answers. Only
what exceeds that counts as a difference.

References whose lists have summed to 1 from the first answer on may normalise them after a cut, as some servers do:
nothing is seen beside them. An answer is agreement only if it, and those beside it, took the token that their own lists
put first: what comes after another one is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.again import goes_elsewhere
from qcheck.evidence.alignment import (
    MISNAMED,
    Alignment,
    align,
    decoded_greedily,
    leaves_out,
    names_otherwise,
    only_listed,
    rescaled,
)
from qcheck.evidence.ladder import place
from qcheck.evidence.recorded import ObservedEvidence
from qcheck.evidence.scoring import Yardstick, score
from qcheck.evidence.views import logit_step, value_step
from qcheck.result import Divergence, Finding
from qcheck.stats.bets import TailBets
from qcheck.stats.deviation import by_position, least_kl
from qcheck.stats.fraction import fraction_lower, fraction_upper, requests_to_bound

__all__ = ["MARGIN_NATS", "MARGIN_SHARE", "MARGIN_SOURCE", "MarginEvidence"]

MARGIN_NATS = 0.002
MARGIN_SHARE = 0.25
COARSEST = 0.05  # nats: values on a coarser grid show too little
BELOW_MARGIN = f"whatever stays within {MARGIN_NATS} nats per token on what both list, as Q8_0 does"
MARGIN_SOURCE = (
    "llama.cpp's published tables put Q8_0 at 0.0004 to 0.0014 and BF16 against FP16 at 0.00003 nats per token; "
    "bf16 against f32 arithmetic moves log-probabilities by 0.018 nats rms, which is 0.0002 nats"
)


@dataclass(frozen=True, slots=True)
class _Compared:
    """An answer beside its peers': mean KL per position, nats; whether it shows all of them, lies beyond the margin,
    and is agreement."""

    kl: float
    complete: bool
    beyond: bool
    agrees: bool


class MarginEvidence(ObservedEvidence):
    """Folds answers to the same probe; `update` takes the candidate's and those of its peers, of which the nearest
    counts.

    Bounds hold at level `alpha`.
    """

    name = "logprobs"
    outside = f"differ by more than {MARGIN_NATS} nats per token"
    asks_again = True

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha
        self._bets = TailBets([1.0])
        self._kl: list[float] = []
        self._beyond: list[float] = []  # of these, the ones beyond the margin
        self._unseen = self._bet_on = self._misnamed = 0
        self._open = False  # whether a reference was ever seen to leave something out of its lists

    def settle_again(self, probe_id: str, answer: Answer | None, peers: Sequence[Answer | None] = ()) -> None:
        """Fold what came when a probe was asked again, of a live reference, too: its answers may be noised as well."""
        first, before = self.repeats.first(probe_id)
        found = [self._elsewhere(first, answer, before, self._compared(answer, before) if answer else None)]
        found += [
            self._elsewhere(peer, second, [first], self._compared(first, [second]) if second else None)
            for peer, second in zip(before, peers, strict=False)
        ]
        self.repeats.settle(probe_id, stood=None if None in found else not any(found), answered=self.answered)

    @staticmethod
    def _elsewhere(
        first: Answer, second: Answer | None, beside: Sequence[Answer], seen: _Compared | None
    ) -> bool | None:
        """Whether a second answer goes elsewhere than the first beside those; None where nothing is seen of that."""
        if second is None or seen is None:
            return None
        reference = ProbeReference(tuple((one,) for one in beside))
        return goes_elsewhere(first, second, reference, range(len(beside)), deviates=seen.beyond)

    def update(self, probe_id: str, candidate: Answer, peers: Sequence[Answer]) -> None:
        """Fold one probe that all have answered."""
        self.answered += 1
        misnamed = names_otherwise(candidate, ProbeReference(tuple((peer,) for peer in peers)), range(len(peers)))
        self._misnamed += misnamed
        self._open = self._open or any(map(leaves_out, peers))
        seen = None if misnamed or self._names_otherwise else self._compared(candidate, peers)
        if seen is None:
            self._unseen += 1
            self._lose(probe_id)
            return
        self._kl.append(seen.kl)
        self._bets.update([seen.beyond], [MARGIN_SHARE])
        self._bet_on += seen.complete
        if seen.beyond:
            self.repeats.keep(probe_id, candidate, peers)
            self.deviating.append(probe_id)
            self._beyond.append(seen.kl)
        elif not seen.agrees:
            self._unseen += 1

    def _compared(self, candidate: Answer, peers: Sequence[Answer]) -> _Compared | None:
        """An answer beside the nearest of its peers'; None where they cannot be compared.

        Where values were rounded, only what that cannot have made is beyond the margin. Rounded logits widen it by what
        independent errors with a variance of step²/12 in all of them, on both sides, make on average at most: few
        answers exceed that by much, and a quarter may. Both hold for accusing alone: whoever rounds more must not be
        agreed with sooner.
        """
        everyone, answers = range(len(peers)), (candidate, *peers)
        alignment = align(candidate, ProbeReference(tuple((peer,) for peer in peers)), everyone)
        # Positions without a list would leave the others alone in a mean over the answer, and show no agreement.
        gaps = not all(position.top for answer in answers for position in answer.positions)
        if alignment is None or gaps or not self._open:
            return None
        own, *others = (value_step(answer.positions) for answer in answers)
        if max(own, *others) > COARSEST or only_listed(alignment, everyone) or rescaled(alignment, everyone):
            return None
        s = score(alignment, everyone, [], Yardstick(1.0))
        lattice, *lattices = (logit_step(answer.positions) for answer in answers)
        margin = MARGIN_NATS + (lattice**2 + max(lattices) ** 2) / 24
        beyond = alignment.complete and s.kl > margin and _least(alignment, own + max(others)) > margin
        greedy = all(decoded_greedily(answer, COARSEST) for answer in answers)
        agrees = alignment.full and s.common and s.kl <= MARGIN_NATS and greedy
        return _Compared(s.kl, alignment.complete, beyond, agrees)

    def _lose(self, probe_id: str) -> None:
        self._bets.update([False], [MARGIN_SHARE])

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "at most MARGIN_SHARE of the answers exceed the margin"."""
        return self._bets.log_e

    @property
    def mute(self) -> bool:
        """Whether no answer so far could be evidence, or none of those to come."""
        return not self._bet_on or self._names_otherwise

    @property
    def _names_otherwise(self) -> bool:
        return self._misnamed > MISNAMED * self.answered

    def _findings(self) -> tuple[Finding, ...]:
        return self._counted(
            (
                "logprobs_misnamed",
                self._misnamed,
                "answers name tokens otherwise than the reference does and cannot be compared; where more than a tenth "
                "do, none is",
            ),
        )

    def _against(self) -> tuple[int, int]:
        """Requests that count against agreement (beyond the margin, unseen or failed), and all requests."""
        return len(self.deviating) + self._unseen + self._failed, self.requests

    def bound(self) -> float:
        """Upper bound of the share of requests beyond the margin; unseen and failed ones count as beyond."""
        return fraction_upper(*self._against(), self._alpha)

    def needed(self, tolerance: float) -> int | None:
        """How many more requests, none of them beyond the margin, bring `bound` down to the tolerance."""
        return requests_to_bound(*self._against(), tolerance, self._alpha)

    def blind_to(self, _tolerance: float) -> tuple[str, ...]:
        """What would have gone unseen."""
        return (BELOW_MARGIN,)

    def fraction(self) -> tuple[float, float, float]:
        """Share of requests beyond the margin that the margin does not explain: lower bound, estimate, upper bound."""
        # Of all requests, as which of them fail may depend on what would have been answered.
        low = fraction_lower(len(self.deviating), self.requests, self._alpha)
        low = max(0.0, (low - MARGIN_SHARE) / (1 - MARGIN_SHARE))
        high = self.bound()
        rate = len(self.deviating) / self.requests if self.requests else 0.0
        return low, min(max(rate, low), max(high, low)), max(high, low)

    def ladder(self) -> str | None:
        """Where the deviating answers lie among published formats."""
        return place(fmean(self._beyond), {}) if self._beyond else None

    def divergence(self) -> Divergence | None:
        """Mean KL per position; no envelope is known."""
        if not self._kl:
            return None
        n, mean = len(self._kl), sum(self._kl) / len(self._kl)
        deviation = math.sqrt(sum((k - mean) ** 2 for k in self._kl) / max(n - 1, 1))
        half = 1.96 * deviation / math.sqrt(n)
        return Divergence(mean, max(0.0, mean - half), mean + half, None)


def _least(alignment: Alignment, within: float) -> float:
    """The least mean KL per position from any of the peers, nats, that values which were moved by up to `within` nats
    leave possible."""
    kl = least_kl(alignment.recorded, alignment.candidate, alignment.positions, within)
    there = by_position((~np.isnan(alignment.recorded_floor)).astype(float), alignment.positions) > 0
    means = np.where(there, kl, 0.0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return float(means[there.any(axis=1)].min())
