"""What a model's figures are made of: its recorded baseline, and the answers that streams are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection.observed import Observed, observe
from qcheck.baselines import Answer, Baseline, read_answers
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.views import VIEWS
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Probe

__all__ = ["ALPHA", "Material", "gather"]

ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Material:
    """Answers to the probes that providers are asked, by deployment, by probe id, by repeat.

    honest: the deployments among them that the baseline does not know, which answer what the deviating one does not.
    unit: of the noise, nats. resolution: number of honest answers that the baseline's deepest null bound rests on.
    """

    baseline: Baseline
    envelope: Envelope
    unit: float
    resolution: int
    probes: tuple[Probe, ...]
    honest: tuple[str, ...]
    answers: Mapping[str, Mapping[str, Sequence[Answer]]]

    @property
    def references(self) -> tuple[str, ...]:
        """The honest deployments that the baseline knows."""
        return self.baseline.names(self.baseline.references)

    def observed(self, view: str, deployments: Sequence[str], repeat: int = 0) -> Observed:
        """What their answers show, of the repeats the one with that index."""
        seen = {d: {p.id: self.answers[d][p.id][repeat:] for p in self.probes} for d in deployments}
        return observe(self.baseline, self.unit, self.probes, seen, next(v for v in VIEWS if v.name == view))

    @property
    def certainty(self) -> NDArray[np.float64]:
        """(probes,) probability of the most probable first token, by the first reference deployment."""
        kept = self.answers[self.references[0]]
        return np.exp([max(logprob for _, logprob in kept[p.id][0].positions[0].top) for p in self.probes])


def gather(baseline: Baseline, bank: Bank) -> Material:
    """A baseline's own evaluation answers and those in the bank. Raises ValueError for one that is not calibrated."""
    table = baseline.table
    if table is None or table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    kinds = {name: d.kind for name, d in deployments_of(bank.model).items()}
    banked = [name for name, kind in kinds.items() if kind in ("held-out", "unrecorded")]
    recorded = {d.name: read_answers(baseline.folder, d.answers) for d in baseline.manifest.deployments}
    return Material(
        baseline,
        freeze(table, ALPHA),
        table.noise_unit,
        max(count.clusters for event in table.events for count in event.counts.values()),
        tuple(p for p in bank.probes if baseline.probe(p.id)),
        tuple(name for name in banked if kinds[name] == "held-out"),
        {**recorded, **{name: bank.answers(name) for name in banked}},
    )
