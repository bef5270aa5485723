"""How soon a deviation shows in greedy text: `python -m benchmarks text`.

*Mined probes.* The pool are words that the model's deployments have answered (`python -m baselines.record_lab lab-twin
--deep 30000`), as many as are there. Probes are chosen on two honest recordings and, where they
separate, on the recorded variants, as `qcheck suite new` chooses them; every honest deployment and variant is recorded
on them, the envelope calibrated, and the candidates, which nobody recorded, are asked the evaluation probes. Prompts on
which some honest deployment prefers its token by more than `SURE` are left out of the pool, since the variants that are
not in the deep recording are asked the others alone. A suite that separates one format is the part of the common one
that separates it, with bounds of its own.

*Natural prompts.* Hand-written ones, answered in 32 tokens, of which candidates show the text alone.
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
from benchmarks.calibrated import calibrated
from benchmarks.detection.alarms import stops
from benchmarks.detection.draws import Stops, count
from benchmarks.detection.material import ALPHA
from benchmarks.detection.rows import EIGHT_BITS, FOUR_BITS, FRACTIONS, OTHER, SIX_BITS
from benchmarks.detection.table import interval
from qcheck.baselines import Answer, Baseline
from qcheck.evidence.choice import NEAR_TIE, SEPARATING, Criteria, GreedyPaths
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.greedy import GreedyPath, flip
from qcheck.jobs.mine import TOP, deal
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Fold, Manifest, Probe, Suite, load_suite, save_suite
from qcheck.tailcounts import FULL

STREAMS, LIMIT = 1000, 3000
POOL = 30_000  # words
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
NATURAL = ONE_TOKEN.model_copy(update={"description": "Written prompts, 32 tokens each.", "max_tokens": 32})
NATURAL_SIZES: Mapping[Fold, int] = {"evaluation": 80, "selection": 40, "calibration": 200}

Texts = Mapping[str, Mapping[str, Answer]]  # by deployment, by probe id


@dataclass(frozen=True, slots=True)
class Mined:
    """A kind of probes. against: the variants that it separates; none for near-ties."""

    kind: str
    criteria: Criteria
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Candidates, each of a recorded variant, and the medians and 90 % quantiles asked for.

    apart: whether each one's variant alone is recorded, and separated.
    """

    deviation: str
    candidates: Mapping[str, str]
    asked: tuple[str, ...] = ()
    apart: bool = False


ASKED_4, ASKED_6 = ("3 / 4", "30 / 65", "60 / 140", "650 / 1400"), ("6 / 12", "60 / 130")
ROWS: Mapping[str, tuple[Mined, tuple[Row, ...]]] = {
    "separating by 0.08 nats:": (
        Mined(SEPARATING, Criteria(0.08, None, None), ("q4_k_m", "q4_0", "int4", "nf4")),
        (Row("4-bit", FOUR_BITS, ASKED_4, apart=True), Row("4-bit", FOUR_BITS, ASKED_4)),
    ),
    "separating by 0.04 nats:": (
        Mined(SEPARATING, Criteria(0.04, None, None), ("q6_k", "fp8")),
        (Row("fp8, Q6_K", SIX_BITS, ASKED_6, apart=True), Row("fp8, Q6_K", SIX_BITS, ASKED_6)),
    ),
    "near-ties, recorded:": (
        Mined(NEAR_TIE, Criteria(0.0, (0.05, 0.15), None)),
        (
            Row("4-bit", FOUR_BITS, ("15 / 30",)),
            Row("fp8, Q6_K", SIX_BITS),
            Row("8-bit", EIGHT_BITS),
            Row("other model", OTHER, ("8 / 16",)),
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Flips:
    """Flip scores, (probes,) nats, of deployments on the evaluation probes of a suite."""

    strata: NDArray[np.str_]
    scores: Mapping[str, NDArray[np.float64]]
    view: str = FULL

    @classmethod
    def of(cls, baseline: Baseline, probes: Sequence[Probe], texts: Texts) -> Flips:
        """Those of the deployments in `texts`, beside the baseline's references."""
        honest = {
            p.id: [GreedyPath.of(recorded.answers[r][0]) for r in baseline.references]
            for p in probes
            if (recorded := baseline.probe(p.id))
        }
        scores = {
            name: np.array([flip(GreedyPath.of(kept[i]).text, paths) for i, paths in honest.items()])
            for name, kept in texts.items()
        }
        return cls(np.array([p.stratum for p in probes if p.id in honest]), scores)

    def hits(self, deployment: str, envelope: Envelope, known: Sequence[str]) -> NDArray[np.bool_]:
        """(probes, events): which tail events its texts show; what is `known` of variants makes no difference."""
        return np.stack([self.scores[deployment] > level.threshold for level in envelope.levels[FULL]], axis=1)

    def bounds(self, envelope: Envelope) -> NDArray[np.float64]:
        """(probes, events): their null bounds."""
        return np.array([[level.null_bounds[s] for level in envelope.levels[FULL]] for s in self.strata])


@dataclass(frozen=True, slots=True)
class Trial:
    """What deployments outside a calibrated baseline show on its evaluation probes. known: the recorded variants."""

    envelope: Envelope
    seen: Flips
    known: tuple[str, ...]
    evaluation: int
    calibration: int

    def stops(self, honest: Sequence[str], candidate: str, fraction: float, streams: int) -> Stops:
        """Requests until *deviates*, of `LIMIT` at most, where `candidate` answers so many and `honest` the others."""
        rng = np.random.default_rng(round(100 * fraction))
        found = stops(self.seen, self.envelope, honest, candidate, fraction, self.known, rng, streams, LIMIT)
        return Stops(np.where(found.requests > found.limit, LIMIT + 1, found.requests), LIMIT)


def report(models: Sequence[str] = ("lab-twin",)) -> str:
    """Tables of requests until *deviates* for each model."""
    return "\n\n".join(f"**{model}**\n\n{_table(model)}" for model in models)


def _table(model: str) -> str:
    words = record_lab.deep_bank(model, load_suite("logprobs"), POOL)
    honest = _named(model, "reference")
    pool = _close(words, [*honest, *record_lab.DIRECTED])
    if not pool[honest[0]]:
        return (
            f"Not recorded here: `python -m baselines.record_lab {model} --deep {POOL} --out build/baselines/{model}`."
        )
    by_id = {p.id: p for p in words.probes}
    variants = [v for v in (*FOUR_BITS.values(), *OTHER) if v in deployments_of(model)]
    pool |= _asked(model, ONE_TOKEN, [by_id[i] for i in pool[honest[0]]], variants)
    lines = [
        f"{len(pool[honest[0]])} words of the pool are near enough to a tie. Probes: asked of providers / calibrated. "
        "Alarms: in streams of honest deployments that the baseline does not know.",
        "",
        "| what is asked | probes | deviation | 100 % of requests | 10 % | 5 % | 1 % | alarms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what, (mined, wanted) in ROWS.items():
        rows = [row for row in wanted if all(c in deployments_of(model) for c in row.candidates)]
        lines += _mined_rows(model, pool, by_id, what, mined, rows)
    return "\n".join([*lines, _natural_row(model)])


def _named(model: str, kind: str) -> list[str]:
    return [name for name, d in deployments_of(model).items() if d.kind == kind]


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


def _asked(
    model: str, manifest: Manifest, probes: Sequence[Probe], names: Sequence[str]
) -> dict[str, dict[str, Answer]]:
    """What deployments answer."""
    bank = Bank(DEFAULT_FOLDER, model, Suite(manifest, tuple(probes), "", Path()), tuple(probes))
    for name in names:
        bank.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return {name: {i: first for i, (first, *_) in bank.answers(name).items()} for name in names}


def _mined_rows(
    model: str, pool: Texts, by_id: Mapping[str, Probe], what: str, mined: Mined, rows: Sequence[Row]
) -> Iterator[str]:
    """The rows of one kind of mined probes."""
    honest, held_out = _named(model, "reference"), _named(model, "held-out")
    names = (*CHOSEN_ON, *mined.against)
    paths = {i: {name: GreedyPath.of(pool[name][i]) for name in names} for i in pool[honest[0]]}

    def choose(against: tuple[str, ...]) -> list[str]:
        return GreedyPaths(paths, CHOSEN_ON, against).choose(mined.criteria)[mined.kind]

    probes = deal({mined.kind: [by_id[i] for i in choose(mined.against)]}, np.random.default_rng(0))
    candidates = list(dict.fromkeys(c for row in rows for c in row.candidates))
    texts = _asked(model, ONE_TOKEN, _fold(probes, "evaluation"), [*held_out, *candidates])

    def trial(against: tuple[str, ...]) -> Trial:
        chosen = set(choose(against))
        recorded = {name: pool[name] for name in (*honest, *against)}
        return _trial(model, ONE_TOKEN, [p for p in probes if p.id in chosen], recorded, against, texts)

    whole = trial(mined.against)
    for row in rows:
        trials = {c: trial((v,)) if row.apart else whole for c, v in row.candidates.items()}
        apart = "that format" if row.apart else f"any of {len(mined.against)} formats" if mined.against else "nothing"
        yield _line(f"{what} {apart}", row, trials, held_out)


def _natural_row(model: str) -> str:
    """Written prompts of the suite `logprobs`, of whose answers candidates show the text alone."""
    written = [p for p in load_suite("logprobs").probes if p.stratum == "written"]
    row = Row("4-bit", FOUR_BITS, ("15 / 30",))
    trial = _recorded_trial(model, NATURAL, _drawn(written, NATURAL_SIZES), (), list(FOUR_BITS))
    return _line("32 tokens of text, natural prompts", row, dict.fromkeys(FOUR_BITS, trial), _named(model, "held-out"))


def _drawn(probes: Sequence[Probe], sizes: Mapping[Fold, int]) -> list[Probe]:
    """So many of each fold, at random."""
    rng = np.random.default_rng(0)
    folds = {fold: _fold(probes, fold) for fold in sizes}
    return [some[i] for fold, some in folds.items() for i in rng.permutation(len(some))[: sizes[fold]]]


def _fold(probes: Sequence[Probe], fold: Fold) -> list[Probe]:
    return [p for p in probes if p.fold == fold]


def _recorded_trial(
    model: str, manifest: Manifest, probes: Sequence[Probe], variants: tuple[str, ...], candidates: Sequence[str]
) -> Trial:
    """A trial on probes that everybody has still to be asked."""
    recorded = _asked(model, manifest, probes, [*_named(model, "reference"), *variants])
    shown = _asked(model, manifest, _fold(probes, "evaluation"), [*_named(model, "held-out"), *candidates])
    return _trial(model, manifest, probes, recorded, variants, shown)


def _trial(
    model: str,
    manifest: Manifest,
    probes: Sequence[Probe],
    recorded: Texts,
    variants: tuple[str, ...],
    shown: Texts,
) -> Trial:
    """A trial of one answer to a probe: `recorded` of honest deployments and `variants`, `shown` by those outside."""
    with tempfile.TemporaryDirectory() as folder:
        suite = save_suite(Path(folder) / "suite", manifest, probes)
        answers = {name: {p.id: [kept[p.id]] for p in probes} for name, kept in recorded.items()}
        baseline = calibrated(Path(folder), model, suite, answers, variants)
        table, evaluation = baseline.table, suite.fold("evaluation")
        if table is None:
            raise ValueError(f"no envelope of {len(probes)} probes")
        seen = Flips.of(baseline, evaluation, shown)
    return Trial(freeze(table, ALPHA), seen, variants, len(evaluation), len(suite.fold("calibration")))


def _line(what: str, row: Row, trials: Mapping[str, Trial], honest: Sequence[str]) -> str:
    """A row of the table. trials: by candidate."""
    streams = STREAMS // len(trials)

    def pooled(fraction: float) -> Stops:
        found = [trial.stops(honest, candidate, fraction, streams) for candidate, trial in trials.items()]
        return Stops(np.concatenate([f.requests for f in found]), LIMIT)

    def cell(index: int) -> str:
        """Median / 90 % quantile with the median's confidence interval, and what was asked for."""
        found = pooled(FRACTIONS[index])
        text = f"{count(found.quantile(0.5))} / {count(found.quantile(0.9))}{interval(found)}"
        return text + (f" (asked {row.asked[index]})" if index < len(row.asked) else "")

    sizes = sorted({(trial.evaluation, trial.calibration) for trial in trials.values()})
    probes = " to ".join(f"{asked} / {calibrated}" for asked, calibrated in dict.fromkeys((sizes[0], sizes[-1])))
    cells = [what, probes, row.deviation, *map(cell, range(len(FRACTIONS)))]
    alarms = pooled(0.0)
    return f"| {' | '.join(cells)} | {(alarms.requests <= LIMIT).sum()} of {len(alarms.requests)} |"
