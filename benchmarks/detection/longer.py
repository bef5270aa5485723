"""An evaluation fold of two thousand words, such as a private suite may have, and null bounds counted on the others.

The shipped suite's 800 words are too few for streams of which one request in a hundred deviates. The words that a table
was counted on deeply (`baselines.record_lab`) are draws from the same population: one file of them is taken out of the
counts, and is what providers are asked here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from baselines import record_lab
from qcheck.baselines import Baseline, load_baseline, save_manifest, write_answers
from qcheck.evidence.calibration import Block, deepened
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.scoring import Yardstick
from qcheck.jsonio import atomic_write, content_hash, pretty
from qcheck.lab.bank import CHUNK
from qcheck.suites import Probe, Suite
from qcheck.tailcounts import CalibrationTable, TailCount, TailEvent

__all__ = ["longer"]

FILE, STRATUM = 10, "words"


def longer(recorded: Baseline, suite: Suite, root: Path) -> tuple[Baseline, tuple[Probe, ...]] | None:
    """A baseline of the references and the directed variants of `recorded`, and the words that it has answers to.

    It is made once and kept below `root`. None where that file was not counted, or is not here.
    """
    table, words = recorded.table, record_lab.deep_bank(recorded.manifest.model, suite)
    known = recorded.names((*recorded.references, *recorded.directed))
    if table is None or FILE not in words.numbers or not all(words.has(name, FILE) for name in known):
        return None
    own = sum(p.stratum == STRATUM for p in suite.fold("calibration"))
    counted = min(event.counts[STRATUM].clusters for event in table.events) - own
    if counted < (FILE + 1) * CHUNK:
        return None
    key = content_hash([recorded.hash, FILE]).removeprefix("sha256:")
    folder = root / f"{recorded.manifest.model}-longer-{key[:16]}"
    if not (folder / "manifest.json").exists():
        (block,) = record_lab.deep_blocks(recorded, words, [FILE])
        _write(folder, recorded, table, suite, block)
    held = words.probes[FILE * CHUNK : (FILE + 1) * CHUNK]
    return load_baseline(folder), tuple(replace(p, fold="evaluation") for p in held)


def _write(folder: Path, recorded: Baseline, table: CalibrationTable, suite: Suite, held: Block) -> None:
    scorer = LeaveOneOut(recorded, suite, Yardstick.of(recorded))
    twice = deepened(table.events, scorer, held, recorded.directed)
    events = [_less(event, more) for event, more in zip(table.events, twice, strict=True)]
    data = pretty(table.model_copy(update={"events": events}).model_dump()).encode()
    atomic_write(folder / "calibration.json", data)
    entries = []
    for index in (*recorded.references, *recorded.directed):
        entry = recorded.manifest.deployments[index]
        answers = {p.id: [held.answers[index][p.id]] for p in held.probes}
        file = write_answers(folder, "deployments", entry.name, answers)
        entries.append(entry.model_copy(update={"repeats": 1, "answers": file, "calibration": None}))
    update = {"deployments": entries, "calibration_hash": content_hash(data)}
    save_manifest(folder, recorded.manifest.model_copy(update=update))


def _less(event: TailEvent, more: TailEvent) -> TailEvent:
    """The event's counts without those by which they have grown in `more`."""

    def less(old: TailCount, new: TailCount) -> TailCount:
        return old.model_copy(
            update={
                "clusters": 2 * old.clusters - new.clusters,
                "honest": {name: 2 * times - new.honest[name] for name, times in old.honest.items()},
                "honest_any": 2 * old.honest_any - new.honest_any,
            }
        )

    counts = {stratum: less(old, more.counts[stratum]) for stratum, old in event.counts.items()}
    return event.model_copy(update={"counts": counts})
