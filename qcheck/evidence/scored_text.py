"""Sampled text of many tokens, scored token by token by live deployments, where no envelope is recorded.

A live reference that gives log-probabilities of a prompt (`qcheck.client.echo`) says of every token of a provider's
text what might have stood in its place. So may a live *variant*: another deployment of one's own, a quantised one say,
that is looked for. The idea of scoring a provider's text under a trusted reference is Token-DiFR's (Karvonen et al.
2025, "DiFR: Inference Verification Despite Nondeterminism", arXiv 2511.20621); here a request is one e-value instead of
a mean over tokens.

The e-value. Given what was said before it, a token is one draw, which `qcheck.evidence.sampled_text` judges: by the
ratio of an alternative's distribution to the nearest one in a box around the references'. The box depends on what was
said before alone, and whatever distribution of it the token comes from, the ratio has mean at most 1. So, by the tower
rule, has the product over the tokens of a request, however the provider moves inside the box from token to token. The
request stays the unit: the bets of `qcheck.stats.likelihood` are on what share of the requests the alternative answers.

The box. Live references have no calibration. Log-probabilities may lie `MARGIN_NATS` further from the middle of the
references' than `NOISE_FACTOR` times what these do: with one reference the margin is all there is. What deviates less
is not seen, and an honest kernel that differs more than that, all the time and as the alternative does, is outside the
claim: a margin is a convention with a source, no measurement of the model at hand.

Tokens. A provider's text is cut into tokens anew, and what a model draws is not always what its tokenizer makes of the
text. So up to a share `RETOKENISED` of what follows any text may be anything.

Ends. What ended a text before its last token was due (the end of the turn, white space that was trimmed, half of a
character) counts as what of these speaks least for each alternative, and never for one. A text that cannot be scored,
or that a deployment fails to score, loses what was bet on it, so that what an answer says cannot decide whether it
counts. Where a text may well begin with
white space, which many providers trim, nothing is bet.

Assumptions are those of `qcheck.evidence.sampled_text`, with draws independent given what was said before: what a
repetition penalty or a cut tail does is allowed for, one and the same seed for every answer is not. Allowing for them
costs most of what a text shows. Of a server that is known to draw from the whole distribution as it is (`plain`),
tokens down to `PLAIN_SHARE` of the likeliest one's probability are told apart, whatever was said before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qcheck.evidence.recorded import ObservedEvidence
from qcheck.evidence.sampled_text import MIN_SHARE, NUCLEUS, RAISES, UNRECORDED, NextText, Worth, weights, worth_of
from qcheck.evidence.scoring import NOISE_FACTOR
from qcheck.evidence.texts import REPLACEMENT, seen
from qcheck.records import Position, Response, token_bytes
from qcheck.result import Finding
from qcheck.stats.likelihood import LikelihoodBets

__all__ = [
    "MARGIN_NATS",
    "MARGIN_SOURCE",
    "RETOKENISED",
    "Sampling",
    "ScoredTextEvidence",
    "request_ratios",
    "scorable",
    "text_to_score",
    "token_worths",
]

Array = NDArray[np.float64]
Scored = Sequence[Position]  # the tokens of a text, then what comes after it

MARGIN_NATS: Final = 0.04
MARGIN_SOURCE: Final = (
    "a convention: twice the 0.018 nats rms by which bf16 arithmetic moves log-probabilities against f32"
)
PLAIN_SHARE: Final = 0.005  # honest kernels differ by more than the margin on the rarest tokens
RETOKENISED: Final = 0.01  # a convention
MOST_CHARACTERS: Final = 16_384  # of a text
MOST_WORTH: Final = 1e300  # of a text: hundreds of tokens that another model said would be worth more than floats hold
_BROKEN: Final = re.compile(rf"[{REPLACEMENT}\ud800-\udfff]")


def scorable(text: str) -> str:
    """What of a provider's text live deployments are asked to score: all up to a broken character, or half of one."""
    return _BROKEN.split(text, maxsplit=1)[0]


def text_to_score(response: Response) -> str:
    """What of an answer live deployments are asked to score.

    "" of one whose text is not all that was drawn, or is so long that scoring it would cost more than anybody expects,
    or which does not say that it ended as answers do: a filter may have put words into its place.
    """
    more = not response.whole or response.reasoning or response.tool_calls or len(response.text) > MOST_CHARACTERS
    return "" if more else scorable(response.text)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a provider is asked to draw: the temperature, at most 1, and how many tokens.

    plain: whether it is known to cut no tail and to apply no penalties, whatever its own defaults are.
    """

    temperature: float
    max_tokens: int
    plain: bool = False


def token_worths(
    prompt: bytes, references: Sequence[Scored], variants: Sequence[Scored], sampling: Sampling
) -> list[tuple[Worth | None, bytes]] | None:
    """What might have stood at each place of a text, and the text of the token that does; None if it is not scored.

    Places are those of the tokens, and the one after them where the text ended early; in place of a `Worth` stands
    None where nothing is told apart. prompt: what was said before the text. references, variants: the text as each
    deployment scores it.
    """
    tokens = [position.token for position in references[0][:-1]]
    if not tokens or any([p.token for p in scored[:-1]] != tokens for scored in (*references, *variants)):
        return None
    texts = [token_bytes(token) for token in tokens[: sampling.max_tokens]]
    margin, kept = MARGIN_NATS / sampling.temperature, (PLAIN_SHARE, 1.0) if sampling.plain else (MIN_SHARE, NUCLEUS)
    said, found = prompt + b"\n", []
    for place, text in enumerate([*texts, b""][: sampling.max_tokens]):
        honest, others = (
            [NextText.of(scored[place], sampling.temperature, *kept, by_token=True) for scored in deployments]
            for deployments in (references, variants)
        )
        known = worth_of(honest, others, NOISE_FACTOR, margin, None if sampling.plain else said, (RETOKENISED,))
        found.append((known, text))
        said += text
    return found


def request_ratios(
    prompt: bytes, references: Sequence[Scored], variants: Sequence[Scored], sampling: Sampling
) -> Array:
    """(alternatives,) what a request is worth for each variant and then for `UNRECORDED`; 0 where it is not scored.

    Parameters as in `token_worths`.
    """
    alternatives = len(variants) + len(UNRECORDED)
    if any(scored and _begins_with_space(scored[0]) for scored in references):
        return np.ones(alternatives)
    places = token_worths(prompt, references, variants, sampling)
    if places is None:
        return np.zeros(alternatives)
    ratios = np.ones(alternatives)
    for known, text in places:
        if known is None:
            continue
        if text:
            here = known.ratios[0, :, known.cell(text)]
        else:
            core = enumerate(known.box.core)
            ends = [i for i, cell in core if not seen(cell.decode("utf-8", "replace"))]  # what may have ended the text
            here = np.minimum(known.ratios[0][:, [*ends, -1]].min(axis=1), 1.0)
        ratios = np.clip(ratios * here, 1 / MOST_WORTH, MOST_WORTH)
    return ratios


def _begins_with_space(position: Position) -> bool:
    """Whether a token that begins with white space is likely here."""
    least = max(logprob for _, logprob in position.top) + np.log(MIN_SHARE)
    return any(token_bytes(key)[:1].isspace() for key, logprob in position.top if logprob >= least)


class ScoredTextEvidence(ObservedEvidence):
    """Folds one provider's texts in plan order. variants: the names of the live deployments that are looked for."""

    name = "scored_text"
    outside = f"are likelier under a deviation than within {MARGIN_NATS} nats of the live references"
    shows_agreement = False

    def __init__(self, variants: Sequence[str], sampling: Sampling) -> None:
        super().__init__()
        self._variants, self._sampling = tuple(variants), sampling
        self._bets = LikelihoodBets(weights(len(variants)))
        self._unscored = 0

    def update(self, probe_id: str, prompt: bytes, references: Sequence[Scored], variants: Sequence[Scored]) -> None:
        """Fold the text that answers one probe, as the deployments score it."""
        self.answered += 1
        ratios = request_ratios(prompt, references, variants, self._sampling)
        self._unscored += not ratios.any()
        before = self.log_e
        self._bets.update(ratios[None])
        if self.log_e - before >= np.log(RAISES):
            self.deviating.append(probe_id)

    @property
    def mute(self) -> bool:
        """Whether no text so far could be scored."""
        return self._unscored == self.answered

    def _lose(self, probe_id: str) -> None:
        self._bets.update(np.zeros((1, len(self._variants) + len(UNRECORDED))))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value against "within the margin of the live references"."""
        return float(self._bets.log_e[0])

    def fraction(self) -> tuple[float, float, float]:
        """Routing fraction: 0, the share that was bet on best, and 1; the bounds are no claim."""
        return 0.0, self._bets.epsilon() if self.log_e > 0 else 0.0, 1.0

    def blind_to(self, _tolerance: float) -> tuple[str, ...]:
        """All that is looked for: texts never show agreement."""
        return self._variants

    def _findings(self) -> tuple[Finding, ...]:
        unscored = (
            "answers could not be scored token by token, or do not say that they ended as answers do; they never count "
            "against the provider"
        )
        return self._counted(("texts_unscored", self._unscored, unscored))
