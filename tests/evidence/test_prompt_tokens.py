from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.prompt_tokens import PromptTokenEvidence
from qcheck.records import Message
from qcheck.suites import Suite

ALPHA = 0.01


def _folded(recorded: tuple[Baseline, Suite], counts: list[int | None]) -> PromptTokenEvidence:
    evidence = PromptTokenEvidence(*recorded, ALPHA)
    for probe, offset in zip(recorded[1].fold("evaluation"), counts, strict=False):
        expected = 10 + int(probe.id[1:]) % 7
        evidence.update(probe.id, Answer(None if offset is None else expected + offset, ()))
    return evidence


def test_a_constant_offset_on_13_probes_decides_and_names_the_template(recorded: tuple[Baseline, Suite]) -> None:
    (finding,) = _folded(recorded, [7] * 13).findings()
    assert finding.severity == "deviation"
    assert "17 prompt tokens where the reference has 10" in finding.text
    assert finding.likely_cause is not None
    assert "hidden system prompt" in finding.likely_cause.text


@pytest.mark.parametrize(
    "counts", [[7] * 12, [*[7] * 20, *[0] * 15], [*[7] * 20, *[None] * 15], [1, 1, 1, *([0] * 97)]]
)
def test_few_differences_do_not_decide(recorded: tuple[Baseline, Suite], counts: list[int | None]) -> None:
    """Now and then a provider miscounts; that must not add up to an accusation."""
    assert [f.severity for f in _folded(recorded, counts).findings()] == ["info"]


def test_who_counts_twice_as_many_is_warned_of(recorded: tuple[Baseline, Suite]) -> None:
    """Without a pattern that is no deviation, but somebody pays for it."""
    offsets = [30 + i % 3 for i in range(20)]
    assert [f.severity for f in _folded(recorded, list(offsets)).findings()] == ["warning"]


def test_an_honest_upstream_that_counts_otherwise_is_not_taken_for_most(recorded: tuple[Baseline, Suite]) -> None:
    """Half of an aggregator's answers have a larger count, and somebody looks after each."""
    rng, accused, runs = np.random.default_rng(3), 0, 400
    for _ in range(runs):
        evidence = PromptTokenEvidence(*recorded, ALPHA)
        for probe in recorded[1].fold("evaluation")[:60]:
            evidence.update(probe.id, Answer(10 + int(probe.id[1:]) % 7 + 5 * int(rng.random() < 0.5), ()))
            if any(finding.severity == "deviation" for finding in evidence.findings()):
                accused += 1
                break
    assert accused <= 3  # a tenth of alpha may be, 0.4 of 400; four or more have probability 0.001


@pytest.mark.parametrize("offset", [-9, -1, 1, 2])
def test_what_honest_servers_count_otherwise_does_not_decide(recorded: tuple[Baseline, Suite], offset: int) -> None:
    """A token that begins the prompt is counted or not; what was cached is not counted by some."""
    assert [f.severity for f in _folded(recorded, [offset] * 20).findings()] == ["info"]


def test_a_count_of_zero_says_nothing(recorded: tuple[Baseline, Suite]) -> None:
    evidence = PromptTokenEvidence(*recorded, ALPHA)
    for probe in recorded[1].fold("evaluation")[:9]:
        evidence.update(probe.id, Answer(0, ()))
    assert evidence.findings() == ()


def test_offsets_without_a_pattern_point_to_the_tokenizer_and_decide_nothing(recorded: tuple[Baseline, Suite]) -> None:
    """A proxy that counts for itself has another tokenizer than the model behind it."""
    for counts in ([10, 12, 11, 10] * 10, [*[3] * 34, *[2] * 4, *[1] * 2]):
        (finding,) = _folded(recorded, list(counts)).findings()
        assert finding.severity == "info"
    assert finding.likely_cause is not None
    assert "tokenizer" in finding.likely_cause.text


def test_equal_or_missing_counts_are_no_finding(recorded: tuple[Baseline, Suite]) -> None:
    assert _folded(recorded, [0, 0, None, None, 0]).findings() == ()


@pytest.mark.parametrize(
    ("plain", "special", "cause"),
    [
        ([0] * 10, (7, 9, 8, 7, 9, 8), "declare tools"),
        ([0] * 10, (0, 0, 0, -80, -81, -80), "thoughts of earlier turns"),
        ([5] * 13, (5, 5, 5, 5, 5, 5), "hidden system prompt"),
        ([1, *[0] * 9], (7, 9, 8, 7, 9, 8), "tokenizer"),
        ([0] * 10, (7, 9, 8, 0, 9, 8), None),
        ([], (7, 9, 8, 7, 9, 8), None),
    ],
)
def test_where_counts_differ_tells_what_is_rendered_otherwise(
    recorded: tuple[Baseline, Suite], plain: list[int], special: tuple[int, ...], cause: str | None
) -> None:
    """Ten probes without tools, three with, and three that have a thought, too; those alone decide that have neither.

    Where no plain prompt was asked, or none differs, another tokenizer or a hidden prompt is not what was shown.
    """
    baseline, suite = recorded
    offsets, n = (*plain, *special), len(plain)
    first = suite.fold("evaluation")[: len(offsets)]
    with_tools = tuple(replace(p, tools=("f",) if i >= n else ()) for i, p in enumerate(first))
    thought = (Message("assistant", "So.", (), "Hm."),)
    probes = tuple(replace(p, messages=p.messages + (thought if i >= n + 3 else ())) for i, p in enumerate(with_tools))
    evidence = PromptTokenEvidence(baseline, replace(suite, probes=probes), ALPHA)
    for probe, offset in zip(probes, offsets, strict=True):
        evidence.update(probe.id, Answer(10 + int(probe.id[1:]) % 7 + offset, ()))
    (finding,) = evidence.findings()
    assert finding.severity == ("deviation" if cause == "hidden system prompt" else "info")
    assert (finding.likely_cause is None) == (cause is None)
    assert (cause or "") in (finding.likely_cause.text if finding.likely_cause else "")
