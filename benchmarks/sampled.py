"""How soon deviations show in sampled text alone: `python -m benchmarks sampled`.

Nobody was asked for samples: one-token texts are drawn at temperature 1 from the first-token lists of real engines, as
they were recorded, and folded as `qcheck.evidence.sampled_text` does, thousands of times, looked at after every
request. What a list does not show, and what lies outside the core, is one cell.

The oracle is the sequential likelihood ratio on the same cells with both distributions known: that of the candidate,
mixed with the honest deployments' mean at the fraction at which it is, against that mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from baselines import record_lab
from benchmarks.detection import MODELS, bank
from benchmarks.detection.draws import Stops
from benchmarks.detection.rows import EIGHT_BITS, FOUR_BITS, OTHER, SIX_BITS
from benchmarks.detection.samples import LIMIT, Sampled, draws, observe, paths
from qcheck.baselines import Answer, Baseline, load_baseline
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Probe, load_suite, shipped_folder
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["alarms", "oracle", "report", "stops"]

Array = NDArray[np.float64]

RULES = Rules(alpha=0.01, delta=0.002, family=1, tolerance=0.05)
STREAMS, BLOCK = 400, 20
FRACTIONS = (1.0, 0.1)
ROWS = {
    "4-bit": FOUR_BITS,
    "fp8, Q6_K": SIX_BITS,
    "8-bit": EIGHT_BITS,
    "fine-tuned": {"finetuned": "finetuned"},
    "other model": OTHER,
}


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
    found = []
    for start in range(0, streams, BLOCK):
        path, raised = paths(sampled, honest, deviating, fraction, known, rng, min(BLOCK, streams - start))
        found.append(_first((path >= RULES.log_threshold) & (raised >= MIN_DEVIATING)))
    return Stops(np.concatenate(found), min(LIMIT, len(sampled.ratios)))


def oracle(
    sampled: Sampled, honest: Sequence[str], deviating: str, fraction: float, rng: np.random.Generator, streams: int
) -> Stops:
    """Requests that the likelihood ratio of what is drawn needs to reach the same threshold."""
    null = np.mean([sampled.drawn[name] for name in honest], axis=0)
    mixed = (1 - fraction) * null + fraction * sampled.drawn[deviating]
    gains = np.log(np.maximum(mixed, 1e-12)) - np.log(np.maximum(null, 1e-12))
    order, cells = draws(sampled, honest, deviating, fraction, rng, streams)
    reached = np.cumsum(gains[order, cells], axis=1) >= RULES.log_threshold
    return Stops(_first(reached), min(LIMIT, len(sampled.ratios)))


def _first(reached: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(streams,) the first request at which it is reached, one more than there are where it never is."""
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1] + 1)


def alarms(
    baseline: Baseline, probes: Sequence[Probe], answers: Mapping[str, Mapping[str, Sequence[Answer]]], streams: int
) -> dict[str, tuple[float, int]]:
    """By honest deployment: its largest mean e-value of one bet, exactly, and the streams that ever accuse it.

    answers: of honest deployments; one that stands in the baseline is judged by the others. Every recorded variant is
    looked for.
    """
    found = {}
    for name, mine in answers.items():
        others = tuple(r for r in baseline.references if baseline.manifest.deployments[r].name != name)
        sampled = observe(baseline, others, probes, {name: mine})
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
        return f"Not recorded here: `python -m baselines.record_lab {model} --out build/baselines/{model}`."
    baseline = load_baseline(folder)
    banked = bank(baseline, suite, suite.fold("evaluation"))
    probes = suite.draw("evaluation", 0)
    recorded = {
        d.name: {p.id: reference.answers[index] for p in probes if (reference := baseline.probe(p.id))}
        for index, d in enumerate(baseline.manifest.deployments)
    }
    kinds = {name: d.kind for name, d in deployments_of(model).items()}
    held_out = {name: banked.answers(name) for name, kind in kinds.items() if kind == "held-out"}
    others = {name: banked.answers(name) for name, kind in kinds.items() if kind == "unrecorded"}
    honest = {name: recorded[name] for name in baseline.names(baseline.references)} | held_out
    rows = [(what, c) for what, cs in ROWS.items() for c in cs.items() if c[0] in others or c[0] in recorded]
    sampled = observe(baseline, baseline.references, probes, recorded | held_out | others)
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
    for name, (mean, accused) in alarms(baseline, probes, honest, STREAMS).items():
        lines.append(f"| {name} | {mean:.5f} | {accused} |")
    return "\n".join(lines)


def _count(stopped: Stops) -> str:
    """Median / 90 % quantile."""
    return " / ".join("–" if (at := stopped.quantile(q)) is None else str(at) for q in (0.5, 0.9))
