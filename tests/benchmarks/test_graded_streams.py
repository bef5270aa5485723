"""What the benchmark of graded answers says, on right and wrong answers made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import graded
from qcheck.baselines import Answer
from qcheck.suites import Probe, Suite, load_suite

WRONG_ON = {"honest": 0, "honest-f32": 1, "honest-batch": 2, "honest-torch-bf16": 3, "honest-torch-fp16": 4}


class FakeBank:
    """Reference deployments get one item in fifty wrong, each another one; worse models two thirds, others none."""

    def __init__(self, folder: Path, model: str, suite: Suite, probes: tuple[Probe, ...]) -> None:
        self._places = {p.id: i for i, p in enumerate(suite.probes)}
        self._probes = probes

    def fill(self, deployment: str, on_progress: object) -> None:
        """Nobody is asked."""

    def answers(self, deployment: str) -> dict[str, tuple[Answer, ...]]:
        def is_wrong(place: int) -> bool:
            return place % 3 > 0 if deployment in graded.WORSE else place % 50 == WRONG_ON.get(deployment)

        def said(probe: Probe) -> str:
            return "?" if is_wrong(self._places[probe.id]) or probe.answer is None else str(probe.answer.value)

        return {p.id: (Answer(10, (), said(p)),) for p in self._probes}


def test_a_worse_model_is_found_and_no_honest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graded, "Bank", FakeBank)
    monkeypatch.setattr(graded, "BLOCKS", 1)
    suite = load_suite(graded.SUITE)
    told = tuple(p for p in suite.probes if p.answer and isinstance(p.answer.value, int | str))
    suite = replace(suite, probes=told[::4])
    places = [i for i, p in enumerate(suite.probes) if p.fold == "evaluation"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in graded._table("lab-tiny", suite).splitlines()]
    seen = {row[0]: row[1:] for row in rows if row}
    for name, place in WRONG_ON.items():
        lost = sum(i % 50 == place for i in places)
        assert seen[name] == ["honest, left out", f"{lost} of {len(places)}", "0 of 250", "– / –"]
    for name in ("honest-b", "honest-c", "honest-torch-b"):
        assert seen[name] == ["honest, never in it", f"0 of {len(places)}", "0 of 250", "– / –"]
    for name in graded.WORSE:
        known = [i % 3 > 0 and i % 50 not in WRONG_ON.values() for i in places]
        assert seen[name][:3] == ["deviates", f"{sum(known)} of {len(places)}", "250 of 250"]
        assert int(seen[name][3].split()[0]) < 40
