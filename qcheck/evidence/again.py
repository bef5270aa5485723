"""Whether a deviating answer stands when its prompt is asked once more.

Weights deviate the same way every time, and a provider that mixes deployments answers the next time like the reference,
mostly. Noise of about the same size in every request does neither: what is added to log-probabilities, against those
who would steal a model, or comes of kernels that depend on what else a machine has to do, lies as far from the
reference again and in another direction. So before *deviates* is said of log-probabilities, the prompt of an answer
that deviates is asked again; it *stands* unless the second one goes elsewhere. Where it does, other prompts are asked
again, until more stand than do not. Answers that deviate may be the few of many on which noise happened to add to what
an honest machine does there anyway, and then the second one lies off the same way: so it must deviate itself, and where
most answers do not, one more must stand. That is no evidence, and adds none: it may only take back.

Noise in a part of the requests cannot be told from other weights in a part of them, nor noise that a cache repeats from
weights. On a provider that mixes something hardly visible with honest answers that lie as far from the reference it
takes several prompts, and may take back what is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcheck.baselines import Answer, ProbeReference
from qcheck.evidence.alignment import align, names_otherwise, only_listed
from qcheck.evidence.scoring import EQUAL
from qcheck.result import Finding
from qcheck.stats.deviation import centred, deviation

__all__ = ["Repeats", "fewest", "goes_elsewhere"]

Array = NDArray[np.float64]

# Conventions, chosen on noised answers of lab-tiny.
COMMON = 0.5  # of the answers deviate, from which on they are no chosen few
MOST = 8  # prompts asked again
AS_FAR = 0.5  # of the first answer's distance from the reference, from which on the second one lies as far
SAME_WAY = 0.7  # cosine, from which on two deviations are the same: with noise of up to two thirds of what they share


def fewest(share: ArrayLike) -> NDArray[np.intp]:
    """By how many more deviating answers must stand than do not, where such shares of the answers deviate: as many
    prompts are asked again at least.
    """
    return np.where(np.asarray(share) >= COMMON, 1, 2)


class Repeats:
    """The deviating answers of one provider, and what became of those that were asked for again.

    stands: whether deviating answers stand, by `fewest` more than do not; None before that is so, or `MOST` were asked
    for.
    """

    def __init__(self) -> None:
        self.stands: bool | None = None
        self._first: dict[str, tuple[Answer, tuple[Answer, ...]]] = {}
        self._stood: dict[str, bool | None] = {}

    def keep(self, probe_id: str, answer: Answer, peers: Sequence[Answer] = ()) -> None:
        """Keep an answer that deviates, and those that it was compared with, where they are not in a baseline."""
        self._first.setdefault(probe_id, (answer, tuple(peers)))

    def settle(self, probe_id: str, *, stood: bool | None, answered: int) -> None:
        """Count one that was asked for again; None where nothing came that could be compared.

        answered: how many answers there are, deviating or not.
        """
        self._stood[probe_id] = stood
        standing = sum(map(bool, self._stood.values()))
        if 2 * standing - len(self._stood) >= fewest(len(self._first) / answered):
            self.stands = True
        elif len(self._stood) >= MOST:
            self.stands = False

    def first(self, probe_id: str) -> tuple[Answer, tuple[Answer, ...]]:
        """The answer that deviates, and those that it was compared with."""
        return self._first[probe_id]

    @property
    def due(self) -> tuple[str, ...]:
        """The probes that may be asked again, the latest first; none where it is known whether answers stand."""
        return () if self.stands is not None else tuple(p for p in reversed(self._first) if p not in self._stood)

    def findings(self) -> tuple[Finding, ...]:
        """What became of them; nothing where none was asked again."""
        if not self._stood:
            return ()
        outcomes = list(self._stood.values())
        text = (
            f"prompts of deviating answers that were asked again: {len(outcomes)}; answered the same way, or as the "
            f"reference does: {outcomes.count(True)}, as far off but otherwise, or no longer deviating, as noise does: "
            f"{outcomes.count(False)}, with nothing that can be compared: {outcomes.count(None)}"
        )
        return (Finding("asked_again", "info" if self.stands else "warning", text, None, tuple(self._stood)),)


def goes_elsewhere(
    first: Answer,
    second: Answer,
    reference: ProbeReference,
    references: Sequence[int],
    tokens: int | None = None,
    *,
    deviates: bool,
    cut_off: bool = False,
) -> bool | None:
    """Whether two answers to one prompt lie about as far from the first's nearest reference, in different directions,
    or in the same one though the second would not deviate by itself.

    tokens: how many of all lists count, all unless given. deviates: whether the second one does. cut_off: whether
    values may have been cut off instead of rounded, which moves all of a position alike; then what they have in common
    is passed over. None where the second shows less than the first, or nothing that can be compared.
    """
    everyone = [repeats[0] for repeats in reference.answers] + [first]
    if tokens is not None:
        second, everyone = _shorter(second, tokens), [_shorter(answer, tokens) for answer in everyone]
    beside, own = ProbeReference(tuple((answer,) for answer in everyone)), len(everyone) - 1
    a, refs = align(second, beside, [own]), np.asarray(references, int)
    if a is None or not a.full or names_otherwise(second, beside, [own]) or only_listed(a, references):
        return None
    known = ~np.isnan(a.recorded_floor[refs])
    recorded = a.recorded[refs], a.recorded_floor[refs]
    one, two = (
        _apart(values, floors, *recorded, a.positions, cut_off=cut_off)
        for values, floors in ((a.recorded[own], a.recorded_floor[own]), (a.candidate[refs], a.candidate_floor[refs]))
    )
    far = np.where(known.any(axis=1), np.linalg.norm(one, axis=1), np.inf)
    nearest = int(far.argmin())
    if not EQUAL < far[nearest] < np.inf:
        return None
    again = float(np.linalg.norm(two[nearest]))
    same_way = one[nearest] @ two[nearest] >= SAME_WAY * far[nearest] * again
    return bool(again >= AS_FAR * far[nearest] and not (deviates and same_way))


def _apart(
    values: Array, floors: Array, recorded: Array, recorded_floor: Array, positions: NDArray[np.intp], *, cut_off: bool
) -> Array:
    """(references, coordinates) nats by which an answer lies off, 0 where it is not compared."""
    compared = ~np.isnan(recorded_floor) & ~(np.isnan(values) & np.isnan(recorded))
    off = np.where(compared, deviation(values, floors, recorded, recorded_floor), 0.0)
    return centred(off, compared, positions) if cut_off else off


def _shorter(answer: Answer, tokens: int) -> Answer:
    return replace(answer, positions=tuple(replace(p, top=p.top[:tokens]) for p in answer.positions))
