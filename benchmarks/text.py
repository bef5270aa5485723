"""How soon a deviation shows in greedy text: `python -m benchmarks text`.

*Mined probes.* The pool are words, each in several frames. As a thrifty user would, the benchmark asks in stages, one
token each: an honest deployment all of it; another one those prompts on which the first prefers its token by less than
is looked at; the recorded variants those on which both prefer the same token by about as much as their probes ask for;
all other honest deployments the probes that are chosen, as `qcheck suite new` chooses them, one of each word at most;
and the candidates, which nobody recorded, the evaluation probes. A suite that separates one format is mined for it
alone, and has more probes, as its bounds rest on them alone; of one that separates several the part is tried as well on
which most of these answer otherwise. How near a tie prompts must be was set by what a smaller pool's recorded variants
would lose, a tenth of the probes of some format; that fp8 and Q6_K are separated by more than a step of bfloat16, by
alarms of lab-twin's honest deployments at less.

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

from baselines.record_lab import composed
from benchmarks.calibrated import calibrated
from benchmarks.detection.alarms import stops
from benchmarks.detection.chosen import CHOSEN_ON
from benchmarks.detection.draws import BLOCK, Stops, count
from benchmarks.detection.left_out import REQUESTS, greedy_text
from benchmarks.detection.material import ALPHA
from benchmarks.detection.rows import EIGHT_BITS, FOUR_BITS, FRACTIONS, OTHER, SIX_BITS
from benchmarks.detection.table import interval
from probes.compose import framed
from qcheck.baselines import Answer, Baseline
from qcheck.evidence.choice import NEAR_TIE, SEPARATING, Criteria, GreedyPaths
from qcheck.evidence.envelope import CALIBRATION_SHARE, Envelope, freeze
from qcheck.evidence.greedy import GreedyPath, flip
from qcheck.evidence.views import VIEWS
from qcheck.jobs.mine import TOP, deal, one_of_each
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.suites import Fold, Manifest, Probe, Suite, load_suite, save_suite
from qcheck.tailcounts import FULL
from qcheck.verdict import Rules

STREAMS, LIMIT = 1000, 3000
WORDS = 45_000
MODELS = {"lab-twin": 8, "lab-moe": 3}  # prompts of a word, at most
SIZE = 4000  # probes of a suite
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
    """A kind of probes.

    close: the honest deployments that they are chosen on prefer their token by less, in nats; where they prefer it by
    more the variants would seldom say another. turns: how many prompts of a word are looked at, where the model has so
    many. against: the variants that are separated; none for near-ties.
    """

    kind: str
    criteria: Criteria
    close: float
    turns: int
    against: tuple[str, ...] = ()

    def may_be(self, paths: Sequence[GreedyPath]) -> bool:
        """Whether a prompt may be chosen, by the honest paths."""
        leads = [path.lead for path in paths]
        least = self.criteria.margin if self.criteria.gap is None else self.criteria.gap[0]
        return len({path.text for path in paths}) == 1 and least < min(leads) < self.close


@dataclass(frozen=True, slots=True)
class Row:
    """Candidates, each of a recorded variant, and the medians and 90 % quantiles asked for.

    apart: whether each one's variant alone is recorded, and separated. size: of the suite, at most.
    """

    deviation: str
    candidates: Mapping[str, str]
    asked: tuple[str, ...] = ()
    apart: bool = False
    size: int = SIZE


ASKED_4, ASKED_6 = ("3 / 4", "30 / 65", "60 / 140", "650 / 1400"), ("6 / 12", "60 / 130")
ROWS: Mapping[str, tuple[Mined, tuple[Row, ...]]] = {
    "separating by 0.08 nats:": (
        Mined(SEPARATING, Criteria(0.08, None), 0.4, 8, ("q4_k_m", "q4_0", "int4", "nf4")),
        (
            Row("4-bit", FOUR_BITS, ASKED_4, apart=True, size=9600),
            Row("4-bit", FOUR_BITS, ASKED_4, size=2000),
            Row("4-bit", FOUR_BITS, ASKED_4),
        ),
    ),
    "separating by 0.065 nats:": (
        Mined(SEPARATING, Criteria(0.065, None), 0.25, 8, ("q6_k", "fp8")),
        (Row("fp8, Q6_K", SIX_BITS, ASKED_6, apart=True), Row("fp8, Q6_K", SIX_BITS, ASKED_6)),
    ),
    "near-ties, recorded:": (
        Mined(NEAR_TIE, Criteria(0.0, (0.05, 0.15)), 0.15, 4),
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
    """What deployments outside a calibrated baseline show on its evaluation probes.

    known: the recorded variants. left_out: of streams of the reference deployments that probes were not chosen on, each
    left out of the baseline in turn, how many raised an alarm, and how many there are.
    """

    envelope: Envelope
    seen: Flips
    known: tuple[str, ...]
    evaluation: int
    calibration: int
    left_out: tuple[int, int]

    def stops(self, honest: Sequence[str], candidate: str, fraction: float, streams: int) -> Stops:
        """Requests until *deviates*, of `LIMIT` at most, where `candidate` answers so many and `honest` the others."""
        rng = np.random.default_rng([round(100 * fraction), list(self.seen.scores).index(candidate)])
        found = stops(self.seen, self.envelope, honest, candidate, fraction, self.known, rng, streams, LIMIT)
        return Stops(np.where(found.requests > found.limit, LIMIT + 1, found.requests), LIMIT)


def report(models: Mapping[str, int] = MODELS) -> str:
    """Tables of requests until *deviates* for each model, with so many prompts of a word at most."""
    return "\n\n".join(f"**{model}**\n\n{_table(model, most)}" for model, most in models.items())


def _table(model: str, prompts_per_word: int) -> str:
    turns = [asked_in_turn(model, turn) for turn in range(prompts_per_word)]
    hesitant = sum(len(prompts) for prompts, _ in turns)
    lines = [
        f"{hesitant} of {prompts_per_word * WORDS} prompts are near enough a tie for what is looked for in them. "
        "Probes: asked of providers / calibrated. Alarms: in streams of honest deployments that the baseline does not "
        "know, two of which compute much as those do that probes are chosen on; then in streams of "
        f"{REQUESTS} requests at most to the reference deployments that they are not chosen on, each left out of the "
        "baseline in turn. Intervals are of the streams alone; how a suite happens to be drawn is not in them.",
        "",
        "| what is asked | probes | deviation | 100 % of requests | 10 % | 5 % | 1 % | alarms | of those left out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for what, (mined, wanted) in ROWS.items():
        rows = [row for row in wanted if all(c in deployments_of(model) for c in row.candidates)]
        lines += _mined_rows(model, *_together(turns[: mined.turns]), what, mined, rows)
    return "\n".join([*lines, _natural_row(model)])


def _together(turns: Sequence[tuple[Sequence[Probe], Texts]]) -> tuple[dict[str, Probe], Texts]:
    """The prompts of some turns by id, and what was answered to them."""
    prompts: dict[str, Probe] = {}
    recorded: dict[str, dict[str, Answer]] = {}
    for some, answers in turns:
        prompts |= {p.id: p for p in some}
        for name, kept in answers.items():
            recorded[name] = recorded.get(name, {}) | {p.id: kept[p.id] for p in some if p.id in kept}
    return prompts, recorded


def asked_in_turn(model: str, turn: int) -> tuple[list[Probe], Texts]:
    """Of one prompt of each word those on which all that are chosen on say the same, and may choose; and all answers.

    Every turn has answers of its own, so that turns can be asked side by side.
    """
    prompts = list(composed(framed(WORDS, turn + 1)[turn :: turn + 1], "calibration"))
    answers: dict[str, dict[str, Answer]] = {}

    def paths(prompt: Probe) -> list[GreedyPath]:
        return [GreedyPath.of(answers[name][prompt.id]) for name in CHOSEN_ON if name in answers]

    kinds = [mined for mined, _ in ROWS.values() if turn < mined.turns]
    for name in CHOSEN_ON:
        answers |= _asked(model, ONE_TOKEN, prompts, [name])
        prompts = [p for p in prompts if any(mined.may_be(paths(p)) for mined in kinds)]
    for mined in kinds:
        answers |= _asked(model, ONE_TOKEN, [p for p in prompts if mined.may_be(paths(p))], mined.against)
    return prompts, answers


def _named(model: str, kind: str) -> list[str]:
    return [name for name, d in deployments_of(model).items() if d.kind == kind]


def _asked(
    model: str, manifest: Manifest, probes: Sequence[Probe], names: Sequence[str]
) -> dict[str, dict[str, Answer]]:
    """What deployments answer."""
    bank = Bank(DEFAULT_FOLDER, model, Suite(manifest, tuple(probes), "", Path()), tuple(probes))
    for name in names:
        bank.fill(name, lambda line: print(line, file=sys.stderr, flush=True))
    return {name: {i: first for i, (first, *_) in bank.answers(name).items()} for name in names}


def _mined_rows(
    model: str, prompts: Mapping[str, Probe], recorded: Texts, what: str, mined: Mined, rows: Sequence[Row]
) -> Iterator[str]:
    """The rows of one kind of mined probes."""
    names, held_out = (*CHOSEN_ON, *mined.against), _named(model, "held-out")
    answered = set.intersection(*(set(recorded[name]) for name in names))
    paths = {i: {name: GreedyPath.of(recorded[name][i]) for name in names} for i in prompts if i in answered}
    everyone: dict[str, dict[str, Answer]] = {name: dict(recorded[name]) for name in names}

    def ask(probes: Sequence[Probe], deployments: Sequence[str]) -> None:
        for name in deployments:
            kept = everyone.setdefault(name, {})
            kept |= _asked(model, ONE_TOKEN, [p for p in probes if p.id not in kept], [name])[name]

    def trial(against: tuple[str, ...], size: int, candidates: Sequence[str]) -> Trial:
        chosen = GreedyPaths(paths, CHOSEN_ON, against).choose(mined.criteria)[mined.kind]
        kept = one_of_each({mined.kind: [prompts[i] for i in chosen]})[mined.kind][:size]
        probes = deal({mined.kind: kept}, np.random.default_rng(0))
        ask(probes, _named(model, "reference"))
        ask(_fold(probes, "evaluation"), [*held_out, *candidates])
        known = {name: everyone[name] for name in (*_named(model, "reference"), *against)}
        return _trial(
            model, ONE_TOKEN, probes, known, against, {name: everyone[name] for name in (*held_out, *candidates)}
        )

    for row in rows:
        if row.apart:
            trials = {c: trial((v,), row.size, [c]) for c, v in row.candidates.items()}
            apart = "that format"
        else:
            trials = dict.fromkeys(row.candidates, trial(mined.against, row.size, list(row.candidates)))
            apart = f"any of {len(mined.against)} formats" if mined.against else "nothing"
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
        baseline = calibrated(Path(folder), model, suite, answers.items(), variants)
        table, evaluation = baseline.table, suite.fold("evaluation")
        if table is None:
            raise ValueError(f"no envelope of {len(probes)} probes")
        seen, left_out = Flips.of(baseline, evaluation, shown), _left_out(baseline, suite, recorded)
    return Trial(freeze(table, ALPHA), seen, variants, len(evaluation), len(suite.fold("calibration")), left_out)


def _left_out(baseline: Baseline, suite: Suite, recorded: Texts) -> tuple[int, int]:
    """Alarms and streams of a `Trial`'s reference deployments that are left out."""
    rules = Rules(ALPHA, CALIBRATION_SHARE * ALPHA, 1, 0.05)
    further = [p.id for p in suite.probes if p.fold != "evaluation"]
    references = [d for d in baseline.manifest.deployments if d.role == "reference"]
    alarms, unchosen = 0, [d for d in references if d.name not in CHOSEN_ON]
    for number, own in enumerate(unchosen):
        kept = [d for d in references if d is not own]
        manifest = baseline.manifest.model_copy(update={"deployments": kept})
        others = Baseline(baseline.name, baseline.folder, manifest, baseline.hash, None)
        answers = {i: {p: recorded[d.name][p] for p in further} for i, d in enumerate(kept)}
        shown = {p.id: [recorded[own.name][p.id]] for p in suite.fold("evaluation")}
        tails, rng = greedy_text(others, suite, answers, shown, VIEWS[0]), np.random.default_rng(number)
        envelope = freeze(tails.redrawn(rng), ALPHA)
        alarms += tails.streams(envelope, FULL, np.arange(len(tails.strata)), rng).alarms(rules)
    return alarms, BLOCK * len(unchosen)


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
    left_out = np.sum([trial.left_out for trial in {id(t): t for t in trials.values()}.values()], axis=0)
    cells += [f"{(alarms.requests <= LIMIT).sum()} of {len(alarms.requests)}", f"{left_out[0]} of {left_out[1]}"]
    return f"| {' | '.join(cells)} |"
