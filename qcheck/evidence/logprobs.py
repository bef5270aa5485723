"""Top-k log-probabilities against a recorded envelope: size, steadiness and direction of what they deviate by.

An answer without log-probabilities shows nothing, nor does one that lists fewer tokens, or coarser values, than any
view that was calibrated, whose probabilities were normalised over the tokens that are listed, or which names tokens
otherwise than the recorded ones do; where more than a tenth do, none shows anything. One that took a token which is
not the most probable of its own list may be evidence, but is no agreement.

Some servers list nothing at the token that ends an answer. Such an answer is no evidence: a size is a mean over all of
an answer, and what the last list would have made of it is unknown. It may be agreement: an answer of a recorded variant
is to count against *consistent* at least as often as the calibration saw it show the watched event. So it is asked of
each variant's own answer to the probe whether it shows that event, and shows it without that list too. Where all do
that showed it at all, the list would have told nothing more, and whoever withholds it on purpose gains no agreement;
but one that never lists an end is never found to deviate on answers that end. Lists in which tokens without a text
share one key are no evidence either, as calibration saw none of those.

How many answers are the recorded ones to the last digit, and how the divergence differs between prompts, is told and is
no evidence: honest kernels are systematic, and a cache repeats whatever it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from qcheck.baselines import Answer, Baseline, ProbeReference
from qcheck.evidence.again import goes_elsewhere
from qcheck.evidence.alignment import (
    MISNAMED,
    Alignment,
    align,
    decoded_greedily,
    names_otherwise,
    only_listed,
    rescaled,
    shifted,
)
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.ladder import place
from qcheck.evidence.scoring import Scores, Yardstick, resemblance, score
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.evidence.views import FINE, VIEWS, logit_step, rounding_step, value_step, view_beyond
from qcheck.packing import DIGITS
from qcheck.result import Divergence, Finding
from qcheck.stats.attribution import Attribution, log_likelihoods
from qcheck.suites import Suite
from qcheck.tailcounts import FULL, Score

__all__ = ["LogprobEvidence"]

RUNGS_FROM = 20  # deviating answers that are placed between the variants: more tell little and take time


class LogprobEvidence(TailEvidence):
    """Folds one provider's log-probabilities in plan order. Raises ValueError where no envelope of them is known."""

    name = "logprobs"
    outside = "lie outside the reference envelope"
    asks_again = True

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        table = baseline.table
        if table is None or table.noise_unit is None:
            raise ValueError("a baseline whose log-probabilities are not calibrated has no envelope of them")
        self._envelope_kl, self._yardstick = table.envelope_kl, Yardstick.of(baseline)
        self._attribution = Attribution(self._variant_names)
        self._kl: dict[str, float] = {}
        self._view, self._coarse, self._unended = VIEWS[0], 0, 0
        self._only_listed = self._rescaled = self._drawn = self._misnamed = 0
        self._repeated: Counter[int | None] = Counter()  # answers equal to a deployment's; None: to that of any

    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe."""
        before = len(self.deviating)
        super().update(probe_id, answer)
        if len(self.deviating) > before:
            self.repeats.keep(probe_id, answer)

    def settle_again(self, probe_id: str, answer: Answer | None, _peers: Sequence[Answer | None] = ()) -> None:
        """Fold what came when a probe was asked again."""
        stood = None if answer is None else self._stood(probe_id, answer)
        self.repeats.settle(probe_id, stood=stood, answered=self.answered)

    def _stood(self, probe_id: str, second: Answer) -> bool | None:
        """Whether a deviating answer stands beside a second one to the same probe, in the provider's view."""
        reference, (first, _), view = self._baseline.probe(probe_id), self.repeats.first(probe_id), self._view
        if reference is None:
            return None
        beside, again = (reference, self._baseline.references, view.tokens), view.of(second)
        alignment = align(again, *beside)
        if alignment is None:
            return None
        levels, (_, shown) = self._envelope.levels[view.name], self._scored(second, alignment)
        deviates = any(shown[level.score] > level.threshold for level in levels if level.outlying)
        elsewhere = goes_elsewhere(view.of(first), again, *beside, deviates=deviates, cut_off=view.step > 0)
        return None if elsewhere is None else not elsewhere

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        reference = self._baseline.probe(probe_id)
        if reference is None:
            return None
        misnamed = names_otherwise(answer, reference, self._baseline.references)
        self._misnamed += misnamed
        if misnamed or self._misnamed > MISNAMED * (self.answered + 1):
            return None
        return self._compared(probe_id, answer, reference)

    def _compared(self, probe_id: str, answer: Answer, reference: ProbeReference) -> Shown | None:
        """What an answer shows beside the recorded ones, in the provider's view."""
        before, alignment = self._view, self._seen(answer, reference)
        if alignment is None:
            return None
        alike = [
            i for i in self._baseline.references if any(answer.positions == a.positions for a in reference.answers[i])
        ]
        self._repeated.update([*alike, *([None] if alike else [])])
        s, doubted = self._scored(answer, alignment)
        self._coarse += self._view.name != FULL
        if self._view.name == FULL:  # what it is compared with was measured in that view
            self._kl[probe_id] = s.kl
            own, recorded, positions = resemblance(alignment, self._baseline.references, self._baseline.variants)
            self._attribution.fold(*log_likelihoods(own / s.noise, recorded / s.noise, positions))
        known = self._view is before
        unended = known and alignment.unended and alignment.deep
        agrees = unended and not self._may_hide(reference, len(answer.positions))
        self._unended += agrees
        first = self.mute  # it may choose its view, which its bounds pay for
        full = known and alignment.full
        greedy = decoded_greedily(answer, self._yardstick.unit + self._view.step)
        watched = self._envelope.levels[self._view.name][self._envelope.watched]
        self._drawn += not greedy and (full or agrees) and not s.named[watched.score] > watched.threshold
        return Shown(
            s.named,
            self._view.name,
            full=greedy and (full or agrees),
            bets=(known or first) and alignment.full and not alignment.merged,
            doubted=doubted,
        )

    def _scored(self, answer: Answer, alignment: Alignment) -> tuple[Scores, Mapping[Score, float]]:
        """An answer's scores in the provider's view, and the least that values on a grid may have had before.

        Calibration rounded; values that were cut off, down or towards zero, lie half a step beside those.
        """
        step = value_step(answer.positions) if self._view.step else 0.0
        shifts = (0.0, step / 2, -step / 2) if step else (0.0,)
        beside = self._baseline.references, self._baseline.directed, self._in_view
        scores = [score(shifted(alignment, nats), *beside) for nats in shifts]
        return scores[0], {name: min(s.named[name] for s in scores) for name in scores[0].named}

    @property
    def _in_view(self) -> Yardstick:
        """What deviations are measured by in the provider's view."""
        return self._yardstick.on_grid(self._view.step)

    def _may_hide(self, reference: ProbeReference, positions: int) -> bool:
        """Whether some variant's recorded answer shows the watched event, and its first `positions` alone do not."""
        watched = self._envelope.levels[self._view.name][self._envelope.watched]

        def shows(answer: Answer) -> bool:
            seen = align(self._view.of(answer), reference, self._baseline.references, self._view.tokens)
            if seen is None:
                return False
            return score(seen, self._baseline.references, (), self._in_view).named[watched.score] > watched.threshold

        answers = (reference.answers[v][0] for v in self._baseline.variants)
        return any(shows(a) and not shows(replace(a, positions=a.positions[:positions])) for a in answers)

    def _seen(self, answer: Answer, reference: ProbeReference) -> Alignment | None:
        """The answer in the provider's view, which it may make narrower for those to come; None if it fills no view, or
        was normalised after a cut."""
        whole = align(answer, reference, self._baseline.references)
        if whole is None:
            return None
        if only_listed(whole, self._baseline.references):  # before rounding hides it
            self._only_listed += 1
            return None
        if rescaled(whole, self._baseline.references):
            self._rescaled += 1
            return None
        tokens = None if whole.deep else whole.shortest
        unit = self._yardstick.unit
        step = rounding_step(answer.positions, FINE * unit)
        if (largest := logit_step(answer.positions)) > max(step, FINE * unit):
            # Where a reference's logits lie on a lattice, too, what that does is in the envelope.
            honest = (reference.answers[i][0] for i in self._baseline.references)
            step = step if any(logit_step(a.positions) for a in honest) else largest
        view = view_beyond(self._view, tokens, step, unit)
        if view is None or view.name not in self._envelope.levels:
            return None
        self._view = view
        return align(view.of(answer), reference, self._baseline.references, view.tokens)

    def divergence(self) -> Divergence | None:
        """Mean KL per position with a descriptive 95 % interval (Student's t over requests)."""
        if not self._kl:
            return None
        values = np.array(list(self._kl.values()))
        mean = float(values.mean())
        half = float("inf")
        if len(values) > 1:
            half = float(special.stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
        high = mean + half if np.isfinite(half) else float(values.max())
        return Divergence(mean, max(0.0, mean - half), high, self._envelope_kl)

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates."""
        return self._attribution.posterior()

    def ladder(self) -> str | None:
        """Between which recorded variants the deviating answers lie by their divergence on the same probes."""
        probes = [p for p in self.deviating if p in self._kl][:RUNGS_FROM]
        if not probes:
            return None
        rungs = {name: self._variant_kl(v, probes) for v, name in enumerate(self._variant_names)}
        return place(float(np.mean([self._kl[p] for p in probes])), rungs)

    def _variant_kl(self, variant: int, probes: Sequence[str]) -> float:
        """Mean divergence of a variant's recorded answers to `probes`, measured as a provider's is."""
        index, references = self._baseline.variants[variant], self._baseline.references
        found = []
        for reference in filter(None, map(self._baseline.probe, probes)):
            if alignment := align(reference.answers[index][0], reference, references):
                found.append(score(alignment, references, (), self._yardstick).kl)
        return float(np.mean(found)) if found else 0.0

    def _likeness(self) -> tuple[Finding, ...]:
        """What answers have in common with the recorded ones and with each other."""
        told = []
        if some := self._repeated[None]:
            alike = ((self._repeated[i], self._baseline.names([i])[0]) for i in self._baseline.references)
            each = ", ".join(f"{count} of {name}" for count, name in alike if count)
            text = f"{some} of {self.answered} answers are recorded ones to the last digit (1e-{DIGITS} nats): {each}"
            told.append(Finding("answers_repeated", "info", text, None, ()))
        if len(self._kl) > 1:
            low, middle, high, most = (f"{q:.2g}" for q in np.quantile(list(self._kl.values()), (0.25, 0.5, 0.75, 1)))
            text = (
                f"divergence from the nearest reference differs between prompts: median {middle} nats/token, half of "
                f"the answers from {low} to {high}, at most {most}"
            )
            told.append(Finding("divergence_spread", "info", text, None, ()))
        return tuple(told)

    def _findings(self) -> tuple[Finding, ...]:
        counted = self._counted(
            (
                "logprobs_missing",
                self._silent,
                "answers came without log-probabilities, or with too few or too coarse ones; they count neither for "
                "nor against the provider in the e-value, and against a consistent verdict",
            ),
            (
                "logprobs_only_listed",
                self._only_listed,
                "of these answers' probabilities sum to 1 over the tokens that they list, where the reference's do "
                "not: they are normalised after a cut, and cannot be compared",
            ),
            (
                "logprobs_rescaled",
                self._rescaled,
                "answers list what the reference does, multiplied by a factor: after a temperature, or in another "
                "base; they cannot be compared",
            ),
            (
                "logprobs_misnamed",
                self._misnamed,
                "answers name tokens otherwise than the reference does (by a tokenizer's own signs, without the space "
                "that they begin with, or by numbers) and cannot be compared; where more than a tenth do, none is",
            ),
            (
                "logprobs_drawn",
                self._drawn,
                "answers took a token that is not the most probable of their own lists, and are no agreement: what "
                "greedy decoding would have said after it is not seen",
            ),
            (
                "logprobs_short",
                self._short - self._drawn,
                "answers show fewer positions or shorter lists than those before them and the recorded ones; they "
                "count neither for nor against the provider in the e-value, and against a consistent verdict",
            ),
            (
                "logprobs_unended",
                self._unended,
                "answers list nothing at the token that ended them; they count neither for nor against the provider in "
                "the e-value, and may be agreement, since every recorded variant that is seen there is seen without it",
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
        return (*counted, *self._likeness())
