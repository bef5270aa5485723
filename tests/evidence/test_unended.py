"""Answers that list nothing at the token that ended them, as llama-cpp-python gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from qcheck.baselines import Answer, Baseline, load_baseline, read_answers
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.records import token_bytes
from qcheck.suites import Suite, load_suite, shipped_folder

PROBES = 24


class Shipped:
    """The shipped baseline, and some probes that its first honest deployment answers to the end."""

    def __init__(self) -> None:
        self.baseline: Baseline = load_baseline(shipped_folder("baselines") / "lab-tiny")
        self.suite: Suite = load_suite("logprobs")
        assert self.baseline.table is not None
        self.envelope: Envelope = freeze(self.baseline.table, 0.01)
        self.honest = self.baseline.references[0]
        kept = read_answers(self.baseline.folder, self.baseline.manifest.deployments[self.honest].answers)
        ending = [i for i in kept if not token_bytes(kept[i][0].positions[-1].token)]
        self.ending = ending[:PROBES]

    def answer(self, probe_id: str, deployment: int) -> Answer:
        reference = self.baseline.probe(probe_id)
        assert reference is not None
        return reference.answers[deployment][0]

    def variant(self, name: str) -> int:
        return next(v for v in self.baseline.variants if self.baseline.names([v]) == (name,))

    def folded(self, answers: Sequence[tuple[str, Answer]]) -> LogprobEvidence:
        evidence = LogprobEvidence(self.baseline, self.envelope, self.suite)
        for probe_id, answer in answers:
            evidence.update(probe_id, answer)
        return evidence


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return Shipped()


def said(answer: Answer) -> Answer:
    """With the text that its tokens spell, as a provider gives it."""
    text = b"".join(token_bytes(p.token) for p in answer.positions)
    return replace(answer, text=text.decode("utf-8", "replace"))


def unended(answer: Answer) -> Answer:
    positions = answer.positions[:-1] if not token_bytes(answer.positions[-1].token) else answer.positions
    return replace(said(answer), positions=positions)


def against(evidence: LogprobEvidence) -> int:
    return evidence._against()[0]


def test_honest_ones_are_agreement_and_no_evidence(shipped: Shipped) -> None:
    given = [(i, unended(shipped.answer(i, shipped.honest))) for i in shipped.ending]
    evidence, silence = shipped.folded(given), Answer(None, ())
    assert against(evidence) < 0.1 * len(given)
    assert evidence.log_e == shipped.folded([(i, silence) for i, _ in given]).log_e
    findings = {f.kind: f.text for f in evidence.snapshot(1.0).findings}
    assert findings["logprobs_unended"].startswith(f"{len(given) - against(evidence)} of {len(given)} answers")


@pytest.mark.parametrize("variant", ["q8_0", "fp8"])
def test_a_variant_counts_against_consistent_wherever_its_whole_answer_would(shipped: Shipped, variant: str) -> None:
    """Of q8_0 the list at the end is sometimes what shows it."""
    index, hidden = shipped.variant(variant), 0
    for probe_id in shipped.ending:
        whole = shipped.answer(probe_id, index)
        before, after = (shipped.folded([(probe_id, answer)]) for answer in (said(whole), unended(whole)))
        assert against(after) >= against(before)
        hidden += after._short
    assert hidden > 0 or variant == "fp8"


def test_it_never_raises_the_evidence_to_leave_the_end_out(shipped: Shipped) -> None:
    index = shipped.variant("q4_k_m")
    whole = [(i, shipped.answer(i, index)) for i in shipped.ending]
    assert shipped.folded([(i, unended(a)) for i, a in whole]).log_e < shipped.folded(whole).log_e


def test_an_answer_cut_further_is_no_agreement(shipped: Shipped) -> None:
    cut = []
    for probe_id in shipped.ending:
        positions = shipped.answer(probe_id, shipped.honest).positions[:-2]
        text = b"".join(token_bytes(p.token) for p in positions).decode("utf-8", "replace")
        cut.append((probe_id, Answer(None, positions, text)))
    assert against(shipped.folded(cut)) == len(cut)
