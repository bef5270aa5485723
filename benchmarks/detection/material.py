"""What a model's figures are made of: its recorded baseline, and the answers that streams are drawn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.detection.observed import Observed, observe
from benchmarks.detection.rows import HIDDEN, PROMPTED, ROWS, Row
from qcheck.baselines import Answer, Baseline, read_answers
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.records import Message
from qcheck.suites import Probe

__all__ = ["ALPHA", "Answered", "Material", "gather", "material_of", "prompted", "strangers"]

ALPHA = 0.01
SYSTEM = "Be brief."

Answered = Mapping[str, Mapping[str, Sequence[Answer]]]  # by deployment, by probe id, by repeat


@dataclass(frozen=True, slots=True)
class Material:
    """Answers to the probes that providers are asked.

    honest: the deployments among them that the baseline does not know, which answer what the deviating one does not.
    resolution: number of honest answers that the baseline's deepest null bound rests on.
    """

    baseline: Baseline
    envelope: Envelope
    yardstick: Yardstick
    resolution: int
    probes: tuple[Probe, ...]
    honest: tuple[str, ...]
    answers: Answered

    @property
    def references(self) -> tuple[str, ...]:
        """The honest deployments that the baseline knows."""
        return self.baseline.names(self.baseline.references)

    def observed(self, view: str, deployments: Sequence[str], repeat: int = 0) -> Observed:
        """What their answers show, of the repeats the one with that index."""
        seen = {d: {p.id: self.answers[d][p.id][repeat:] for p in self.probes} for d in deployments}
        return observe(self.baseline, self.yardstick, self.probes, seen, next(v for v in VIEWS if v.name == view))


def strangers(baseline: Baseline, rows: Sequence[Row] = ROWS, further: Collection[str] = ()) -> list[str]:
    """The held-out deployments of the baseline's model, further ones, and candidates of rows that it does not know."""
    known = {d.name for d in baseline.manifest.deployments}
    candidates = {candidate for row in rows for candidate in row.candidates} - known
    deployments = deployments_of(baseline.manifest.model)
    return [n for n, d in deployments.items() if d.kind == "held-out" or n in candidates or n in further]


def prompted(bank: Bank) -> Bank:
    """The same probes behind a system prompt, as a provider asks them who hides one."""
    system = Message("system", SYSTEM)
    return replace(bank, probes=tuple(replace(p, messages=(system, *p.messages)) for p in bank.probes))


def gather(baseline: Baseline, bank: Bank, rows: Sequence[Row] = ROWS, further: Collection[str] = ()) -> Material:
    """A baseline's own evaluation answers, and those of strangers from a bank that is filled with them.

    Raises ValueError for a baseline that is not calibrated on log-probabilities.
    """
    deployments, banked = deployments_of(bank.model), strangers(baseline, rows, further)
    honest = [name for name in banked if deployments[name].kind == "held-out"]
    answers = {name: bank.answers(name) for name in banked}
    if PROMPTED in rows:
        answers |= {name: prompted(bank).answers(served) for name, served in HIDDEN.items()}
    return material_of(baseline, bank.probes, honest, answers)


def material_of(baseline: Baseline, probes: Sequence[Probe], honest: Sequence[str], answers: Answered) -> Material:
    """A baseline's own evaluation answers, and those of others.

    Raises ValueError for a baseline that is not calibrated on log-probabilities.
    """
    table = baseline.table
    if table is None or table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    recorded = {d.name: read_answers(baseline.folder, d.answers) for d in baseline.manifest.deployments}
    return Material(
        baseline,
        freeze(table, ALPHA),
        Yardstick.of(baseline),
        max(count.clusters for event in table.events for count in event.counts.values()),
        tuple(p for p in probes if baseline.probe(p.id)),
        tuple(honest),
        {**recorded, **answers},
    )
