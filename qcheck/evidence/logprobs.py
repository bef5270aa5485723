"""Top-k log-probabilities against a recorded envelope: size and direction of what they deviate by.

An answer without log-probabilities shows nothing, and one that lists fewer tokens or positions than were recorded
shows less than the calibration measured.
"""

from __future__ import annotations

import numpy as np
from scipy import stats as scipy_stats

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.scoring import align, score
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.result import Divergence, Finding
from qcheck.stats.attribution import Attribution
from qcheck.suites import Suite
from qcheck.tailcounts import SIZE

__all__ = ["LogprobEvidence"]


class LogprobEvidence(TailEvidence):
    """Folds one provider's log-probabilities in plan order. Raises ValueError where no envelope of them is known."""

    name = "logprobs"
    outside = "lie outside the reference envelope"

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        table = baseline.table
        if table is None or table.noise_rms is None:
            raise ValueError("a baseline whose log-probabilities are not calibrated has no envelope of them")
        self._envelope_kl = table.envelope_kl
        self._attribution = Attribution(self._variant_names, table.noise_rms)
        self._kl: list[float] = []

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        reference = self._baseline.probe(probe_id)
        alignment = align(answer, reference, self._baseline.references) if reference else None
        if alignment is None:
            return None
        s = score(alignment, self._baseline.references, self._baseline.variants)
        self._kl.append(s.kl)
        if s.deviations is not None:
            self._attribution.update(s.deviations)
        directions = dict(zip(self._variant_names, s.directions.tolist(), strict=True))
        return Shown({SIZE: s.size, **directions}, alignment.full)

    def divergence(self) -> Divergence | None:
        """Mean KL per position with a descriptive 95 % interval (Student's t over requests)."""
        if not self._kl:
            return None
        values = np.asarray(self._kl)
        mean = float(values.mean())
        half = float("inf")
        if len(values) > 1:
            half = float(scipy_stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        high = mean + half if np.isfinite(half) else float(values.max())
        return Divergence(mean, max(0.0, mean - half), high, self._envelope_kl)

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates."""
        return self._attribution.posterior()

    def _findings(self) -> tuple[Finding, ...]:
        found = []
        if self._silent:
            text = (
                f"{self._silent} of {self.answered} answers came without log-probabilities; they count neither for nor "
                "against the provider in the e-value, and against a consistent verdict"
            )
            found.append(Finding("logprobs_missing", "info", text, None, ()))
        if self._short:
            text = (
                f"{self._short} of {self.answered} answers list fewer tokens or positions than were recorded; what "
                "they hide is unknown, so they count against a consistent verdict"
            )
            found.append(Finding("logprobs_short", "info", text, None, ()))
        return tuple(found)
