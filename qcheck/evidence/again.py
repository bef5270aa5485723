"""Whether a deviating answer stands when its prompt is asked once more.

Weights deviate the same way every time, and a provider that mixes deployments answers the next time like the reference,
mostly. Noise does neither: what was added to log-probabilities, against those who would steal a model, or comes of
kernels that depend on what else a machine has to do, lies as far from the reference again and in another direction.
So before *deviates* is said of log-probabilities, the prompt of an answer that deviates is asked again, and that of
another one where the two go different ways, until one stands. It is no evidence, and adds none: it may only take back.

On a provider that mixes something hardly visible with honest answers that differ as much from the reference it takes
several prompts, and may take back what is true. Whoever repeats its answers from a cache repeats its noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.alignment import align
from qcheck.evidence.scoring import distances_from
from qcheck.result import Finding

__all__ = ["Repeats", "goes_elsewhere"]

# Conventions, chosen on noised answers of lab-tiny.
MOST = 8  # prompts asked again until one stands
AS_FAR = 0.5  # of the first answer's distance from the reference, from which on the second one lies as far
SAME_WAY = 0.7  # cosine, from which on two deviations are the same: with noise of up to two thirds of what they share


class Repeats:
    """The deviating answers of one provider, and what became of those that were asked for again."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[Answer, tuple[Answer, ...]]] = {}
        self._stood: dict[str, bool | None] = {}

    def keep(self, probe_id: str, answer: Answer, peers: Sequence[Answer] = ()) -> None:
        """Keep an answer that deviates, and those that it was compared with, where they are not in a baseline."""
        self._first.setdefault(probe_id, (answer, tuple(peers)))

    def settle(self, probe_id: str, *, stood: bool | None) -> None:
        """Count one that was asked for again; None where nothing came that could be compared."""
        self._stood[probe_id] = stood

    def first(self, probe_id: str) -> tuple[Answer, tuple[Answer, ...]]:
        """The answer that deviates, and those that it was compared with."""
        return self._first[probe_id]

    @property
    def due(self) -> tuple[str, ...]:
        """The probes that may be asked again, the best first; none where one answer stands, or too many do not."""
        return () if self.stands is not None else tuple(p for p in reversed(self._first) if p not in self._stood)

    @property
    def stands(self) -> bool | None:
        """Whether a deviating answer stands; None where that is not known yet."""
        if any(self._stood.values()):
            return True
        return False if len(self._stood) >= MOST else None

    def findings(self) -> tuple[Finding, ...]:
        """What became of them; nothing where none was asked again."""
        if not self._stood:
            return ()
        outcomes = list(self._stood.values())
        text = (
            f"prompts of deviating answers that were asked again: {len(outcomes)}; answered the same way, or as the "
            f"reference does: {outcomes.count(True)}, as far off but otherwise, as noise does: "
            f"{outcomes.count(False)}, with nothing that can be compared: {outcomes.count(None)}"
        )
        return (Finding("asked_again", "info" if self.stands else "warning", text, None, tuple(self._stood)),)


def goes_elsewhere(
    first: Answer, second: Answer, reference: ProbeReference, references: Sequence[int], tokens: int | None = None
) -> bool | None:
    """Whether two answers to one prompt lie about as far from the nearest of the references, in different directions.

    tokens: how many of all lists count, all unless given. None where there is nothing to compare.
    """
    if tokens is not None:
        first, second = _shorter(first, tokens), _shorter(second, tokens)
        reference = ProbeReference(tuple((_shorter(repeats[0], tokens),) for repeats in reference.answers))
    one, two = (_distance(answer, reference, references) for answer in (first, second))
    apart = _distance(second, ProbeReference(((first,),)), [0])
    if one is None or two is None or apart is None:
        return None
    return two >= AS_FAR * one and one**2 + two**2 - apart**2 < 2 * one * two * SAME_WAY


def _shorter(answer: Answer, tokens: int) -> Answer:
    return replace(answer, positions=tuple(replace(p, top=p.top[:tokens]) for p in answer.positions))


def _distance(answer: Answer, reference: ProbeReference, references: Sequence[int]) -> float | None:
    """rms deviation from the nearest of the references, nats; None where there is nothing to compare."""
    alignment = align(answer, reference, references)
    if alignment is None:
        return None
    nearest = float(distances_from(alignment, references)[:, -1].min())
    return nearest if math.isfinite(nearest) else None
