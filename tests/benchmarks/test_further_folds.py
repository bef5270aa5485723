"""The benchmark's own evaluation folds: words held out of the calibration, and prompts chosen by honest answers."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from baselines import record_lab
from baselines.record_lab import DIRECTED
from benchmarks.detection.chosen import CERTAIN, CHOSEN_ON, FOLLOWED, MARGIN, SURE, chosen
from benchmarks.detection.longer import longer
from benchmarks.detection.rows import FOUR_BITS
from probes.compose import framed
from qcheck.baselines import Answer, Baseline, load_baseline, read_answers
from qcheck.evidence.calibration import deepened
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.scoring import Yardstick
from qcheck.lab import bank as bank_module
from qcheck.lab.bank import Bank
from qcheck.lab.catalog import deployments_of
from qcheck.packing import pack
from qcheck.records import Position
from qcheck.suites import Fold, Probe, Suite, load_suite, shipped_folder
from qcheck.tailcounts import FULL, TailCount

# The packages' functions have the names of their modules.
LONGER, CHOSEN = (sys.modules[function.__module__] for function in (longer, chosen))
CHUNK, FILE = 4, 1  # probes of a file, and which file is held out
KEPT = ("honest-f32", "honest-bf16", "honest-torch-f32", "q8_0", "q6_k", "int8", "fp8")


@pytest.fixture
def recorded() -> Baseline:
    """A few of the shipped deployments, with a table that has counted two files of further words."""
    baseline = load_baseline(shipped_folder("baselines") / "lab-tiny")
    table, suite = baseline.table, load_suite("logprobs")
    assert table is not None
    own = sum(p.stratum == "words" for p in suite.fold("calibration"))

    def reduced(count: TailCount) -> TailCount:
        honest = {name: CHUNK for name in count.honest if name in KEPT}
        clusters = own + 2 * CHUNK if count.clusters >= own else count.clusters
        return count.model_copy(update={"clusters": clusters, "honest": honest, "honest_any": 2 * CHUNK})

    events = [e.model_copy(update={"counts": {s: reduced(c) for s, c in e.counts.items()}}) for e in table.events]
    deployments = [d for d in baseline.manifest.deployments if d.name in KEPT]
    manifest = baseline.manifest.model_copy(update={"deployments": deployments})
    table = table.model_copy(update={"events": events, "directed": list(record_lab.DIRECTED)})
    return Baseline(baseline.name, baseline.folder, manifest, baseline.hash, table)


@pytest.fixture
def words(recorded: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """Two files of further words: those of the suite under other names."""
    suite = load_suite("logprobs")
    known = [p for p in suite.fold("evaluation") if p.stratum == "words"][: 2 * CHUNK]
    renamed = tuple(replace(p, id=f"further-{i}", cluster=f"further-{i}") for i, p in enumerate(known))
    monkeypatch.setattr(bank_module, "CHUNK", CHUNK)
    monkeypatch.setattr(LONGER, "CHUNK", CHUNK)
    monkeypatch.setattr(LONGER, "FILE", FILE)
    bank = Bank(tmp_path / "deep", "lab-tiny", suite, renamed)
    for d in recorded.manifest.deployments:
        answers = read_answers(recorded.folder, d.answers)
        part = {new.id: answers[old.id] for new, old in list(zip(renamed, known, strict=True))[FILE * CHUNK :]}
        file = bank_module._file(bank._place(d.name), FILE)
        file.parent.mkdir(parents=True)
        file.write_bytes(pack(part))
    monkeypatch.setattr(record_lab, "deep_bank", lambda *_: bank)
    return bank


def test_the_words_that_providers_are_asked_are_taken_out_of_the_counts(
    recorded: Baseline, words: Bank, tmp_path: Path
) -> None:
    suite = load_suite("logprobs")
    found = longer(recorded, suite, tmp_path)
    assert found is not None
    baseline, held = found
    assert [p.id for p in held] == [p.id for p in words.probes[FILE * CHUNK :]]
    assert {p.fold for p in held} == {"evaluation"}
    assert baseline.names(baseline.directed) == recorded.names(recorded.directed)
    assert recorded.table is not None
    assert baseline.table is not None
    (block,) = record_lab.deep_blocks(recorded, words, [FILE])
    scorer = LeaveOneOut(recorded, suite, Yardstick.of(recorded))
    assert deepened(baseline.table.events, scorer, block, recorded.directed) == recorded.table.events
    assert {e.counts["words"].clusters for e in baseline.table.seen(FULL)} == {recorded.table.clusters["words"] - CHUNK}


def test_there_is_none_where_the_words_were_not_counted(
    recorded: Baseline, words: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LONGER, "FILE", FILE + 1)
    assert longer(recorded, load_suite("logprobs"), tmp_path) is None


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> list[Probe]:
    """The probes of the last calibrated baseline, which are not calibrated; nobody is asked anything."""
    probes: list[Probe] = []

    def calibrate(folder: Path, suite: Suite, *_: object, **__: object) -> bool:
        probes[:] = suite.probes
        return True

    monkeypatch.setattr(CHOSEN, "MIN_CLUSTERS", 8)
    monkeypatch.setattr("benchmarks.calibrated.recalibrate", calibrate)
    monkeypatch.setattr(Bank, "fill", lambda *_, **__: None)
    return probes


FOLDS: dict[Fold, int] = {"evaluation": 8, "selection": 4}


def test_certain_prompts_are_those_of_which_both_engines_are_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dealt: list[Probe]
) -> None:
    asked = defaultdict[str, list[int]](list)

    def answers(bank: Bank, deployment: str) -> dict[str, tuple[Answer, ...]]:
        """The first engine is sure of every other task, the second of every fourth."""
        asked[deployment].append(len(bank.probes))
        found = {}
        for p in bank.probes:
            sure = int(p.id.removeprefix("task-")) % (2 if deployment == CHOSEN_ON[0] else 4) == 0
            best = SURE + 0.01 if sure else SURE - 0.01
            top = (("=a", float(np.log(best))), ("=b", float(np.log(1 - best))))
            found[p.id] = (Answer(3, (Position("=a", top[0][1], top),)),)
        return found

    monkeypatch.setattr(CHOSEN, "TASKS", 2 * (("copying", 30), ("holder", 10)))
    monkeypatch.setattr(Bank, "answers", answers)
    choice = replace(CERTAIN, folds=FOLDS)
    baseline, suite = chosen(choice, "lab-twin", load_suite("logprobs"), tmp_path / "banks", tmp_path, print)
    prompts = suite.fold("evaluation")
    numbers = {int(p.id.removeprefix("task-")) for p in prompts}
    assert len(numbers) == 8
    assert all(number % 4 == 0 for number in numbers)
    assert [asked[name] for name in (*CHOSEN_ON, "q8_0")] == [[80, 40], [40, 40], [40]]
    assert list(suite.probes) == dealt
    assert sorted(Counter(p.fold for p in dealt).items()) == [("calibration", 8), ("evaluation", 8), ("selection", 4)]
    honest = [name for name, d in deployments_of("lab-twin").items() if d.kind == "reference"]
    assert list(baseline.names(baseline.references)) == honest
    assert all(baseline.probe(p.id) for p in prompts)


def test_followed_prompts_are_one_of_each_word_on_whose_path_both_engines_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dealt: list[Probe]
) -> None:
    def answers(bank: Bank, deployment: str) -> dict[str, tuple[Answer, ...]]:
        """Every third word is followed in both frames, others in the second; every fourth one engine goes elsewhere."""
        found = {}
        for p in bank.probes:
            word, turn = map(int, p.id.removeprefix("word-").split("-"))
            elsewhere = deployment == CHOSEN_ON[1] and word % 4 == 0
            lead = 2 * MARGIN if turn == 2 or word % 3 == 0 else MARGIN / 2
            steps = [(f"={'b' if elsewhere else 'a'}", -0.1), ("=c", -0.1 - lead)]
            found[p.id] = (Answer(3, tuple(Position(steps[0][0], -0.1, tuple(steps)) for _ in range(2))),)
        return found

    monkeypatch.setattr(CHOSEN, "WORDS", 60)
    monkeypatch.setattr(CHOSEN, "UNSEEN", 40)
    monkeypatch.setattr(Bank, "answers", answers)
    choice = replace(FOLLOWED, folds=FOLDS)
    baseline, suite = chosen(choice, "lab-moe", load_suite("logprobs"), tmp_path / "banks", tmp_path, print)
    assert len(suite.fold("evaluation")) == 8
    assert list(suite.probes) == dealt
    assert all(p.id.endswith("-1" if int(p.cluster.removeprefix("word-")) % 3 == 0 else "-2") for p in dealt)
    assert {p.id[-2:] for p in dealt} == {"-1", "-2"}
    assert not [p.id for p in dealt if int(p.cluster.removeprefix("word-")) % 4 == 0]
    assert len({p.cluster for p in dealt}) == len(dealt)
    unseen = {row["cluster"] for row in framed(60, 1)[20:]}
    assert all(p.fold == "calibration" for p in dealt if p.cluster not in unseen)
    assert {p.fold for p in dealt if p.cluster in unseen} == {"calibration", "selection", "evaluation"}
    honest = baseline.names(baseline.references)
    assert {"honest", "honest-torch-f32-batch"} <= set(honest)
    assert not {"honest-b", *choice.strangers} & set(honest)
    assert set(baseline.names(baseline.variants)) == {*DIRECTED, *FOUR_BITS.values()}
