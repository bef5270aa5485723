"""How soon deviations show in sampled text alone: `python -m benchmarks sampled`.

Nobody was asked for samples: one-token texts are drawn at temperature 1 from the first-token lists of real engines, as
they were recorded, and folded as `qcheck.evidence.sampled_text` does, thousands of times, looked at after every
request. What a list does not show, and what lies outside the core, is one cell.

The oracle is the sequential likelihood ratio on the same cells with both distributions known: that of the candidate,
mixed with the honest deployments' mean at the fraction at which it is, against that mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from baselines import record_lab
from benchmarks.detection import MODELS, bank
from benchmarks.detection.draws import Stops
from benchmarks.detection.rows import EIGHT_BITS, FOUR_BITS, OTHER, SIX_BITS
from qcheck.baselines import Answer, Baseline, load_baseline
from qcheck.evidence.sampled_text import RAISES, UNRECORDED, NextText, weights, worth
from qcheck.lab.catalog import deployments_of
from qcheck.stats.likelihood import log_e_paths
from qcheck.suites import load_suite, shipped_folder
from qcheck.verdict import Rules

__all__ = ["Sampled", "alarms", "observe", "oracle", "report", "stops"]

Array = NDArray[np.float64]

RULES = Rules(alpha=0.01, delta=0.002, family=1, tolerance=0.05)
STREAMS, LIMIT, BLOCK = 400, 1500, 20
FRACTIONS = (1.0, 0.1)
TEMPERATURE = 1.0
ROWS = {
    "4-bit": FOUR_BITS,
    "fp8, Q6_K": SIX_BITS,
    "8-bit": EIGHT_BITS,
    "fine-tuned": {"finetuned": "finetuned"},
    "other model": OTHER,
}


@dataclass(frozen=True, slots=True)
class Sampled:
    """What may be drawn, and what it is worth; cells are padded, the last one is all that is not told apart.

    ratios: (probes, alternatives, cells). drawn: by deployment (probes, cells) probabilities. variants: the recorded
    alternatives, which come first.
    """

    ratios: Array
    drawn: dict[str, Array]
    variants: tuple[str, ...]


def observe(
    baseline: Baseline,
    references: Sequence[int],
    probe_ids: Sequence[str],
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
) -> Sampled:
    """The probes on which the reference deployments tell texts apart. answers: of candidates, by probe, by repeat."""
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    noise = (baseline.table.noise_factor, baseline.table.noise_unit)
    ratios: list[Array] = []
    drawn: dict[str, list[Array]] = {name: [] for name in answers}
    for probe_id in probe_ids:
        reference = baseline.probe(probe_id)
        known = reference and worth(reference, references, baseline.variants, TEMPERATURE, *noise)
        if not known:
            continue
        ratios.append(known.ratios[0])
        for name, mine in answers.items():
            text = NextText.of(mine[probe_id][0].positions[0], TEMPERATURE)
            core = [text.weights.get(t, 0.0) for t in known.box.core]
            drawn[name].append(np.array([*core, max(0.0, 1 - sum(core))]))
    width = max(r.shape[-1] for r in ratios)

    def padded(rows: Sequence[Array]) -> Array:
        """(probes, ..., cells) with zeros before the last cell."""
        return np.stack([np.insert(r, [r.shape[-1] - 1] * (width - r.shape[-1]), 0.0, axis=-1) for r in rows])

    return Sampled(padded(ratios), {n: padded(r) for n, r in drawn.items()}, baseline.names(baseline.variants))


def _draws(
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


def stops(
    sampled: Sampled,
    honest: Sequence[str],
    deviating: str,
    fraction: float,
    known: Sequence[str],
    rng: np.random.Generator,
    streams: int,
) -> Stops:
    """Requests until *deviates* to somebody who has recorded the variants `known`."""
    columns = [sampled.variants.index(v) for v in known]
    columns += [len(sampled.variants) + i for i in range(len(UNRECORDED))]
    found = []
    for start in range(0, streams, BLOCK):
        order, cells = _draws(sampled, honest, deviating, fraction, rng, min(BLOCK, streams - start))
        path = log_e_paths(sampled.ratios[order, :, cells][..., columns], weights(len(known)))
        raised = np.diff(path, axis=1, prepend=0.0) >= np.log(RAISES)
        found.append(_first((path >= RULES.log_threshold) & (np.cumsum(raised, axis=1) >= 2)))
    return Stops(np.concatenate(found), min(LIMIT, len(sampled.ratios)))


def oracle(
    sampled: Sampled, honest: Sequence[str], deviating: str, fraction: float, rng: np.random.Generator, streams: int
) -> Stops:
    """Requests that the likelihood ratio of what is drawn needs to reach the same threshold."""
    null = np.mean([sampled.drawn[name] for name in honest], axis=0)
    mixed = (1 - fraction) * null + fraction * sampled.drawn[deviating]
    gains = np.log(np.maximum(mixed, 1e-12)) - np.log(np.maximum(null, 1e-12))
    order, cells = _draws(sampled, honest, deviating, fraction, rng, streams)
    reached = np.cumsum(gains[order, cells], axis=1) >= RULES.log_threshold
    return Stops(_first(reached), min(LIMIT, len(sampled.ratios)))


def _first(reached: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(streams,) the first request at which it is reached, one more than there are where it never is."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)


def alarms(
    baseline: Baseline, probe_ids: Sequence[str], answers: Mapping[str, Mapping[str, Sequence[Answer]]], streams: int
) -> dict[str, tuple[float, int]]:
    """By honest deployment: its largest mean e-value of one bet, exactly, and the streams that ever accuse it.

    answers: of honest deployments; one that stands in the baseline is judged by the others. Every recorded variant is
    looked for.
    """
    found = {}
    for name, mine in answers.items():
        others = [r for r in baseline.references if baseline.manifest.deployments[r].name != name]
        sampled = observe(baseline, others, probe_ids, {name: mine})
        means = np.einsum("pac,pc->a", sampled.ratios, sampled.drawn[name]) / len(sampled.ratios)
        rng = np.random.default_rng(0)
        stopped = stops(sampled, [name], name, 0.0, sampled.variants, rng, streams)
        found[name] = float(means.max()), int((stopped.requests <= stopped.limit).sum())
    return found


def report() -> str:
    """Power and false alarms for each model that is recorded."""
    return "\n\n".join(f"**{model}** ({what})\n\n{_tables(model)}" for model, what in MODELS.items())


def _tables(model: str) -> str:
    suite = load_suite("logprobs")
    folder = shipped_folder("baselines") / model
    if not folder.exists():
        folder = record_lab.recording(model, suite)
    if not (folder / "calibration.json").exists():
        return f"Not recorded here: `python -m baselines.record_lab {model} --deep 0 --out build/baselines/{model}`."
    baseline, banked = load_baseline(folder), bank(model, suite)
    probe_ids = [p.id for p in suite.draw("evaluation", 0)]
    recorded = {
        d.name: {i: reference.answers[index] for i in probe_ids if (reference := baseline.probe(i))}
        for index, d in enumerate(baseline.manifest.deployments)
    }
    kinds = {name: d.kind for name, d in deployments_of(model).items()}
    held_out = {name: banked.answers(name) for name, kind in kinds.items() if kind == "held-out"}
    others = {name: banked.answers(name) for name, kind in kinds.items() if kind == "unrecorded"}
    honest = {name: recorded[name] for name in baseline.names(baseline.references)} | held_out
    rows = [(what, c) for what, cs in ROWS.items() for c in cs.items() if c[0] in others or c[0] in recorded]
    sampled = observe(baseline, baseline.references, probe_ids, recorded | held_out | others)
    lines = ["| deviation | candidate | recorded | 100 % | oracle | 10 % | oracle |", "|---|---|---|---|---|---|---|"]
    for what, (candidate, variant) in rows:
        for is_recorded in (True, False):
            known = [v for v in sampled.variants if is_recorded or v != variant]
            cells = []
            for fraction in FRACTIONS:
                rng = np.random.default_rng(int(100 * fraction))
                ours = stops(sampled, list(held_out), candidate, fraction, known, rng, STREAMS)
                best = oracle(sampled, list(held_out), candidate, fraction, rng, STREAMS)
                cells += [_count(ours), _count(best)]
            lines.append(f"| {what} | {candidate} | {'yes' if is_recorded else 'no'} | {' | '.join(cells)} |")
    lines += ["", f"| left out | largest mean e-value of a bet | alarms of {STREAMS} streams |", "|---|---|---|"]
    for name, (mean, accused) in alarms(baseline, probe_ids, honest, STREAMS).items():
        lines.append(f"| {name} | {mean:.5f} | {accused} |")
    return "\n".join(lines)


def _count(stopped: Stops) -> str:
    """Median / 90 % quantile."""
    return " / ".join("–" if (at := stopped.quantile(q)) is None else str(at) for q in (0.5, 0.9))
