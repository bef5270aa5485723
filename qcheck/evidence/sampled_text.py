"""Sampled text against recorded next-token distributions, for providers that pin the temperature and give text alone.

A first token drawn at a known temperature is one draw from a distribution that the recorded lists of log-probabilities
state, whatever the temperature they were recorded at. (They must be the model's own, before temperature; that is how
`qcheck baseline record` at temperature 0 finds them everywhere but where a server divides by it.)

Core. Many servers cut a distribution's tail unasked: llama.cpp by min_p 0.05 and top_p 0.95, vLLM and SGLang by what a
model's generation_config.json says, often top_k 20 and top_p 0.8. So only tokens that survive this everywhere are told
apart: the *core*, those that every reference deployment lists, that have `MIN_SHARE` of the likeliest one's
probability, and before which at most `NUCLEUS` of the probability lies. Servers cut token by token, so a text is of the
core only if all its tokens are, but for what the noise unit allows. Within the core, cutting the tail changes no ratio
of probabilities; outside it, it can only make what lies there rarer. So two things are evidence: which text of the core
comes, given that one of it does, and that something else comes more often than the whole tail may. Texts that the
prompt or usual chat templates contain are left out of the core: a repetition penalty, which some configurations have
too, falls on them.

Cells are texts without white space at their ends; tokens that show as the same text share one. Control tokens, white
space and broken characters belong to the rest. An empty text is never evidence for a deviation.

Envelope. In a cell, honest log-probabilities may lie as far from the middle of the recorded ones as the noise factor
times what those do, and the noise unit further: the box of `qcheck.stats.likelihood`. The ratio of a recorded variant's
distribution to the nearest one in the box has mean at most 1 under whatever lies in the box: every recorded honest
deployment, any mixture of them, by the prompt if it likes, and kernels that nobody recorded as far as they do. Nothing
is counted, so nothing is calibrated. For deviations that nobody recorded the same is done with the middle of the
envelope made sharper, flatter, or sent out of the core. A token that is not listed but may show as one of the core's
texts adds to it at most the list's floor, by which the box is wider.

Silence. What an answer shows must not decide whether it counts: one whose text is not known to be one token is folded
as the text that speaks least for each alternative, and never for it.

Assumptions. Draws are independent of those before: a server that draws every answer with one and the same seed is not
what this tests. Top-p is not below 0.7, min-p not above 0.05, and no penalty falls on what was not said before.

Companions. Beside that stands, as findings and never as evidence, whether the core's texts come as often as the middle
of the envelope has them, in two ways. Where each lies in that distribution, from its least likely text on, is uniform
if they do (Zhu et al. 2025, "Auditing black-box LLM APIs with a rank-based uniformity test", with the distribution
itself in the place of samples). And the witness of the maximum mean discrepancy with a Hamming kernel (Gretton et al.
2012, "A kernel two-sample test"; Gao et al. 2024, "Model equality testing") has mean 0: what a drawn text has in that
distribution, less what one drawn from it has on average. The discrepancy itself takes several draws to a prompt, which
no run asks for. Both p-values are of all answers together, and hold for who looks once.

Deviating answers. No single draw proves much. Those that raise the e-value by the factor `RAISES` are counted, so that
no verdict rests on one. Samples never show agreement: what a weak deviation changes lies within the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from math import exp
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from qcheck.baselines import Answer, Baseline, ProbeReference, answer_of, list_floor
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.recorded import RecordedEvidence
from qcheck.evidence.texts import penalised, seen
from qcheck.records import Position, Response, token_bytes
from qcheck.result import Finding
from qcheck.stats.attribution import Attribution
from qcheck.stats.likelihood import LikelihoodBets, contaminated, likelihood_ratios
from qcheck.suites import Suite

__all__ = [
    "MIN_SHARE",
    "NUCLEUS",
    "RAISES",
    "Box",
    "NextText",
    "SampledTextEvidence",
    "Worth",
    "weights",
    "worth",
    "worth_of",
]

Array = NDArray[np.float64]

MIN_SHARE: Final = 0.06  # a little more than what servers cut, as kernels differ at the border
NUCLEUS: Final = 0.65
RAISES: Final = 1.5
SHARES: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)  # lower bounds that the routing fraction may get
RECORDED_WEIGHT: Final = 0.5  # the rest is for what nobody recorded
UNRECORDED: Final = ("sharper", "flatter", "elsewhere")
SHARPER, FLATTER, ELSEWHERE = 2.0, 0.5, 0.5
TINY: Final = 1e-12
MIN_DRAWN: Final = 30  # texts of the core, from which on it is told how they fit
KEPT: Final = 4096  # probes whose worth is remembered: providers are asked the same ones, and folded twice


@dataclass(frozen=True, slots=True)
class NextText:
    """A deployment's next token by the text that it shows, at a temperature of at most 1.

    weights: by text p^(1/T), summed over its tokens. cut: by text the part of it that servers may cut. floor: the most
    that a token which is not listed has. unlisted: the most that all of these have together. hidden: the most that one
    of them may add to a text that is listed.
    """

    weights: Mapping[bytes, float]
    cut: Mapping[bytes, float]
    floor: float
    unlisted: float
    hidden: float

    @classmethod
    def of(
        cls,
        position: Position,
        temperature: float,
        min_share: float = MIN_SHARE,
        nucleus: float = NUCLEUS,
        *,
        by_token: bool = False,
    ) -> Self:
        """The distribution that one position's list states.

        Servers may cut what has less than `min_share` of the likeliest token's probability, and what comes after the
        first `nucleus` of it. by_token: texts are whole tokens, white space and all, which no two tokens share.

        What is listed with a probability of 0, also for want of digits, counts as not listed.
        """
        ranked = sorted(position.top, key=lambda pair: -pair[1])
        ranked = [(key, logprob) for key, logprob in ranked if exp(logprob / temperature) > 0]
        if not ranked:
            return cls({}, {}, 0.0, 1.0, 0.0)
        tokens = [exp(logprob / temperature) for _, logprob in ranked]
        total, before = sum(tokens), 0.0
        by_text: dict[bytes, float] = {}
        cut: dict[bytes, float] = {}
        for (key, _), weight in zip(ranked, tokens, strict=True):
            text = token_bytes(key) if by_token else seen(token_bytes(key).decode("utf-8", "replace"))
            by_text[text] = by_text.get(text, 0.0) + weight
            if weight < min_share * tokens[0] or before > nucleus * total:
                cut[text] = cut.get(text, 0.0) + weight
            before += weight
        listed = sum(exp(logprob) for _, logprob in ranked)
        floor = list_floor(position)
        lowered = exp(floor * (1 / temperature - 1))  # an unlisted p has p^(1/T) ≤ p · floor^(1/T − 1)
        most = exp(floor / temperature)
        return cls(by_text, cut, most, max(0.0, 1 - listed) * lowered, 0.0 if by_token else most)

    def core(self, slack: float) -> frozenset[bytes]:
        """The texts of which no server's cutting of the tail takes away more than a share `slack`."""
        return frozenset(t for t, weight in self.weights.items() if t and self.cut.get(t, 0.0) <= slack * weight)

    def on(self, core: Sequence[bytes]) -> tuple[Array, float]:
        """Shares of the core's texts, given that one of them comes, and what the core has of everything, at least."""
        mine = np.array([self.weights.get(text, self.floor) for text in core])
        inside = float(mine.sum())
        if not inside > 0:
            return np.full(len(core), 1 / len(core)), TINY
        total = max(sum(self.weights.values()) + self.unlisted, inside)
        return mine / inside, min(inside / total, 1 - TINY)


@dataclass(frozen=True, slots=True)
class Box:
    """What the envelope allows on one probe.

    core: the texts told apart. low, high: (texts,) bounds of their shares given the core. inside: the least that the
    core has. centre: (texts,) the middle of the recorded shares.
    """

    core: tuple[bytes, ...]
    low: Array
    high: Array
    inside: float
    centre: Array

    @classmethod
    def of(cls, honest: Sequence[NextText], noise_factor: float, unit: float, said: bytes | None) -> Self | None:
        """The box around the reference deployments' distributions; None where their cores share nothing.

        said: what was said before, on which a penalty may fall; None where none does.
        """
        shared = frozenset.intersection(*(h.core(unit / 2) for h in honest))
        core = sorted(t for t in shared if said is None or not penalised(t, said))
        if not core:
            return None
        on = [h.on(core) for h in honest]
        unlisted = max(h.hidden / sum(h.weights.get(t, h.floor) for t in core) for h in honest)
        middle, half = _widened(np.log([shares for shares, _ in on]), noise_factor, unit)
        inside, slack = _widened(np.log([mass for _, mass in on]), noise_factor, unit)
        if not (np.isfinite(middle).all() and np.isfinite(half).all() and np.isfinite(inside) and np.isfinite(slack)):
            return None
        high = np.minimum(np.exp(middle + half) + unlisted, 1.0) if len(core) > 1 else np.ones(1)
        low = np.exp(middle - half) / (1 + len(core) * unlisted)
        centre = np.exp(middle)
        return cls(tuple(core), low, high, float(np.exp(inside - slack)), centre / centre.sum())

    def ratios(self, shares: ArrayLike, inside: ArrayLike, outside: ArrayLike) -> Array:
        """What each cell is worth, (outside, alternatives, texts + 1): those of the core, and then all else.

        shares: (alternatives, texts) given the core. inside: (alternatives,) what the core has of each. outside:
        shares of requests that, by the null, may come from anything.
        """
        beyond = np.asarray(outside, float)[:, None]
        least = (1 - beyond) * self.inside
        within = beyond / (least + beyond)  # of what comes from the core
        q = np.asarray(inside, float)
        core = likelihood_ratios(shares, *contaminated(self.low, self.high, within[..., None]))
        nearest = np.minimum(np.maximum(q, least), 1 - TINY)
        return np.concatenate([core * (q / nearest)[..., None], ((1 - q) / (1 - nearest))[..., None]], axis=-1)

    def rank(self, cell: int, rng: np.random.Generator) -> float:
        """Where a text of the core lies in the middle distribution, from the least likely one on, in [0, 1]."""
        own, below = self.centre[cell], self.centre < self.centre[cell]
        ties = (self.centre == own).sum()
        return float(self.centre[below].sum() + rng.random() * own * ties)

    def witness(self, cell: int) -> tuple[float, float]:
        """What a text of the core has in the middle distribution beyond a draw's mean there, and a draw's variance."""
        mean = float((self.centre**2).sum())
        return float(self.centre[cell]) - mean, float((self.centre**3).sum()) - mean**2


def _widened(logs: Array, noise_factor: float, unit: float) -> tuple[Array, Array]:
    """The middle of log-probabilities over deployments (the first axis), and how far from it honest ones may lie."""
    high, low = logs.max(axis=0), logs.min(axis=0)
    return (high + low) / 2, noise_factor * (high - low) / 2 + unit


@dataclass(frozen=True, slots=True)
class Worth:
    """What each text is worth on one probe, for every recorded variant and then for `UNRECORDED`.

    box: what is told apart. ratios: (SHARES, alternatives, texts + 1) against that many requests from outside the
    envelope. likelihoods: (alternatives, texts + 1) against the envelope's middle, for naming a cause.
    """

    box: Box
    ratios: Array
    likelihoods: Array

    def cell(self, text: bytes) -> int:
        """The cell that a text falls into."""
        return self.box.core.index(text) if text in self.box.core else len(self.box.core)


@lru_cache(KEPT)
def worth(
    reference: ProbeReference,
    references: tuple[int, ...],
    variants: tuple[int, ...],
    temperature: float,
    noise_factor: float,
    noise_unit: float,
    said: bytes | None,
) -> Worth | None:
    """What each text of a probe's first token is worth; None where the recorded lists tell nothing apart.

    references, variants: deployment indices. noise_unit: nats, of log-probabilities at temperature 1. said: what
    stands before the answer, on which a penalty may fall; None where none does.
    """
    firsts = [repeats[0].positions[:1] for repeats in reference.answers]
    if not all(first and first[0].top for first in firsts):
        return None
    texts = [NextText.of(position, temperature) for (position,) in firsts]
    honest, others = [texts[r] for r in references], [texts[v] for v in variants]
    return worth_of(honest, others, noise_factor, noise_unit / temperature, said)


def worth_of(
    honest: Sequence[NextText],
    others: Sequence[NextText],
    noise_factor: float,
    noise_unit: float,
    said: bytes | None,
    shares_outside: Sequence[float] = SHARES,
) -> Worth | None:
    """What each next text is worth for the `others` and for `UNRECORDED`; None where nothing is told apart.

    noise_unit: nats, of log-probabilities at the temperature of the texts. shares_outside: of the requests that, by
    the null, come from outside the envelope; they take the place of `SHARES`.
    """
    box = Box.of(honest, noise_factor, noise_unit, said)
    if box is None:
        return None
    recorded = [other.on(box.core) for other in others]
    own = np.array([h.on(box.core)[1] for h in honest]).mean()
    tilted = [box.centre**SHARPER, box.centre**FLATTER, box.centre]
    shares = np.array([*(s for s, _ in recorded), *(t / t.sum() for t in tilted)])
    inside = np.array([*(mass for _, mass in recorded), own, own, own * ELSEWHERE])
    likelihoods = np.column_stack([shares / box.centre * (inside / own)[:, None], (1 - inside) / (1 - own)])
    return Worth(box, box.ratios(shares, inside, shares_outside), likelihoods)


def weights(variants: int) -> Array:
    """Of the alternatives of `worth`: half on those that are recorded, if any."""
    recorded = RECORDED_WEIGHT if variants else 0.0
    return np.array([recorded / max(variants, 1)] * variants + [(1 - recorded) / len(UNRECORDED)] * len(UNRECORDED))


class SampledTextEvidence(RecordedEvidence):
    """Folds one provider's texts in plan order. Raises ValueError where no noise of log-probabilities is known."""

    name = "sampled_text"
    outside = "are likelier under a deviation than anywhere in the reference envelope"
    shows_agreement = False

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        table, temperature = baseline.table, suite.manifest.temperature
        if table is None or table.noise_unit is None or temperature is None:
            raise ValueError("sampled text takes a temperature, and a baseline whose log-probabilities are calibrated")
        self._temperature, self._noise = temperature, (table.noise_factor, table.noise_unit)
        self._bets = LikelihoodBets(weights(len(baseline.variants)), len(SHARES))
        self._best = np.zeros(len(SHARES))  # the largest log e-value of each test so far
        self._attribution = Attribution(self._variant_names)
        self._unknown = 0
        self._ranks: list[float] = []
        self._witness = np.zeros(2)  # sums over texts of the core: of the witness, and of its variance
        self._rng = np.random.default_rng(0)  # breaks ties within a text; alike in every replay

    @staticmethod
    def read(response: Response) -> Answer:
        """The text, provided that it is one token, and the first that was drawn."""
        one = response.completion_tokens is not None and response.completion_tokens <= 1 and not response.reasoning
        return answer_of(response, with_text=one)

    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe."""
        self.answered += 1
        if answer.text is None:
            self._silent += 1
            self._lose(probe_id)
            return
        known = self._worth(probe_id)
        if not known:
            self._unknown += 1
            return
        text = seen(answer.text)
        cell, before = known.cell(text), self.log_e
        ratios = known.ratios[:, :, cell]
        self._bets.update(ratios if text else np.minimum(ratios, 1.0))
        self._best = np.maximum(self._best, self._bets.log_e)
        if self.log_e - before >= np.log(RAISES):
            self.deviating.append(probe_id)
        if text:
            by_cause = np.maximum(known.likelihoods[:, cell], TINY)
            named, unnamed = np.split(by_cause, [len(self._variant_names)])
            self._attribution.fold(0.0, np.log([*named, unnamed.mean()]))
            if cell < len(known.box.core) > 1:
                self._ranks.append(known.box.rank(cell, self._rng))
                self._witness += known.box.witness(cell)

    def _worth(self, probe_id: str) -> Worth | None:
        """What each text of a probe is worth; None where nothing is told apart."""
        reference = self._baseline.probe(probe_id)
        references, variants = self._baseline.references, self._baseline.variants
        if reference is None:
            return None
        return worth(reference, references, variants, self._temperature, *self._noise, self._probes[probe_id].said)

    def _lose(self, probe_id: str) -> None:
        if known := self._worth(probe_id):
            self._bets.update(np.minimum(known.ratios.min(axis=2), 1.0))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "inside the envelope"."""
        return float(self._bets.log_e[0])

    def fraction(self) -> tuple[float, float, float]:
        """Routing fraction: the largest of `SHARES` that is too small, the share that was bet on best, and 1.

        The upper bound is no claim: samples never show that nothing deviates.
        """
        rejected = self._best[1:] >= -np.log(self._envelope.alpha - self._envelope.delta)
        low = SHARES[len(list(takewhile(bool, rejected)))]  # in a fixed order, so that no true share is passed over
        return low, max(low, self._bets.epsilon() if self.log_e > 0 else 0.0), 1.0

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates."""
        return self._attribution.posterior()

    def _fit(self) -> tuple[Finding, ...]:
        """How well the texts of the core fit the middle of the envelope, all together."""
        drawn, (beyond, variance) = len(self._ranks), self._witness
        if drawn < MIN_DRAWN:
            return ()
        uniform = stats.cramervonmises(self._ranks, "uniform").pvalue
        alike = 2 * stats.norm.sf(abs(beyond) / np.sqrt(variance)) if variance > 0 else 1.0
        ranks = (
            f"where {drawn} drawn texts lie in the recorded distributions is uniform with p = {uniform:.2g} "
            "(Cramér-von Mises; for who looks once)"
        )
        likelier = (
            f"{drawn} drawn texts have {beyond / drawn:+.2g} more in the recorded distributions than draws from them "
            f"have on average, p = {alike:.2g} (witness of the maximum mean discrepancy with a Hamming kernel; for who "
            "looks once)"
        )
        return Finding("samples_ranks", "info", ranks, None, ()), Finding("samples_witness", "info", likelier, None, ())

    def _findings(self) -> tuple[Finding, ...]:
        counted = self._counted(
            (
                "samples_missing",
                self._silent,
                "answers are not known to be one sampled token (they reason, are longer than what was asked for, or "
                "come without a count of tokens); they never count against the provider",
            ),
            (
                "samples_uninformative",
                self._unknown,
                "answers are to probes on which the recorded deployments tell no texts apart; they count neither for "
                "nor against the provider",
            ),
        )
        return (*counted, *self._fit())
