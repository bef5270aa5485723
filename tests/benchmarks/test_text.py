"""The benchmark of greedy text, on first tokens made by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import text
from benchmarks.detection.rows import FOUR_BITS
from benchmarks.text import ONE_TOKEN, Row, Texts
from qcheck.baselines import Answer
from qcheck.jobs.mine import deal
from qcheck.records import Message, Position
from qcheck.stats.bets import TailBets
from qcheck.stats.counted import bound_at
from qcheck.suites import Manifest, Probe
from qcheck.verdict import Rules

MODEL = "lab-twin"
HONEST, HELD_OUT = (text._named(MODEL, kind) for kind in ("reference", "held-out"))
PROBES = [Probe(f"p{i}", f"c{i}", "evaluation", (Message("user", f"q{i}"),)) for i in range(1200)]
FORMATS = list(FOUR_BITS.values())


def says(first: str, second: str, lead: float = 0.2) -> Answer:
    """One token that is preferred to another by `lead` nats."""
    top = ((f"={first}", -0.5), (f"={second}", -0.5 - lead), ("=rest", -9.0))
    return Answer(None, (Position(f"={first}", -0.5, top),))


def everybody() -> Texts:
    """Honest deployments always say yes, each format no on a quarter of the probes, its own; so do the candidates."""
    yes = {p.id: says("yes", "no") for p in PROBES}
    flips = {
        name: yes | {p.id: says("no", "yes") for p in PROBES[index :: len(FORMATS)]}
        for index, name in enumerate(FORMATS)
    }
    candidates = {candidate: flips[variant] for candidate, variant in FOUR_BITS.items()}
    surer = {p.id: says("yes", "no", 0.23) for p in PROBES}
    honest = {name: surer if "bf16" in name else yes for name in (*HONEST, *HELD_OUT)}
    return honest | flips | candidates


def trial(variant: str, probes: Sequence[Probe]) -> text.Trial:
    answers = everybody()
    recorded = {name: answers[name] for name in (*HONEST, variant)}
    shown = {name: answers[name] for name in (*HELD_OUT, *FOUR_BITS)}
    return text._trial(MODEL, ONE_TOKEN, probes, recorded, (variant,), shown)


@pytest.fixture(scope="module")
def apart() -> text.Trial:
    """The probes that separate the first format."""
    return trial(FORMATS[0], deal({"separating": PROBES[:: len(FORMATS)]}, np.random.default_rng(0)))


def test_streams_stop_where_the_bets_do(apart: text.Trial) -> None:
    levels = apart.envelope.levels["full"]
    bets, needed = TailBets([level.weight for level in levels]), 0
    bounds = [[level.hit_bounds[stratum] for level in levels] for stratum in levels[0].null_bounds]
    threshold = Rules(apart.envelope.alpha, apart.envelope.delta, 1, 0.05).log_threshold
    while bets.update([True] * len(levels), [bound_at(of, needed) for of in bounds[0]]) < threshold:
        needed += 1
    found = apart.stops(HELD_OUT, next(iter(FOUR_BITS)), 1.0, 20)
    assert set(found.requests.tolist()) == {needed + 1}


def test_undecided_streams_are_undecided_however_few_probes_there_are(apart: text.Trial) -> None:
    found = apart.stops(HELD_OUT, list(FOUR_BITS)[1], 1.0, 20)  # which says yes on all of these
    assert set(found.requests.tolist()) == {found.limit + 1}
    assert found.limit > apart.evaluation


def test_probes_of_one_format_prove_it_sooner_than_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = everybody()

    def asked(model: str, manifest: Manifest, probes: Sequence[Probe], names: Sequence[str]) -> Texts:
        return {name: {p.id: answers[name][p.id] for p in probes} for name in names}

    monkeypatch.setattr(text, "_asked", asked)
    monkeypatch.setattr(text, "STREAMS", 20)
    mined, _ = text.ROWS["separating by 0.08 nats:"]
    row = Row("4-bit", FOUR_BITS, apart=True)
    prompts = {p.id: p for p in PROBES}
    own, common = text._mined_rows(MODEL, prompts, answers, "probes of", mined, (row, replace(row, apart=False)))
    assert own.startswith("| probes of that format | 90 / 174 |")
    assert common.startswith("| probes of any of 4 formats | 360 / 696 |")
    sooner, later = (int(re.findall(r"(\d+) / \d+ \[", line)[0]) for line in (own, common))
    assert sooner < later
    # Of eight deployments that probes are not chosen on, beside each of four suites and beside the one of all.
    assert own.endswith("| 0 of 20 | 0 of 8000 |")
    assert common.endswith("| 0 of 20 | 0 of 2000 |")


def test_a_pool_is_asked_in_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked later is asked less: what those before have left."""
    sure, says_no = says("yes", "no", 3.0), says("no", "yes", 0.2)
    asked: dict[str, list[str]] = {}

    def ask(model: str, manifest: Manifest, probes: Sequence[Probe], names: Sequence[str]) -> Texts:
        asked.update({name: [p.id for p in probes] for name in names})
        return {name: {p.id: answer(name, i) for i, p in enumerate(probes)} for name in names}

    def answer(name: str, index: int) -> Answer:
        if name == text.CHOSEN_ON[0]:
            return sure if index % 2 else says("yes", "no", 0.2 if index % 4 else 0.3)
        return says_no if name == text.CHOSEN_ON[1] and index % 3 == 0 else says("yes", "no", 0.2)

    monkeypatch.setattr(text, "_asked", ask)
    monkeypatch.setattr(text, "WORDS", 60)
    prompts, answers = text.asked_in_turn(MODEL, 0)
    first, second = text.CHOSEN_ON
    assert (len(asked[first]), len(asked[second]), len(prompts)) == (60, 30, 20)
    assert asked["q4_0"] == [p.id for p in prompts]
    assert asked["q6_k"] == asked["q4_0"]
    assert set(answers) == {first, second, *FORMATS, "q6_k", "fp8"}
    assert {p.id for p in prompts}.isdisjoint(p.id for p in text.asked_in_turn(MODEL, 1)[0])
