"""What providers may do to hide a deviation, and what still works: `python -m benchmarks evasion`.

Real answers of the lab's deployments, changed as such a provider would change them, folded one by one by the evidence
class that `qcheck compare` uses, which asks the prompts of deviating answers again before it counts them. What honest
providers do too (rounding, noise, bfloat16, other names for tokens, lists that are short or made to sum to 1, none at
the end or none at all, a cache) must raise no alarm among them; noise in a part of the requests does, as it cannot be
told from other weights in a part of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import logsumexp

from benchmarks.detection import BUILD, bank
from benchmarks.detection.chosen import CERTAIN, chosen
from qcheck.baselines import Answer, Baseline, ProbeReference, load_baseline
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.tails import Shown
from qcheck.evidence.views import View
from qcheck.jobs.panel import Panel, sample
from qcheck.lab.bank import DEFAULT_FOLDER
from qcheck.lab.catalog import deployments_of
from qcheck.records import Position, token_bytes, token_key
from qcheck.suites import Suite, load_suite, shipped_folder
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["ARMS", "Arm", "Outcome", "StreamFold", "report", "retuned", "table"]

MODEL, OTHER_MODEL = "lab-tiny", "lab-twin"
ALPHA, TOLERANCE, STREAMS, REQUESTS, DRAWS = 0.01, 0.05, 60, 600, 6
DEVIATING = ("q4_k_m-torch", "fp8-bf16")
FRACTIONS = (1.0, 0.1)
PUBLISHED, PRIVATE = (0, 2), (1, 2)  # as evaluation probes are drawn from one population

Array = NDArray[np.float64]
Answers = dict[str, Answer]  # first answers by probe id, in one order for all deployments
Twice = tuple[Answers, Answers]  # the second ones are those to probes that are asked again
Change = Callable[[Answers, Answers, np.random.Generator], Answers]  # a deployment's own, and an honest one's


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to hide. change: of a deployment's answers. all_traffic: whether of the honest ones too.

    probes: which of the evaluation probes are asked, in the order of the answers: the first, and each so many further.
    draws: how often what is random in it is drawn anew for honest streams.
    """

    what: str
    change: Change
    all_traffic: bool = True
    probes: tuple[int, int] = (0, 1)
    draws: int = 1


def _valued(answer: Answer, values: Callable[[Array], Array]) -> Answer:
    """The answer with other log-probabilities in its lists, in falling order again."""

    def changed(position: Position) -> Position:
        keys = [key for key, _ in position.top]
        new = values(np.array([value for _, value in position.top])) + 0.0  # a minus zero is a zero
        top = sorted(zip(keys, map(float, new), strict=True), key=lambda pair: -pair[1])
        return replace(position, top=tuple(top), logprob=dict(top).get(position.token, position.logprob))

    return replace(answer, positions=tuple(map(changed, answer.positions)))


def _each(change: Callable[[Answer, np.random.Generator], Answer]) -> Change:
    return lambda own, _, rng: {probe_id: change(answer, rng) for probe_id, answer in own.items()}


def _as(values: Callable[[Array], Array]) -> Change:
    return _each(lambda answer, _: _valued(answer, values))


def _rounded(step: float, rounding: Callable[[Array], Array] = np.round) -> Change:
    return _as(lambda v: rounding(v / step) * step)


def _kept_mass(values: Array, listed: Array) -> Array:
    """New values shifted so that together they are as probable as the old ones were."""
    return values + float(logsumexp(listed) - logsumexp(values))


def _noised(nats: float) -> Change:
    def noisy(answer: Answer, rng: np.random.Generator) -> Answer:
        return _valued(answer, lambda v: _kept_mass(v + rng.normal(0, nats, len(v)), v))

    return _each(noisy)


def _now_and_then(change: Change, share: float) -> Change:
    def changed(own: Answers, honest: Answers, rng: np.random.Generator) -> Answers:
        other = change(own, honest, rng)
        return {probe_id: other[probe_id] if rng.random() < share else answer for probe_id, answer in own.items()}

    return changed


def _after(first: Change, second: Change) -> Change:
    return lambda own, honest, rng: second(first(own, honest, rng), honest, rng)


def _bfloat16(values: Array) -> Array:
    """Rounded to 8 significant bits."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(fraction * 2**8) / 2**8, exponent)


def _in_bfloat16(low: float, high: float) -> Change:
    """From logits in bfloat16, which has 8 significant bits. The largest of a list lies between `low` and `high`."""

    def changed(answer: Answer, rng: np.random.Generator) -> Answer:
        def lattice(values: Array) -> Array:
            logits = values - values.max() + rng.uniform(low, high)
            return _kept_mass(_bfloat16(logits), values)

        return _valued(answer, lattice)

    return _each(changed)


def _listed(tokens: int) -> Change:
    def cut(answer: Answer, _: np.random.Generator) -> Answer:
        return replace(answer, positions=tuple(replace(p, top=p.top[:tokens]) for p in answer.positions))

    return _each(cut)


def _three_decimals(values: Array) -> Array:
    """Logarithms of probabilities that were rounded to three decimals."""
    places = np.round(np.exp(values), 3)
    return np.log(places, out=np.full_like(values, -np.inf), where=places > 0)


def _renamed(name: Callable[[str], str]) -> Change:
    """Other names for tokens that have a text; of those that get the same one the most probable is listed."""

    def changed(answer: Answer, _: np.random.Generator) -> Answer:
        def key(old: str) -> str:
            return "=" + name(old[1:]) if old.startswith("=") else old

        def listed(position: Position) -> Position:
            best: dict[str, float] = {}
            for old, value in position.top:
                best.setdefault(key(old), value)
            return replace(position, token=key(position.token), top=tuple(best.items()))

        return replace(answer, positions=tuple(map(listed, answer.positions)))

    return _each(changed)


def _nameless(answer: Answer, _: np.random.Generator) -> Answer:
    """As llama-cpp-python lists: nothing at the end, and of tokens without a text the last, by the empty string."""

    def name(key: str) -> str:
        return key if key.startswith("=") else token_key("", None, None)

    said = [token_bytes(p.token) for p in answer.positions]
    listed = tuple(
        replace(p, token=name(p.token), top=tuple({name(key): (name(key), value) for key, value in p.top}.values()))
        for p in answer.positions[: None if said[-1] else -1]
    )
    return replace(answer, positions=listed, text=b"".join(said).decode("utf-8", "replace"))


def _entropy(answers: Answers, temperature: float = 1.0) -> float:
    """Mean entropy in nats of the listed tokens of first positions, their probabilities made to sum to 1."""
    entropies = []
    for answer in answers.values():
        logits = np.array([value for _, value in answer.positions[0].top]) / temperature
        logprobs = logits - logsumexp(logits)
        entropies.append(-float((np.exp(logprobs) * logprobs).sum()))
    return float(np.mean(entropies))


def retuned(own: Answers, honest: Answers, _: np.random.Generator) -> Answers:
    """After the temperature at which the mean entropy is an honest deployment's. What is not listed keeps its mass."""
    wanted = _entropy(honest)
    temperature = optimize.brentq(lambda t: _entropy(own, t) - wanted, 0.5, 2.0)
    return {i: _valued(a, lambda v: _kept_mass(v / temperature, v)) for i, a in own.items()}


def _replayed(own: Answers, honest: Answers, _: np.random.Generator) -> Answers:
    """To each probe an honest answer to the one before it."""
    return dict(zip(own, np.roll(np.array(list(honest.values()), object), 1), strict=True))


def _part(own: Answers, probes: tuple[int, int]) -> set[str]:
    first, step = probes
    return set(list(own)[first::step])


def _recognised(own: Answers, honest: Answers, _: np.random.Generator) -> Answers:
    """Honest answers to every other probe, which was published."""
    return own | {probe_id: honest[probe_id] for probe_id in _part(own, PUBLISHED)}


def _prepared(own: Answers, honest: Answers, _: np.random.Generator) -> Answers:
    """First tokens from an honest machine that reads the prompts, as far as the other one says the same."""

    def handed_over(answer: Answer, first: Position) -> Answer:
        same = answer.positions[0].token == first.token
        return replace(answer, positions=(first, *answer.positions[1:])) if same else answer

    return {i: handed_over(answer, honest[i].positions[0]) for i, answer in own.items()}


ARMS = (
    Arm("nothing", _each(lambda answer, _: answer)),
    Arm("rounded to two decimals", _rounded(0.01)),
    Arm("rounded to 1/16", _rounded(1 / 16)),
    Arm("rounded to 1/8", _rounded(1 / 8)),
    Arm("cut down to 1/8", _rounded(1 / 8, np.floor)),
    Arm("cut to 1/8 towards zero", _rounded(1 / 8, np.ceil)),
    Arm("logits in bfloat16, the largest just above 16", _in_bfloat16(16.5, 18)),
    Arm("logits in bfloat16, the largest just above 32", _in_bfloat16(33, 36)),
    Arm("probabilities in bfloat16", _as(lambda v: np.log(_bfloat16(np.exp(v))))),
    Arm("log-probabilities in bfloat16", _as(_bfloat16)),
    Arm("probabilities made to sum to 1 over the list", _as(lambda v: v - float(logsumexp(v)))),
    Arm("probabilities with three decimals", _as(_three_decimals)),
    Arm("tokens named by a tokenizer's signs", _renamed(lambda name: name.replace(" ", "Ġ").replace("\n", "Ċ"))),
    Arm("tokens named without the space that they begin with", _renamed(lambda name: name.removeprefix(" ") or name)),
    *(Arm(f"noise of {nats} nats", _noised(nats), draws=DRAWS) for nats in (0.01, 0.02, 0.03, 0.05, 0.1)),
    Arm("noise of 0.1 nats in a fifth of the requests", _now_and_then(_noised(0.1), 0.2), draws=DRAWS),
    Arm("noise of 0.05 nats, rounded to 1/16", _after(_noised(0.05), _rounded(1 / 16)), draws=DRAWS),
    Arm("noise of 0.05 nats, five tokens listed", _after(_noised(0.05), _listed(5)), draws=DRAWS),
    Arm("five tokens listed", _listed(5)),
    Arm("one token listed", _listed(1)),
    Arm("first token from an honest machine", _prepared, all_traffic=False),
    Arm("no log-probabilities", _each(lambda answer, _: replace(answer, positions=()))),
    Arm("temperature retuned", retuned, all_traffic=False),
    Arm("honest answers from a cache", lambda _, honest, __: honest),
    Arm("honest answers to other probes", _replayed, all_traffic=False),
    Arm("published probes, recognised", _recognised, probes=PUBLISHED),
    Arm("private probes of the same suite", _recognised, probes=PRIVATE),
    Arm("no list at the end, tokens without a text under one name", _each(_nameless)),
)


NOISED = tuple(arm for arm in ARMS if arm.what.startswith(("nothing", "noise")))


class StreamFold:
    """Folds streams of the same answers again and again; what one shows is computed once for each view of it."""

    def __init__(self, panel: Panel) -> None:
        assert panel.baseline is not None
        assert panel.envelope is not None
        self._made = panel.baseline, panel.envelope, panel.suite
        self._memory: dict[tuple[str, int, str, bool], tuple[Answer, Shown | None, View]] = {}
        self.log_threshold = Rules(panel.envelope.alpha, panel.envelope.delta, 1, TOLERANCE).log_threshold

    def __call__(
        self, stream: Sequence[tuple[str, Answer]], again: Mapping[str, Answer]
    ) -> tuple[int | None, LogprobEvidence]:
        """How many requests it takes until *deviates*, None if all do not do, and the evidence at that place.

        again: what is answered to a probe when it is asked again.
        """
        evidence, repeats = _Remembering(self._memory, *self._made), 0
        for number, (probe_id, answer) in enumerate(stream, 1):
            evidence.update(probe_id, answer)
            if evidence.log_e >= self.log_threshold and len(set(evidence.deviating)) >= MIN_DEVIATING:
                while due := evidence.repeats.due:
                    evidence.settle_again(due[0], again[due[0]])
                    repeats += 1
                if evidence.repeats.stands is not None:
                    return number + repeats if evidence.repeats.stands else None, evidence
        return None, evidence


class _Remembering(LogprobEvidence):
    def __init__(
        self,
        memory: dict[tuple[str, int, str, bool], tuple[Answer, Shown | None, View]],
        baseline: Baseline,
        envelope: Envelope,
        suite: Suite,
    ) -> None:
        super().__init__(baseline, envelope, suite)
        self._memory = memory

    def _compared(self, probe_id: str, answer: Answer, reference: ProbeReference) -> Shown | None:
        key = probe_id, id(answer), self._view.name, self.mute
        if key not in self._memory:
            shown = super()._compared(probe_id, answer, reference)
            self._memory[key] = answer, shown, self._view  # with the answer itself, so that its id stays its own
        _, shown, self._view = self._memory[key]
        return shown


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the streams of one cell: requests until *deviates*, and how many are *consistent* otherwise."""

    alarms: tuple[int, ...]
    consistent: int
    streams: int

    def quantile(self, q: float) -> str:
        """The number of requests within which a share `q` of the streams deviates."""
        rank = int(np.ceil(q * self.streams)) - 1
        return str(sorted(self.alarms)[rank]) if rank < len(self.alarms) else "–"


def report() -> str:
    """The table for the shipped baseline, and the arms with noise on another model."""
    suite = load_suite("logprobs")
    shipped = load_baseline(shipped_folder("baselines") / MODEL)
    baseline, dealt = chosen(CERTAIN, OTHER_MODEL, suite, DEFAULT_FOLDER, BUILD, _tell)
    return "\n\n".join(
        [
            f"**{MODEL}**, on whose noised answers it was chosen when an answer stands that is asked for again",
            _table_of(shipped, suite, ARMS),
            f"**{OTHER_MODEL}**, prompts {CERTAIN.what} (`benchmarks/detection/chosen.py`); they decided none of its "
            "numbers, but that few must stand twice, and second answers deviate, was thought of with alarms here in "
            "sight",
            _table_of(baseline, replace(dealt, probes=dealt.fold("evaluation")), NOISED),
        ]
    )


def _table_of(baseline: Baseline, suite: Suite, arms: Sequence[Arm]) -> str:
    """Those arms beside one baseline, on answers of deployments that it does not know."""
    kept = bank(baseline, suite, suite.fold("evaluation"), (), DEVIATING)
    honest = [name for name, d in deployments_of(kept.model).items() if d.kind == "held-out"]
    answers = {
        name: {probe_id: repeats[0] for probe_id, repeats in kept.answers(name).items()}
        for name in (*honest, *DEVIATING)
    }
    return table(baseline, suite, answers, honest, arms)


def table(
    baseline: Baseline,
    suite: Suite,
    answers: Mapping[str, Answers],
    honest: Sequence[str],
    arms: Sequence[Arm] = ARMS,
    streams: int = STREAMS,
) -> str:
    """A row per arm. answers: by deployment. honest: those that the baseline does not know."""
    assert baseline.table is not None
    panel = Panel(suite, baseline, freeze(baseline.table, ALPHA), 1.0)
    heads = [f"{name}, {fraction:.0%}" for name in DEVIATING for fraction in FRACTIONS]
    lines = [f"| arm | honest: alarms, consistent | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for arm in arms:
        fold = StreamFold(panel)
        rng = np.random.default_rng(len(lines))
        faithful = [answers[name] for name in honest]
        drawn = [[_asked_twice(arm, own, faithful[0], rng) for own in faithful] for _ in range(arm.draws)]
        both = drawn[0]
        cells = ["not done"]
        if arm.all_traffic:
            share = -(-streams // arm.draws)
            alike = [_folded(fold, panel, arm, own, [own], 0.0, share, rng) for some in drawn for own in some]
            alarms, consistent = sum(len(f.alarms) for f in alike), sum(f.consistent for f in alike)
            cells = [f"{alarms}, {consistent} of {share * len(alike)}"]
        for name in DEVIATING:
            own = _asked_twice(arm, answers[name], faithful[0], rng)
            others = both if arm.all_traffic else [(one, one) for one in faithful]
            for fraction in FRACTIONS:
                found = _folded(fold, panel, arm, own, others, fraction, streams, rng)
                cells.append(f"{found.quantile(0.5)} / {found.quantile(0.9)}; {found.consistent}")
        lines.append(f"| {arm.what} | {' | '.join(cells)} |")
    said = (
        f"{streams} streams of at most {REQUESTS} requests in each cell, for each of {', '.join(honest)} where all are "
        f"honest, and {DRAWS} draws of noise among those. Of deviating deployments, by their share of the requests: "
        "median / 90 % quantile of requests until *deviates*, those included by which prompts are asked again; how "
        "many streams are *consistent* in the end, which a provider that deviates should not be. Noise in a part of "
        "the requests cannot be told from other weights in a part of them. *Not done*: who does that is not honest "
        "whatever is served, or changes what others answer alone."
    )
    return "\n".join([*lines, "", said])


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _asked_twice(arm: Arm, own: Answers, honest: Answers, rng: np.random.Generator) -> Twice:
    """What is answered to each probe, and when it is asked again."""
    return arm.change(own, honest, rng), arm.change(own, honest, rng)


def _folded(
    fold: StreamFold,
    panel: Panel,
    arm: Arm,
    own: Twice,
    others: Sequence[Twice],
    fraction: float,
    streams: int,
    rng: np.random.Generator,
) -> Outcome:
    """Streams in which a share of the requests is answered by `own`, the others by one of `others`."""
    alarms, consistent = [], 0
    allowed = _part(own[0], arm.probes)
    for _ in range(streams):
        groups = sample([panel], TOLERANCE, int(rng.integers(2**31)))
        asked = [str(p) for _, g in groups for p in rng.permutation([x.id for x in g if x.id in allowed])][:REQUESTS]
        server = others[int(rng.integers(len(others)))]
        first, second = ([(own if d else server) for d in rng.random(len(asked)) < fraction] for _ in range(2))
        stream = [(p, served[0][p]) for p, served in zip(asked, first, strict=True)]
        alarm, evidence = fold(stream, {p: served[1][p] for p, served in zip(asked, second, strict=True)})
        if alarm is not None:
            alarms.append(alarm)
        else:
            bound, suspected = evidence.bound(), bool(evidence.repeats.findings())  # who is asked again is no agreement
            consistent += not suspected and bound is not None and bound <= TOLERANCE
    return Outcome(tuple(alarms), consistent, streams)
