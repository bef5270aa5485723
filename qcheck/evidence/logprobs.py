"""Top-k log-probabilities against a recorded envelope: size and direction of what they deviate by.

An answer without log-probabilities shows nothing, nor does one that lists fewer tokens, or coarser values, than any
view that was calibrated.
"""

from __future__ import annotations

import numpy as np
from scipy import stats as scipy_stats

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.scoring import Alignment, align, score
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.evidence.views import VIEWS, lattice_step, view_beyond
from qcheck.result import Divergence, Finding
from qcheck.stats.attribution import Attribution
from qcheck.suites import Suite
from qcheck.tailcounts import DIRECTION, FULL, SIZE, Score

__all__ = ["LogprobEvidence"]


class LogprobEvidence(TailEvidence):
    """Folds one provider's log-probabilities in plan order. Raises ValueError where no envelope of them is known."""

    name = "logprobs"
    outside = "lie outside the reference envelope"

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        table = baseline.table
        if table is None or table.noise_unit is None or table.noise_rms is None:
            raise ValueError("a baseline whose log-probabilities are not calibrated has no envelope of them")
        self._envelope_kl, self._noise_unit = table.envelope_kl, table.noise_unit
        self._directed = [baseline.variants.index(i) for i in baseline.directed]
        self._attribution = Attribution(self._variant_names, table.noise_rms)
        self._kl: list[float] = []
        self._view, self._coarse = VIEWS[0], 0

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        reference, before = self._baseline.probe(probe_id), self._view
        alignment = self._seen(answer, reference) if reference else None
        if alignment is None:
            return None
        s = score(alignment, self._baseline.references, self._baseline.variants, self._noise_unit)
        self._coarse += self._view.name != FULL
        if self._view.name == FULL:  # what it is compared with was measured in that view
            self._kl.append(s.kl)
            if s.deviations is not None:
                self._attribution.update(s.deviations)
        scores: dict[Score, float] = {SIZE: s.size, DIRECTION: float(s.directions[self._directed].max(initial=0.0))}
        known = self._view is before
        return Shown(scores, self._view.name, full=alignment.full and known, bets=alignment.full and known)

    def _seen(self, answer: Answer, reference: ProbeReference) -> Alignment | None:
        """The answer in the provider's view, which it may make narrower for those to come; None if it fills no view."""
        whole = align(answer, reference, self._baseline.references)
        if whole is None:
            return None
        tokens = None if whole.deep else whole.shortest
        view = view_beyond(self._view, tokens, lattice_step(answer.positions), self._noise_unit)
        if view is None or view.name not in self._envelope.levels:
            return None
        self._view = view
        return align(view.of(answer), reference, self._baseline.references, view.tokens)

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
        return self._counted(
            (
                "logprobs_missing",
                self._silent,
                "answers came without log-probabilities, or with too few or too coarse ones; they count neither for "
                "nor against the provider in the e-value, and against a consistent verdict",
            ),
            (
                "logprobs_short",
                self._short,
                "answers show fewer positions or shorter lists than those before them and the recorded ones; they "
                "count neither for nor against the provider in the e-value, and against a consistent verdict",
            ),
            (
                "logprobs_dim",
                self._dim,
                f"answers show too little of {self.resolution or 'any recorded variant'} to be agreement; they count "
                "against a consistent verdict",
            ),
            (
                "logprobs_coarse",
                self._coarse,
                "answers list fewer tokens than were recorded, or values on a coarse grid; they are compared with what "
                "the reference deployments would have shown that way",
            ),
        )
