"""How rightly a cause is named, and how well the stated probabilities hold: `python -m benchmarks attribution`.

Streams of real answers until *deviates* is reached, as a run would stop; then the posterior. What deviates is either a
recorded variant, served by another engine than the recorded one where there is such an answer, or one that was left out
of the bank of variants, which must come out as "none of these". Half of the streams are of each kind, as the prior
says. Exponents of the likelihoods are compared on lab-tiny with half of the variants, and on every model's others. The
one in use is smaller than lab-tiny asks for, with lab-moe in sight, where stated probabilities are too high. The shape
of the likelihoods (`qcheck.stats.attribution`) was chosen with all of lab-tiny in sight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from baselines import record_lab
from benchmarks import detection
from benchmarks.detection.draws import bet_at
from benchmarks.detection.observed import Observed, observe
from qcheck.baselines import Answer, Baseline, load_baseline, read_answers
from qcheck.evidence.alignment import align
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.scoring import Yardstick, resemblance, scales
from qcheck.evidence.views import VIEWS
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.stats.attribution import NONE, TEMPER, Attribution, log_likelihoods
from qcheck.stats.bets import log_e_paths
from qcheck.suites import Probe, load_suite
from qcheck.tailcounts import FULL
from qcheck.verdict import Rules

ALPHA, STREAMS, LIMIT, PROBES = 0.01, 60, 300, 400
FRACTIONS = (1.0, 0.1)
TEMPERS = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
TUNED_MODEL = "lab-tiny"
TUNED = ("q8_0", "q5_k_m", "q4_k_m", "q2_k", "fp8", "int4", "kv-q8_0", "finetuned-light", "other-model")
# Other engines' answers by recorded variant.
ELSEWHERE = {
    "q8_0": "q8_0-torch", "q6_k": "q6_k-torch", "q4_k_m": "q4_k_m-torch", "q4_0": "q4_0-torch",
    "int8": "int8-bf16", "fp8": "fp8-bf16", "int4": "int4-bf16", "nf4": "nf4-bf16",
}  # fmt: skip
CASE = ["served", "truth", "fraction"]
BINS = (0.0, 0.5, 0.7, 0.9, 0.95, 0.99, 1.0)

Array = NDArray[np.float64]
Likelihoods = Sequence[tuple[float, Array]]  # by probe: inside the envelope, and under each deviation


@dataclass(frozen=True, slots=True)
class Streams:
    """What runs on one model are drawn from. likelihoods: by exponent, by deployment. honest: who else answers.
    elsewhere: whose answers, another engine's, stand for a variant.
    """

    variants: tuple[str, ...]
    envelope: Envelope
    observed: Observed
    likelihoods: Mapping[float, Mapping[str, Likelihoods]]
    honest: tuple[str, ...]
    elsewhere: Mapping[str, str]

    def __call__(self, bank: Sequence[str], tempers: Sequence[float]) -> pd.DataFrame:
        """Runs that reach *deviates*: each variant of `bank` is served in turn, once with the others alone recorded
        and, where another engine's answers to it are at hand, once with all of `bank`.
        """
        rows = []
        for variant in bank:
            served = self.elsewhere.get(variant, variant)
            others = [v for v in bank if v != variant]
            cases = [(NONE, others)] + ([(variant, list(bank))] if variant in self.elsewhere else [])
            for fraction in FRACTIONS:
                for truth, known in cases:
                    rng = np.random.default_rng(len(rows))
                    for deployments, probes in self._runs(served, fraction, known, rng):
                        for temper in tempers:
                            posterior = self._posterior(deployments, probes, known, temper)
                            named, stated = next(iter(posterior.items()))
                            rows.append(
                                (temper, variant, truth, fraction, len(probes), named, stated, posterior[truth])
                            )
        columns = ["temper", *CASE, "requests", "named", "stated", "of_truth"]
        return pd.DataFrame(rows, columns=columns)

    def _runs(
        self, served: str, fraction: float, known: Sequence[str], rng: np.random.Generator
    ) -> Iterator[tuple[list[str], NDArray[np.intp]]]:
        """Of `STREAMS` runs those that reach *deviates*: who answered each request, and to which probe."""
        directed = [v for v in self.observed.variants if v in known]
        hits = {name: self.observed.hits(name, self.envelope, directed) for name in (served, *self.honest)}
        strata, levels = self.observed.strata, self.envelope.levels[FULL]
        outlying = np.array([level.outlying for level in levels])
        threshold = Rules(ALPHA, self.envelope.delta, 1, 0.05).log_threshold
        for _ in range(STREAMS):
            order = rng.permutation(len(strata))[:LIMIT]
            honest = self.honest[rng.integers(len(self.honest))]
            who = [served if other else honest for other in rng.random(len(order)) < fraction]
            seen = np.stack([hits[name][probe] for name, probe in zip(who, order, strict=True)])
            at = bet_at(self.envelope, FULL, strata, order[None], seen[None])[0]
            path, _ = log_e_paths(seen, at, [level.weight for level in levels])
            decided = (path >= threshold) & (np.cumsum((seen & outlying).any(axis=1)) >= 2)
            if decided.any():
                stop = int(decided.argmax()) + 1
                yield who[:stop], order[:stop]

    def _posterior(
        self, deployments: Sequence[str], probes: NDArray[np.intp], known: Sequence[str], temper: float
    ) -> dict[str, float]:
        rows = [*(self.variants.index(v) for v in known), -1]
        attribution = Attribution(tuple(known))
        for name, probe in zip(deployments, probes, strict=True):
            inside, deviating = self.likelihoods[temper][name][probe]
            attribution.fold(inside, deviating[rows])
        return attribution.posterior()


def streams(baseline: Baseline, bank: Bank) -> Streams:
    """Score the recorded answers to `PROBES` probes of the stratum that a run asks first."""
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    envelope, yardstick = freeze(baseline.table, ALPHA), Yardstick.of(baseline)
    lowest = min(envelope.levels[FULL], key=lambda level: min(level.null_bounds.values())).null_bounds
    first = min(lowest, key=lowest.__getitem__)
    probes = [p for p in bank.probes if p.stratum == first and baseline.probe(p.id)]
    probes = [probes[i] for i in np.random.default_rng(0).permutation(len(probes))[:PROBES]]
    honest = tuple(n for n, d in deployments_of(bank.model).items() if d.kind == "held-out")
    variants = baseline.names(baseline.variants)
    answers: dict[str, Mapping[str, Sequence[Answer]]] = {name: bank.answers(name) for name in honest}
    for deployment in baseline.manifest.deployments:
        name = ELSEWHERE.get(deployment.name)
        if deployment.role == "variant":
            answers[name or deployment.name] = (
                bank.answers(name) if name else dict(read_answers(baseline.folder, deployment.answers))
            )
    likelihoods = {
        temper: {name: list(_likelihoods(baseline, yardstick, probes, kept, temper)) for name, kept in answers.items()}
        for temper in TEMPERS
    }
    observed = observe(baseline, yardstick, probes, answers, VIEWS[0])
    return Streams(variants, envelope, observed, likelihoods, honest, ELSEWHERE)


def _likelihoods(
    baseline: Baseline,
    yardstick: Yardstick,
    probes: Sequence[Probe],
    answers: Mapping[str, Sequence[Answer]],
    temper: float,
) -> Iterator[tuple[float, Array]]:
    for probe in probes:
        reference = baseline.probe(probe.id)
        alignment = reference and align(answers[probe.id][0], reference, baseline.references)
        if not alignment:
            yield 0.0, np.zeros((len(baseline.variants) + 1, 1))
            continue
        nats = scales(alignment, baseline.references, yardstick)[-1]
        own, recorded, positions = resemblance(alignment, baseline.references, baseline.variants)
        yield log_likelihoods(own / nats, recorded / nats, positions, temper)


def _weights(runs: pd.DataFrame) -> Array:
    """Every case counts alike, and the recorded ones together as much as those left out, as the prior says."""
    kind = runs.truth == NONE
    each = 1 / runs.groupby(CASE).truth.transform("size")
    return np.asarray(each / each.groupby(kind).transform("sum") / kind.nunique(), float)


def log_score(runs: pd.DataFrame) -> float:
    """Mean logarithm of the probability that was stated for the truth."""
    return float((_weights(runs) * np.log(runs.of_truth)).sum())


def log_scores(runs: pd.DataFrame) -> str:
    """The log score of each exponent, in a sentence."""
    scores = (f"{temper:g}: {log_score(some):.3f}" for temper, some in runs.groupby("temper"))
    return f"Log score by exponent: {', '.join(scores)}."


def confusion_table(runs: pd.DataFrame) -> str:
    """Who was served, and as what it came out, by whether it was in the bank."""
    lines = [
        "| served | in the bank | routed | runs | requests (median) | named rightly | most often wrongly |",
        "|---|---|---|---|---|---|---|",
    ]
    for (served, truth, fraction), case in runs.groupby(CASE, sort=False):
        wrong = Counter(case.named[case.named != truth]).most_common(2)
        lines.append(
            f"| {ELSEWHERE.get(served, served)} | {'no' if truth == NONE else 'yes'} | {fraction:.0%} | {len(case)} | "
            f"{case.requests.median():.0f} | {(case.named == truth).mean():.0%} | "
            f"{', '.join(f'{name} {count / len(case):.0%}' for name, count in wrong) or '–'} |"
        )
    return "\n".join(lines)


def reliability_table(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """How often the named cause was right, by the probability that was stated for it."""
    lines = [
        "| stated | runs, exponent 1 | stated (mean) | right | runs, tempered | stated (mean) | right |",
        "|---|---|---|---|---|---|---|",
    ]
    errors = [0.0, 0.0]
    for low, high in pairwise(BINS):
        cells = []
        for i, runs in enumerate((before, after)):
            inside = ((runs.stated >= low) & ((runs.stated < high) | (high == BINS[-1]))).to_numpy()
            weights = _weights(runs)[inside]
            if not inside.any():
                cells.append("0 | – | –")
                continue
            stated = float(np.average(runs.stated[inside], weights=weights))
            right = float(np.average((runs.named == runs.truth)[inside], weights=weights))
            errors[i] += float(weights.sum()) * abs(stated - right)
            cells.append(f"{inside.sum()} | {stated:.3f} | {right:.3f}")
        lines.append(f"| {low:g}–{high:g} | {' | '.join(cells)} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Expected calibration error {errors[0]:.3f} before tempering, {errors[1]:.3f} after; log score "
            f"{log_score(before):.3f} and {log_score(after):.3f} nats.",
        ]
    )


def report() -> str:
    """The choice of the exponent, then each model's confusion matrix and reliability."""
    suite, parts = load_suite("logprobs"), []
    for model in detection.MODELS:
        places = (record_lab.recording(model, suite), Path("baselines", model))
        folder = next((place for place in places if (place / "calibration.json").exists()), None)
        if folder is None:
            parts.append(f"**{model}**: not recorded here.")
            continue
        baseline = load_baseline(folder)
        drawn = streams(baseline, detection.bank(baseline, suite, suite.fold("evaluation")))
        if model == TUNED_MODEL:
            runs = drawn([v for v in drawn.variants if v in TUNED], TEMPERS)
            parts.append(f"On {model}, variants {', '.join(TUNED)}: {log_scores(runs)} In use: {TEMPER:g}.")
        kept = [v for v in drawn.variants if v not in TUNED]
        runs = drawn(kept, TEMPERS)
        halves = (runs[runs.temper == 1.0], runs[runs.temper == TEMPER])
        parts.append(
            f"**{model}**, the other variants ({', '.join(kept)})\n\n{reliability_table(*halves)} {log_scores(runs)}"
        )
        parts.append(
            f"**{model}**, all variants in the bank but the one that is left out\n\n"
            f"{confusion_table(drawn(drawn.variants, (TEMPER,)))}"
        )
    return "\n\n".join(parts)
