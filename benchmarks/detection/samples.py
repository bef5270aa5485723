"""One-token texts drawn from recorded lists, and what each is worth as evidence, as `qcheck.evidence.sampled_text`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.sampled_text import RAISES, UNRECORDED, NextText, weights, worth
from qcheck.stats.likelihood import log_e_paths
from qcheck.suites import Probe

__all__ = ["LIMIT", "Sampled", "draws", "observe", "paths"]

Array = NDArray[np.float64]

LIMIT, TEMPERATURE = 1500, 1.0


@dataclass(frozen=True, slots=True)
class Sampled:
    """What may be drawn, and what it is worth; cells are padded, the last one is all that is not told apart.

    ratios: (probes, alternatives, cells). drawn: by deployment (probes, cells) probabilities. variants: the recorded
    alternatives, which come first. probe_ids: (probes,) whose they are.
    """

    ratios: Array
    drawn: dict[str, Array]
    variants: tuple[str, ...]
    probe_ids: tuple[str, ...] = ()

    def only(self, probe_ids: Container[str]) -> Sampled:
        """Those of some of the probes."""
        rows = [i for i, known in enumerate(self.probe_ids) if known in probe_ids]
        drawn = {name: p[rows] for name, p in self.drawn.items()}
        return Sampled(self.ratios[rows], drawn, self.variants, tuple(self.probe_ids[i] for i in rows))


def observe(
    baseline: Baseline,
    references: tuple[int, ...],
    probes: Sequence[Probe],
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
) -> Sampled:
    """The probes on which the reference deployments tell texts apart. answers: of candidates, by probe, by repeat."""
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    noise = (baseline.table.noise_factor, baseline.table.noise_unit)
    ratios: list[Array] = []
    drawn: dict[str, list[Array]] = {name: [] for name in answers}
    told: list[str] = []
    for probe in probes:
        reference = baseline.probe(probe.id)
        known = reference and worth(reference, references, baseline.variants, TEMPERATURE, *noise, probe.said)
        if not known:
            continue
        told.append(probe.id)
        ratios.append(known.ratios[0])
        for name, mine in answers.items():
            text = NextText.of(mine[probe.id][0].positions[0], TEMPERATURE)
            core = [text.weights.get(t, 0.0) for t in known.box.core]
            drawn[name].append(np.array([*core, max(0.0, 1 - sum(core))]))
    width = max(r.shape[-1] for r in ratios)

    def padded(rows: Sequence[Array]) -> Array:
        """(probes, ..., cells) with zeros before the last cell."""
        return np.stack([np.insert(r, [r.shape[-1] - 1] * (width - r.shape[-1]), 0.0, axis=-1) for r in rows])

    both = {name: padded(rows) for name, rows in drawn.items()}
    return Sampled(padded(ratios), both, baseline.names(baseline.variants), tuple(told))


def draws(
    sampled: Sampled, honest: Sequence[str], deviating: str, fraction: float, rng: np.random.Generator, streams: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Probes in random order, each once, and the cells drawn, (streams, requests): of one honest server a stream."""
    count = len(sampled.ratios)
    order = np.argsort(rng.random((streams, count)), axis=1)[:, :LIMIT]
    own, faithful = sampled.drawn[deviating], np.stack([sampled.drawn[name] for name in honest])
    server = rng.integers(len(honest), size=streams)[:, None]
    p = np.where((rng.random(order.shape) < fraction)[..., None], own[order], faithful[server, order])
    u = rng.random(order.shape)[..., None] * p.sum(axis=-1, keepdims=True)
    return order, (np.cumsum(p, axis=-1) <= u).sum(axis=-1).clip(max=p.shape[-1] - 1)


def paths(
    sampled: Sampled,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    rng: np.random.Generator,
    streams: int,
) -> tuple[Array, NDArray[np.intp]]:
    """(streams, requests) after each: the logarithm of the e-value, and how many answers counted as deviating.

    known: the variants that somebody has recorded.
    """
    columns = [sampled.variants.index(v) for v in known]
    columns += [len(sampled.variants) + i for i in range(len(UNRECORDED))]
    order, cells = draws(sampled, honest, deviating, fraction, rng, streams)
    path = log_e_paths(sampled.ratios[order, :, cells][..., columns], weights(len(known)))
    raised = np.diff(path, axis=1, prepend=0.0) >= np.log(RAISES)
    return path, np.cumsum(raised, axis=1)
