from __future__ import annotations

import pytest

from qcheck.baselines import Answer, Baseline
from qcheck.evidence.prompt_tokens import PromptTokenEvidence
from qcheck.suites import Suite


def _folded(recorded: tuple[Baseline, Suite], counts: list[int | None]) -> PromptTokenEvidence:
    evidence = PromptTokenEvidence(recorded[0])
    for probe, offset in zip(recorded[1].fold("evaluation"), counts, strict=False):
        expected = 10 + int(probe.id[1:]) % 7
        evidence.update(probe.id, Answer(None if offset is None else expected + offset, ()))
    return evidence


def test_a_constant_offset_on_three_probes_decides_and_names_the_template(recorded: tuple[Baseline, Suite]) -> None:
    (finding,) = _folded(recorded, [7, 7, 7]).findings()
    assert finding.severity == "deviation"
    assert "17 prompt tokens where the reference has 10" in finding.text
    assert finding.likely_cause is not None
    assert "hidden system prompt" in finding.likely_cause.text


@pytest.mark.parametrize("counts", [[7, 7], [7, 7, 7, 0, 0, 0], [1, 1, 1, *([0] * 97)]])
def test_few_differences_do_not_decide(recorded: tuple[Baseline, Suite], counts: list[int | None]) -> None:
    """Now and then a provider miscounts; that must not add up to an accusation."""
    assert [f.severity for f in _folded(recorded, counts).findings()] == ["info"]


def test_offsets_without_a_pattern_point_to_the_tokenizer(recorded: tuple[Baseline, Suite]) -> None:
    (finding,) = _folded(recorded, [1, -2, 5, 3]).findings()
    assert finding.likely_cause is not None
    assert "tokenizer" in finding.likely_cause.text


def test_equal_or_missing_counts_are_no_finding(recorded: tuple[Baseline, Suite]) -> None:
    assert _folded(recorded, [0, 0, None, None, 0]).findings() == ()
