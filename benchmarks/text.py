"""How soon a deviation shows in one token of greedy text, on mined probes: `python -m benchmarks text`.

The pool are the words that the model's baseline was calibrated on deeply (`python -m baselines.record_lab lab-twin`).
Probes are chosen on two honest recordings and, where they separate, on the recorded variants, as `qcheck suite new`
chooses them; every honest deployment and variant is recorded on them, the envelope calibrated, and the candidates,
which nobody recorded, are asked the evaluation probes. Prompts on which some honest deployment prefers its token by
more than `SURE` are left out of the pool, since the variants that are not in the deep recording are asked the others
alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baselines import record_lab
from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops, count
from benchmarks.detection.material import ALPHA
from benchmarks.detection.rows import EIGHT_BITS, FOUR_BITS, FRACTIONS, OTHER, SIX_BITS
from qcheck.baselines import (
    Answer,
    Baseline,
    BaselineManifest,
    DeploymentEntry,
    SuiteEntry,
    load_baseline,
    save_manifest,
    write_answers,
)
from qcheck.evidence.choice import NEAR_TIE, SEPARATING, Criteria, GreedyPaths
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.greedy import GreedyPath, flip
from qcheck.jobs.mine import TOP, deal
from qcheck.jobs.record import recalibrate
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Manifest, Probe, Suite, load_suite, save_suite
from qcheck.tailcounts import FULL

STREAMS, LIMIT = 1000, 3000
SURE = 0.6  # nats
CHOSEN_ON = ("honest-f32", "honest-torch-bf16")
ONE_TOKEN = Manifest(
    name="text",
    version="1.0.0",
    licence="CC0-1.0",
    description="Words, one token each.",
    observes=["greedy_text"],
    max_tokens=1,
    top_logprobs=TOP,
)

Texts = Mapping[str, Mapping[str, Answer]]  # by deployment, by probe id


@dataclass(frozen=True, slots=True)
class Mined:
    """A kind of probes. against: the variants that it separates; none for near-ties."""

    kind: str
    criteria: Criteria
    against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What is told from the honest deployments on which probes, and the medians and 90 % quantiles asked for."""

    probes: str
    deviation: str
    candidates: Mapping[str, str]
    asked: tuple[str, ...] = ()


KINDS = {
    "separating 4-bit formats by 0.08 nats": Mined(
        SEPARATING, Criteria(0.08, None, None), ("q4_k_m", "q4_0", "int4", "nf4")
    ),
    "separating fp8 and Q6_K by 0.04 nats": Mined(SEPARATING, Criteria(0.04, None, None), ("q6_k", "fp8")),
    "near-ties, nothing recorded": Mined(NEAR_TIE, Criteria(0.0, (0.05, 0.15), None), ()),
}
ROWS = (
    Row("separating 4-bit formats by 0.08 nats", "4-bit", FOUR_BITS, ("3 / 4", "30 / 65", "60 / 140", "650 / 1400")),
    Row("separating fp8 and Q6_K by 0.04 nats", "fp8, Q6_K", SIX_BITS, ("6 / 12", "60 / 130")),
    Row("near-ties, nothing recorded", "4-bit", FOUR_BITS, ("15 / 30",)),
    Row("near-ties, nothing recorded", "fp8, Q6_K", SIX_BITS),
    Row("near-ties, nothing recorded", "8-bit", EIGHT_BITS),
    Row("near-ties, nothing recorded", "other model", OTHER, ("8 / 16",)),
)


@dataclass(frozen=True, slots=True)
class Flips:
    """Flip scores, (probes,) nats, of deployments on the evaluation probes of a mined suite."""

    strata: NDArray[np.str_]
    scores: Mapping[str, NDArray[np.float64]]
    view: str = FULL

    def hits(self, deployment: str, envelope: Envelope, known: Sequence[str]) -> NDArray[np.bool_]:
        """(probes, events): which tail events its texts show; what is `known` of variants makes no difference."""
        return np.stack([self.scores[deployment] > level.threshold for level in envelope.levels[FULL]], axis=1)

    def bounds(self, envelope: Envelope) -> NDArray[np.float64]:
        """(probes, events): their null bounds."""
        return np.array([[level.null_bounds[s] for level in envelope.levels[FULL]] for s in self.strata])


def report(models: Sequence[str] = ("lab-twin",)) -> str:
    """Tables of requests until *deviates* for each model."""
    return "\n\n".join(f"**{model}**\n\n{_table(model)}" for model in models)


def _table(model: str) -> str:
    suite = load_suite("logprobs")
    words = record_lab.deep_bank(model, suite)
    kinds = {name: d.kind for name, d in deployments_of(model).items()}
    honest = [name for name, kind in kinds.items() if kind == "reference"]
    pool = _close(words, [*honest, *record_lab.DIRECTED])
    if not pool[honest[0]]:
        return f"Not recorded here: `python -m baselines.record_lab {model} --out build/baselines/{model}`."
    by_id = {p.id: p for p in words.probes}
    others = [v for v in (*FOUR_BITS.values(), "other-model") if kinds.get(v) == "variant"]
    pool |= _asked(model, [by_id[i] for i in pool[honest[0]]], others)
    lines = [
        f"{len(pool[honest[0]])} words of the pool are near enough to a tie. Probes: asked of providers / calibrated.",
        "",
        "| probes | | deviation | 100 % of requests | 10 % | 5 % | 1 % |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += _rows(model, pool, by_id, honest, kinds)
    return "\n".join(lines)


def _close(words: Bank, names: Sequence[str]) -> dict[str, dict[str, Answer]]:
    """First tokens of the recorded words on which some honest deployment hesitates, as far as all were asked."""
    kept: dict[str, dict[str, Answer]] = {name: {} for name in names}
    for number in words.numbers:
        chunks = {name: words.chunk(name, number) for name in names}
        if not all(chunks.values()):
            continue
        for probe_id in chunks[names[0]] or {}:
            answers = {name: _first(chunk[probe_id][0]) for name, chunk in chunks.items() if chunk}
            if min(GreedyPath.of(answers[name]).lead for name in CHOSEN_ON) < SURE:
                for name, answer in answers.items():
                    kept[name][probe_id] = answer
    return kept


def _first(answer: Answer) -> Answer:
    return Answer(answer.prompt_tokens, answer.positions[:1])


def _asked(model: str, probes: Sequence[Probe], names: Sequence[str]) -> dict[str, dict[str, Answer]]:
    """What deployments answer in one token."""
    bank = Bank(DEFAULT_FOLDER, model, Suite(ONE_TOKEN, tuple(probes), "", Path()), tuple(probes))
    for name in names:
        bank.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return {name: {i: first for i, (first, *_) in bank.answers(name).items()} for name in names}


def _rows(
    model: str, pool: Texts, by_id: Mapping[str, Probe], honest: Sequence[str], kinds: Mapping[str, str]
) -> Iterator[str]:
    held_out = [name for name, kind in kinds.items() if kind == "held-out"]
    for name, mined in KINDS.items():
        chosen = _choose(mined, pool)
        suite_probes = deal({mined.kind: [by_id[i] for i in chosen]}, np.random.default_rng(0))
        recorded = [*honest, *(v for v in mined.against if v in pool)]
        with tempfile.TemporaryDirectory() as folder:
            baseline, suite = _recorded(Path(folder), model, suite_probes, pool, recorded, len(honest))
            if baseline.table is None:
                raise ValueError(f"no envelope of {name}")
            envelope, evaluation = freeze(baseline.table, ALPHA), suite.fold("evaluation")
            rows = [row for row in ROWS if row.probes == name and all(c in kinds for c in row.candidates)]
            candidates = list(dict.fromkeys(c for row in rows for c in row.candidates))
            texts = _asked(model, evaluation, [*held_out, *candidates])
            flips = _flips(baseline, evaluation, texts)
        counts = f"{len(evaluation)} / {len(suite.fold('calibration'))}"
        for row in rows:
            cells = [_cell(row, i, flips, envelope, held_out) for i in range(len(FRACTIONS))]
            yield f"| {row.probes} | {counts} | {row.deviation} | {' | '.join(cells)} |"


def _choose(mined: Mined, pool: Texts) -> list[str]:
    names = (*CHOSEN_ON, *mined.against)
    paths = {i: {name: GreedyPath.of(pool[name][i]) for name in names} for i in pool[CHOSEN_ON[0]]}
    return GreedyPaths(paths, CHOSEN_ON, mined.against).choose(mined.criteria)[mined.kind]


def _recorded(
    folder: Path, model: str, probes: Sequence[Probe], pool: Texts, names: Sequence[str], honest: int
) -> tuple[Baseline, Suite]:
    """A calibrated baseline of a mined suite; the first `honest` of the deployments are its references."""
    suite = save_suite(folder / "suite", ONE_TOKEN, probes)
    folds = {p.id: p.fold for p in probes}
    entries = []
    for index, name in enumerate(names):
        answers = {i: [pool[name][i]] for i in folds}
        parts = {
            "deployments": {i: a for i, a in answers.items() if folds[i] == "evaluation"},
            "calibration": {i: a for i, a in answers.items() if folds[i] != "evaluation"},
        }
        entry = DeploymentEntry(
            name=name,
            role="reference" if index < honest else "variant",
            description="of the lab",
            provenance="self-hosted",
            recorded="",
            endpoint="lab",
            reported_model=None,
            fingerprint=None,
            repeats=1,
            temperature=0.0,
            answers=write_answers(folder, "deployments", name, parts["deployments"]),
            calibration=write_answers(folder, "calibration", name, parts["calibration"]),
        )
        entries.append(entry)
    identity = SuiteEntry(name=suite.name, version=suite.manifest.version, hash=suite.hash)
    save_manifest(folder, BaselineManifest(format=2, model=model, suite=identity, deployments=entries))
    recalibrate(folder, suite)
    return load_baseline(folder), suite


def _flips(baseline: Baseline, probes: Sequence[Probe], texts: Texts) -> Flips:
    references = {p.id: recorded for p in probes if (recorded := baseline.probe(p.id))}
    honest = {
        i: [GreedyPath.of(recorded.answers[r][0]) for r in baseline.references] for i, recorded in references.items()
    }
    scores = {
        name: np.array([flip(GreedyPath.of(kept[i]).text, paths) for i, paths in honest.items()])
        for name, kept in texts.items()
    }
    return Flips(np.array([p.stratum for p in probes if p.id in honest]), scores)


def _cell(row: Row, index: int, flips: Flips, envelope: Envelope, honest: Sequence[str]) -> str:
    """One fraction's median / 90 % quantile with the median's confidence interval, and what was asked for."""
    rng, share = np.random.default_rng(index), STREAMS // len(row.candidates)
    found = [
        stops(flips, envelope, honest, candidate, FRACTIONS[index], (), rng, share, LIMIT)
        for candidate in row.candidates
    ]
    pooled = Stops(np.concatenate([f.requests for f in found]), found[0].limit)
    low, high = pooled.interval(0.5)
    text = f"{count(pooled.quantile(0.5))} / {count(pooled.quantile(0.9))} [{count(low)}, {count(high)}]"
    return text + (f" (asked {row.asked[index]})" if index < len(row.asked) else "")
