"""Banks of real engines' answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qcheck.errors import LabError, UnknownNameError
from qcheck.lab import bank as banks
from qcheck.lab.bank import Bank
from qcheck.lab.streams import draw, load_source
from qcheck.suites import load_suite

DEPLOYMENTS = ("honest", "q4_k_m")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> Bank:
    suite = load_suite("logprobs")
    filled = Bank(tmp_path_factory.mktemp("bank"), "lab-tiny", suite, suite.fold("evaluation")[:30], 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banks, "CHUNK", 20)
        for name in DEPLOYMENTS:
            filled.fill(name, told.append)
        yield filled


def test_all_probes_are_answered_and_repeats_are_equal(bank: Bank, told: list[str]) -> None:
    for name in DEPLOYMENTS:
        answers = bank.answers(name)
        assert list(answers) == [p.id for p in bank.probes]
        for first, second in answers.values():
            assert first == second  # one slot, nothing cached
            assert len(first.positions[0].top) >= 20
    assert bank.answers("honest") != bank.answers("q4_k_m")
    assert [line.split(",")[0] for line in told[:2]] == ["honest: 20 of 30 probes", "honest: 30 of 30 probes"]


def test_what_is_there_is_not_asked_again_and_a_lost_file_is(bank: Bank) -> None:
    told: list[str] = []
    bank.fill("honest", told.append)
    assert not told
    before = bank.answers("honest")
    next(bank.folder.rglob("honest-*/0001.answers")).unlink()
    with pytest.raises(LabError, match="lacks answers of honest"):
        bank.answers("honest")
    bank.fill("honest", told.append)
    assert len(told) == 1
    assert bank.answers("honest") == before


def test_other_probes_repeats_or_weights_are_other_answers(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in (
        dataclasses.replace(bank, probes=bank.probes[:29]),
        dataclasses.replace(bank, repeats=1),
        dataclasses.replace(bank, model="lab-twin"),
    ):
        with pytest.raises(LabError):
            other.answers("honest")
    monkeypatch.setattr(banks, "version", lambda _: "another")
    with pytest.raises(LabError):
        dataclasses.replace(bank).answers("honest")


def test_a_provider_with_traits_is_no_deployment(bank: Bank) -> None:
    with pytest.raises(UnknownNameError):
        bank.fill("q4_k_m?route=0.1")


def test_streams_replay_what_the_engines_answered(bank: Bank) -> None:
    source = load_source(bank, DEPLOYMENTS)
    streams = draw(source, {"honest": 0.5, "q4_k_m": 0.5}, 4, 30, np.random.default_rng(0))
    seen = {name for s in range(4) for _, name, answer in streams.replay(source, s) if answer.positions}
    assert seen == set(DEPLOYMENTS)
