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
from statistics import fmean

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.again import goes_elsewhere
from qcheck.evidence.alignment import (
    MISNAMED,
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
from qcheck.stats.fraction import fraction_lower, fraction_upper, requests_to_bound

__all__ = ["MARGIN_NATS", "MARGIN_SHARE", "MARGIN_SOURCE", "MarginEvidence"]

MARGIN_NATS = 0.002
MARGIN_SHARE = 0.25
COARSEST = 0.05  # nats: values rounded to a coarser grid, downwards above all, may differ by more than the margin
BELOW_MARGIN = f"whatever stays within {MARGIN_NATS} nats per token on what both list, as Q8_0 does"
MARGIN_SOURCE = (
    "llama.cpp's published tables put Q8_0 at 0.0004 to 0.0014 and BF16 against FP16 at 0.00003 nats per token; "
    "bf16 against f32 arithmetic moves log-probabilities by 0.018 nats rms, which is 0.0002 nats"
)


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
        reference, everyone = ProbeReference(tuple((peer,) for peer in before)), range(len(before))
        found = [
            goes_elsewhere(first, answer, reference, everyone, deviates=self._differs(answer, before))
            if answer
            else None
        ]
        found += [
            goes_elsewhere(peer, second, ProbeReference(((first,),)), [0], deviates=self._differs(first, [second]))
            if second
            else None
            for peer, second in zip(before, peers, strict=False)
        ]
        self.repeats.settle(probe_id, stood=None if None in found else not any(found), answered=self.answered)

    def _differs(self, candidate: Answer, peers: Sequence[Answer]) -> bool:
        """Whether the nearest of those answers is beyond the margin from the candidate's, as in `update`."""
        everyone = range(len(peers))
        alignment = align(candidate, ProbeReference(tuple((peer,) for peer in peers)), everyone)
        beyond = MARGIN_NATS + self._rounded(candidate, peers)[1] if alignment else 0.0
        return alignment is not None and score(alignment, everyone, [], Yardstick(1.0)).kl > beyond

    def update(self, probe_id: str, candidate: Answer, peers: Sequence[Answer]) -> None:
        """Fold one probe that all have answered."""
        self.answered += 1
        reference, everyone = ProbeReference(tuple((peer,) for peer in peers)), range(len(peers))
        misnamed = names_otherwise(candidate, reference, everyone)
        self._misnamed += misnamed
        otherwise = misnamed or self._names_otherwise
        alignment = None if otherwise else align(candidate, reference, everyone)
        # Positions without a list would leave the others alone in a mean over the answer, and show no agreement.
        gaps = not all(position.top for answer in (candidate, *peers) for position in answer.positions)
        values, logits = self._rounded(candidate, peers)
        self._open = self._open or any(map(leaves_out, peers))
        unseen = gaps or values > COARSEST or not self._open
        if alignment is None or unseen or only_listed(alignment, everyone) or rescaled(alignment, everyone):
            self._unseen += 1
            self._lose(probe_id)
            return
        s = score(alignment, everyone, [], Yardstick(1.0))
        self._kl.append(s.kl)
        beyond = alignment.complete and s.kl > MARGIN_NATS + logits
        self._bets.update([beyond], [MARGIN_SHARE])
        self._bet_on += alignment.complete
        agrees = alignment.full and s.common and s.kl <= MARGIN_NATS
        if beyond:
            self.repeats.keep(probe_id, candidate, peers)
            self.deviating.append(probe_id)
            self._beyond.append(s.kl)
        elif not (agrees and all(decoded_greedily(a, COARSEST) for a in (candidate, *peers))):
            self._unseen += 1

    @staticmethod
    def _rounded(candidate: Answer, peers: Sequence[Answer]) -> tuple[float, float]:
        """The coarsest grid of values, and what rounded logits add to a divergence on average, both in nats.

        Independent errors with a variance of step²/12 in all logits make half of that or less; both sides have them.
        Few answers exceed that average by much, and a quarter may. It widens the margin for accusing alone: whoever
        rounds more must not be agreed with sooner.
        """
        coarsest = max(value_step(answer.positions) for answer in (candidate, *peers))
        own, others = logit_step(candidate.positions), max(logit_step(peer.positions) for peer in peers)
        return coarsest, (own**2 + others**2) / 24

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
        return len(self.deviating) + self._unseen + self._failed, self.answered + self._failed

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
        """Share of answers beyond the margin that the margin does not explain: lower bound, estimate, upper bound."""
        low = fraction_lower(len(self.deviating), self.answered, self._alpha)
        low = max(0.0, (low - MARGIN_SHARE) / (1 - MARGIN_SHARE))
        high = self.bound()
        rate = len(self.deviating) / self.answered if self.answered else 0.0
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
