"""Which prompts tell most: chosen on honest recordings and recorded variants alone, never on a provider.

Greedy text. On a *separating* prompt all honest recordings say the same, sure by a margin, and some variant is as sure
of another text: one answer tells them apart, and names the variant. On a *near-tie* the honest recordings say the same
by a small margin, for deviations that nobody recorded: a border input, as B3IT calls it (Chauvin et al. 2026), but off
the border by more than honest noise.

Log-probabilities. On a *followed* prompt all honest recordings go the same path of several tokens, sure of each by a
margin: honest answers mostly have its positions in common, so that the nearest one may agree where a router has turned
at another. The best of them are *open*: their first token is uncertain, so that many of them are likely enough to move.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import Final, Self

import numpy as np
import pandas as pd
from scipy import special

from qcheck.baselines import Baseline
from qcheck.evidence.greedy import GreedyPath, flip

__all__ = ["FOLLOWED", "NEAR_TIE", "SEPARATING", "Criteria", "GreedyPaths", "is_followed"]

SEPARATING: Final = "separating"
NEAR_TIE: Final = "near-tie"
FOLLOWED: Final = "followed"
LEAST, MOST = "least", "most"


@dataclass(frozen=True, slots=True)
class Criteria:
    """What makes a prompt worth asking, in nats.

    margin: how sure, at least, references and variant must be on a separating one, references of each token of one
    that is followed. gap: between which margins a prompt is a near-tie; None where these are not wanted.
    """

    margin: float
    gap: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class GreedyPaths:
    """The recorded greedy paths by prompt and deployment, and which deployments are honest, and which deviate."""

    paths: Mapping[str, Mapping[str, GreedyPath]]
    honest: tuple[str, ...]
    variants: tuple[str, ...]

    @classmethod
    def of(cls, recorded: Baseline, probe_ids: Sequence[str], honest: Sequence[str], variants: Sequence[str]) -> Self:
        """The paths of a baseline's first answers to those of the probes that everybody has answered.

        honest, variants: names of the deployments to choose on.
        """
        names = [d.name for d in recorded.manifest.deployments]
        answered = {i: reference for i in probe_ids if (reference := recorded.probe(i))}
        paths = {
            i: {name: GreedyPath.of(first) for name, (first, *_) in zip(names, reference.answers, strict=True)}
            for i, reference in answered.items()
        }
        return cls(paths, tuple(honest), tuple(variants))

    def flips(self, name: str, probe_ids: Sequence[str]) -> int:
        """On how many of the prompts a deployment's text leaves the paths of all honest ones."""
        honest = [[self.paths[i][h] for h in self.honest] for i in probe_ids]
        return sum(flip(self.paths[i][name].text, paths) > 0 for i, paths in zip(probe_ids, honest, strict=True))

    def choose(self, criteria: Criteria) -> dict[str, list[str]]:
        """The prompts of each kind that is wanted, separating ones (where there are variants) the best first.

        A prompt that separates is no near-tie.
        """
        rows = {i: self._margins(mine) for i, mine in self.paths.items()}
        margins = pd.DataFrame.from_dict(rows, "index", columns=[LEAST, MOST, *self.variants])
        found = {}
        if self.variants:
            worth = margins[list(self.variants)]
            found[SEPARATING] = _in_turn(worth.where(worth > criteria.margin, 0.0))
        if criteria.gap:
            low, high = criteria.gap
            rest = margins.drop(index=found.get(SEPARATING, []))
            near = rest.index[(rest[LEAST] > low) & (rest[MOST] < high)]
            found[NEAR_TIE] = near.tolist()
        return found

    def unchosen(
        self, choose: Callable[[GreedyPaths], Mapping[str, Sequence[str]]]
    ) -> dict[str, dict[str, tuple[int, int]]]:
        """By kind of prompt and honest deployment: its flips on what the others choose, and how many prompts that are.

        What is chosen on a deployment does not tell how often it flips; this does, where there are three of them.
        choose: which prompts of each kind are taken on some paths.
        """
        flips: dict[str, dict[str, tuple[int, int]]] = {}
        for name in self.honest if len(self.honest) > 2 else ():
            others = replace(self, honest=tuple(h for h in self.honest if h != name))
            for kind, chosen in choose(others).items():
                flips.setdefault(kind, {})[name] = (others.flips(name, chosen), len(chosen))
        return flips

    def _margins(self, paths: Mapping[str, GreedyPath]) -> tuple[float, ...]:
        """The least and the largest margin of the honest, who say the same, then each variant's, who says another.

        A variant's is the smallest of theirs, of its own, and of that at which it leaves their paths. All are 0 where
        the honest do not agree or say nothing.
        """
        honest = [paths[name] for name in self.honest]
        if not honest[0].text or len({path.text for path in honest}) > 1:
            return (0.0,) * (2 + len(self.variants))
        leads = [path.lead for path in honest]
        variants = (paths[name] for name in self.variants)
        return min(leads), max(leads), *(min(*leads, v.lead, flip(v.text, honest)) for v in variants)

    def on_one_path(self, margin: float) -> list[str]:
        """The prompts on whose path all honest deployments go, each token preferred by more than `margin` nats.

        That comes first of whose first token the surest of them is least sure.
        """
        entropies: dict[str, float] = {}
        for i, mine in self.paths.items():
            honest = [mine[name] for name in self.honest]
            if is_followed(honest, margin):
                entropies[i] = min(map(_entropy, honest))
        return sorted(entropies, key=lambda i: -entropies[i])


def is_followed(paths: Sequence[GreedyPath], margin: float) -> bool:
    """Whether all follow one path of several tokens, each preferred by more than `margin` nats to any other.

    A token without text, id or bytes may be another one at each of them.
    """
    tokens, *others = ([p.token for p in path.positions] for path in paths)
    if len(tokens) < 2 or any(t.startswith("?") for t in tokens) or any(t != tokens for t in others):
        return False
    return min(path.least_lead for path in paths) > margin


def _in_turn(worth: pd.DataFrame) -> list[str]:
    """The rows that are worth something to a variant: each variant's best in turn, the rarest variant's first.

    Best are those that are worth something to most variants, then those that are worth most to this one.
    """
    shared = (worth > 0).sum(axis=1)

    def ranked(variant: Hashable) -> pd.Index[str]:
        own = worth[variant] > 0
        rows = pd.DataFrame({"shared": shared[own], "worth": worth[variant][own]})
        return rows.sort_values(["shared", "worth"], ascending=False, kind="stable").index

    turns = chain.from_iterable(zip_longest(*sorted(map(ranked, worth), key=len)))
    return list(dict.fromkeys(i for i in turns if i is not None))


def _entropy(path: GreedyPath) -> float:
    """Entropy of a path's first token in nats, all that is not listed taken as one token."""
    if not path.positions:
        return 0.0
    listed = np.exp([logprob for _, logprob in path.positions[0].top])
    shares = np.append(listed, max(0.0, 1.0 - listed.sum()))
    return float(special.entr(shares / shares.sum()).sum())
