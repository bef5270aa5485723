"""How far every deployment of the lab lies from the reference, and in which direction.

Asks each deployment every third evaluation probe of the suite `logprobs` on its real engine, twice (kept in build/bank
and not asked again), and compares the first generated position's top 20 with the f32 deployment of llama.cpp.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.stats.deviation import partition_kl
from qcheck.suites import load_suite

MODELS = ("lab-tiny", "lab-twin", "lab-moe")
EVERY = 3  # of the evaluation probes every third is asked
# Two engines in f32: a deviation is taken against the one, a recorded direction against the other.
REFERENCE, OTHER_REFERENCE = "honest-f32", "honest-torch-f32"
QUANTILES = (0.5, 0.9, 0.99)

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers of one deployment: log-probabilities (probes, tokens), NaN where unlisted, and the best token's key."""

    values: Array
    best: tuple[str, ...]


def load(model: str) -> dict[str, tuple[Measured, Measured]]:
    """Every deployment's first positions, asked twice, on common token axes: those that the reference lists first."""
    suite = load_suite("logprobs")
    bank = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation")[::EVERY], repeats=2)
    answers = {}
    for name in (name for name, d in deployments_of(model).items() if not d.needs_gpu):
        bank.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
        answers[name] = bank.answers(name)
    axes = [[key for key, _ in answers[REFERENCE][p.id][0].positions[0].top] for p in bank.probes]

    def measured(name: str, repeat: int) -> Measured:
        rows = [dict(answers[name][p.id][repeat].positions[0].top) for p in bank.probes]
        values = np.full((len(rows), max(map(len, axes))), np.nan)
        for i, (row, axis) in enumerate(zip(rows, axes, strict=True)):
            values[i, : len(axis)] = [row.get(key, np.nan) for key in axis]
        return Measured(values, tuple(max(row, key=row.__getitem__) for row in rows))

    return {name: (measured(name, 0), measured(name, 1)) for name in answers}


def centred(values: Array, reference: Array) -> Array:
    """Deviations (probes, tokens) without each probe's mean, 0 where one of them does not list the token."""
    deviations = values - reference
    return np.nan_to_num(deviations - np.nanmean(deviations, axis=1, keepdims=True))


def cosines(measured: Mapping[str, tuple[Measured, Measured]]) -> Array:
    """Mean over probes of the cosine between deviations, (deployments, deployments).

    Rows: first answers against the one reference; columns: second answers against the other.
    """

    def unit(repeat: int, reference: str) -> Array:
        against = measured[reference][repeat].values
        deviations = np.stack([centred(pair[repeat].values, against) for pair in measured.values()])
        norms = np.linalg.norm(deviations, axis=2, keepdims=True)
        return np.divide(deviations, norms, out=np.zeros_like(deviations), where=norms > 0)

    probes = len(measured[REFERENCE][0].best)
    return np.einsum("apt,bpt->ab", unit(0, REFERENCE), unit(1, OTHER_REFERENCE)) / probes


def table(model: str) -> str:
    """Both tables of one model in Markdown."""
    measured = load(model)
    reference = measured[REFERENCE][0]
    kinds = {name: d.kind for name, d in deployments_of(model).items()}
    head = "| deployment | kind | KL: mean | 50 % | 90 % | 99 % | rms deviation | same top token |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for name, (m, _) in measured.items():
        kl = partition_kl(reference.values, m.values, np.zeros(m.values.shape[-1], int))[..., 0]
        rms = float(np.sqrt(np.nanmean((m.values - reference.values) ** 2)))
        same = float(np.mean([a == b for a, b in zip(reference.best, m.best, strict=True)]))
        figures = " | ".join(f"{x:.2g}" for x in (kl.mean(), *np.quantile(kl, QUANTILES), rms))
        lines.append(f"| {name} | {kinds[name]} | {figures} | {100 * same:.1f} % |")
    names = list(measured)
    grid = ["| | deployment | " + " | ".join(str(i + 1) for i in range(len(names))) + " |"]
    grid.append("|---" * (len(names) + 2) + "|")
    for i, row in enumerate(cosines(measured)):
        grid.append(f"| {i + 1} | {names[i]} | " + " | ".join(f"{c:.2f}" for c in row) + " |")
    return "\n".join([f"**{model}** ({len(reference.best)} prompts)", "", *lines, "", *grid])


def report() -> str:
    """All models' tables."""
    note = (
        f"KL divergence of the first generated token from `{REFERENCE}` in nats, over the partition that two top-20 "
        "lists allow (a lower bound); root mean square of the listed log-probabilities' deviations in nats. Below "
        f"each table the mean cosine between centred deviations, rows measured against `{REFERENCE}`, columns against "
        f"`{OTHER_REFERENCE}` from other answers, so that no noise is shared."
    )
    return "\n\n".join([note, *map(table, MODELS)])
