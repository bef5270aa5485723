"""Greedy text against the recorded greedy paths: where it leaves them, and how sure the reference was there.

A provider that gives text alone still shows where its greedy decoding first differs from a reference's. To follow a
recorded path is to survive, position by position, at margins that the recorded lists state; to leave it at a margin of
m nats takes deviations of about m nats between two log-probabilities. The *flip* score is that margin, which is what
Token-DiFR scores every token by (Karvonen et al. 2025); prompts of small margins are what B3IT calls border inputs
(Chauvin et al. 2026). Beyond the first difference the contexts differ, so that nothing more is looked at.

The smallest score over the reference deployments counts. Adding deployments can only lower it, so the scores of a
deployment left out of the references bound the scores that it has when it stands among them.

What is no difference. Many providers trim a text's white space, and another tokenizer ends a text of so many tokens
elsewhere. So texts are compared without white space at their ends, one that ends within a path has followed it, and
so has one that goes on where the path ends. What a replacement character stands for is unknown: the text ends there.
Some servers decode tokens with `clean_up_tokenization_spaces` of Hugging Face's tokenizers, which takes the space from
before punctuation: a text has left a path only if it has left it so cleaned, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pandas as pd

from qcheck.baselines import Answer, Baseline, list_floor
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.tails import Shown, TailEvidence
from qcheck.evidence.texts import RAW, cleaned, seen
from qcheck.records import Position, token_bytes
from qcheck.result import Finding
from qcheck.stats.attribution import Attribution
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import FLIP

__all__ = ["GreedyEvidence", "GreedyPath", "flip", "flip_scores"]

# For naming a cause: how often a deployment gives the text that was recorded of it, and a deviation that nobody
# recorded that of an honest one. Most of what leaves a path says the runner-up, so that a flip by itself names nobody.
RECURS: Final = 0.98
UNKNOWN_RECURS: Final = 0.5


def _trimmed(beginning: bytes) -> bytes:
    """The beginning of a text without the white space that it begins with."""
    return beginning.decode("utf-8", RAW).lstrip().encode("utf-8", RAW)


def _compatible(one: bytes, other: bytes) -> bool:
    """Whether both could be beginnings of the same text."""
    return one.startswith(other) or other.startswith(one)


@dataclass(frozen=True, slots=True)
class GreedyPath:
    """A greedy answer: what of its text is compared, and its positions with their lists, if it has any."""

    text: bytes
    positions: tuple[Position, ...]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The path of an answer. Its text is the one that it came with, else what its tokens spell."""
        if answer.text is not None:
            return cls(seen(answer.text), answer.positions)
        spelt = b"".join(token_bytes(p.token) for p in answer.positions)
        return cls(seen(spelt.decode("utf-8", "replace")), answer.positions)

    def flip(self, text: bytes) -> float:
        """The margin, in nats, at which `text` leaves this path; 0 where it does not, or where no list says.

        The margin is the log-probability of the path's own token less that of the likeliest listed one with which the
        text could go on. Where none is listed the list's floor stands for it, which is at least as likely.
        """
        if self.may_become(text):
            return 0.0
        return min(self._left(text, _trimmed), self._left(cleaned(text), lambda path: cleaned(_trimmed(path))))

    def _left(self, text: bytes, shown: Callable[[bytes], bytes]) -> float:
        """`flip`, where beginnings of texts look as `shown`."""
        path = b""
        for position in self.positions:
            before, path = path, path + token_bytes(position.token)
            if not _compatible(text, shown(path)):
                leading = (v for key, v in position.top if _compatible(text, shown(before + token_bytes(key))))
                return _margin(position, leading)
        return 0.0

    def may_become(self, text: bytes) -> bool:
        """Whether `text` and this path's could be beginnings of the same text."""
        return _compatible(text, self.text) or _compatible(cleaned(text), cleaned(self.text))

    def followed(self, text: bytes) -> bool:
        """Whether `text` says all that this path does."""
        return text.startswith(self.text) or cleaned(text).startswith(cleaned(self.text))

    @property
    def lead(self) -> float:
        """The margin, in nats, by which the first token was preferred to any that shows as another text."""
        if not self.text or not self.positions:
            return 0.0
        first = self.positions[0]
        own = _trimmed(token_bytes(first.token))
        return _margin(first, (v for key, v in first.top if not _compatible(own, _trimmed(token_bytes(key)))))

    @property
    def least_lead(self) -> float:
        """The smallest margin, in nats, by which a token of the path was preferred to any other; 0 for no path."""
        others = ((p, [v for key, v in p.top if key != p.token]) for p in self.positions)
        return min((_margin(position, rest) for position, rest in others), default=0.0)


def _margin(position: Position, others: Iterable[float]) -> float:
    """By how much the position's own token was preferred to `others` and to what is not listed, nats."""
    own = dict(position.top).get(position.token, position.logprob)
    floor = list_floor(position)
    return 0.0 if own is None or math.isnan(floor) else max(0.0, own - max([floor, *others]))


def flip(text: bytes, references: Sequence[GreedyPath]) -> float:
    """The flip score of a text against honest deployments: its smallest margin over them, nats."""
    return min(path.flip(text) for path in references)


def flip_scores(
    baseline: Baseline, answers: Mapping[int, Mapping[str, Answer]], probes: Sequence[Probe]
) -> dict[str, pd.DataFrame]:
    """Each deployment's flip scores against all the honest ones other than itself.

    answers: by deployment index, by probe id, to all of the probes. By deployment name, a row per probe and the one
    column `FLIP`, in nats.
    """
    rows: dict[int, list[float]] = {index: [] for index in answers}
    for probe in probes:
        paths = {index: GreedyPath.of(kept[probe.id]) for index, kept in answers.items()}
        honest = [paths[r] for r in baseline.references]
        # Most deployments give the same text: each is walked once.
        margins = {text: [path.flip(text) for path in honest] for text in {p.text for p in paths.values()}}
        for index, path in paths.items():
            others = zip(baseline.references, margins[path.text], strict=True)
            rows[index].append(min(margin for r, margin in others if r != index))
    ids, names = [p.id for p in probes], baseline.names(list(answers))
    return {name: pd.DataFrame({FLIP: mine}, ids) for name, mine in zip(names, rows.values(), strict=True)}


class GreedyEvidence(TailEvidence):
    """Folds one provider's texts in plan order."""

    name = "greedy_text"
    outside = "leave the reference's greedy path where it is sure"

    def __init__(self, baseline: Baseline, envelope: Envelope, suite: Suite) -> None:
        super().__init__(baseline, envelope, suite)
        self._attribution = Attribution(self._variant_names)
        self._broken = 0  # texts that do not say that they ended: a filter may have put them there

    def _shown(self, probe_id: str, answer: Answer) -> Shown | None:
        reference = self._baseline.probe(probe_id)
        if reference is None:
            return None
        text = GreedyPath.of(answer).text
        paths = [GreedyPath.of(repeats[0]) for repeats in reference.answers]
        honest = [paths[r] for r in self._baseline.references]
        score = flip(text, honest)
        # A text that ends early, or leaves a path where no list says at what margin, has not been seen to agree.
        agrees = any(path.followed(text) for path in honest)
        broken = bool(text) and not agrees and not answer.whole
        self._broken += broken
        if broken or not (text or agrees):
            return None
        compared = agrees or score > 0
        if compared:
            self._attribute(text, agrees, [paths[v] for v in self._baseline.variants])
        return Shown({FLIP: score}, full=compared, bets=compared)

    def _attribute(self, text: bytes, agrees: bool, variants: Sequence[GreedyPath]) -> None:
        def log_likelihood(expected: bool, recurs: float) -> float:
            return math.log(recurs if expected else 1 - recurs)

        named = [log_likelihood(variant.may_become(text), RECURS) for variant in variants]
        none = log_likelihood(agrees, UNKNOWN_RECURS)
        self._attribution.fold(log_likelihood(agrees, RECURS), np.array([*named, none]))

    def posterior(self) -> dict[str, float]:
        """Probability of each recorded variant and of none of them, given that something deviates."""
        return self._attribution.posterior()

    def _findings(self) -> tuple[Finding, ...]:
        return self._counted(
            (
                "text_missing",
                self._silent - self._broken,
                "answers came without text; they count neither for nor against the provider in the e-value, and "
                "against a consistent verdict",
            ),
            (
                "texts_broken_off",
                self._broken,
                "texts leave the recorded paths and do not say that they ended as answers do; they count against a "
                "consistent verdict, and never for a deviation",
            ),
            (
                "text_short",
                self._short,
                "texts end before the reference's do; they count against a consistent verdict",
            ),
        )
