"""What a provider may gain by keeping log-probabilities to itself: nothing that raises the evidence against it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import Recorded, World

from qcheck.baselines import Answer
from qcheck.evidence.envelope import freeze
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.views import VIEWS, View

# Of each answer: how far it deviates in nats, the view it is given in, and whether it is withheld.
PLANS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.03, 0.3]), st.sampled_from(VIEWS), st.booleans()), min_size=1, max_size=25
)


def folded(recorded: Recorded, answers: list[tuple[str, Answer]]) -> LogprobEvidence:
    baseline, suite = recorded
    assert baseline.table is not None
    evidence = LogprobEvidence(baseline, freeze(baseline.table, 0.01), suite)
    for probe_id, answer in answers:
        evidence.update(probe_id, answer)
    return evidence


def silent(answer: Answer) -> Answer:
    return replace(answer, positions=())


@settings(max_examples=25, deadline=None)
@given(plan=PLANS, seed=st.integers(0, 5))
def test_a_withheld_answer_is_never_worth_more_than_one_that_was_not_asked_for(
    recorded: Recorded, world: World, plan: list[tuple[float, View, bool]], seed: int
) -> None:
    """Nor does it reassure: the bound of the routing fraction does not fall by it."""
    rng, probes = np.random.default_rng(seed), recorded[1].fold("evaluation")
    answers = [
        (p.id, view.of(world.answer(int(p.id[1:]), rng, deviation, 0)))
        for p, (deviation, view, _) in zip(probes, plan, strict=False)
    ]
    kept = [answer for answer, (*_, withheld) in zip(answers, plan, strict=True) if not withheld]
    given_ = [(i, silent(a) if withheld else a) for (i, a), (*_, withheld) in zip(answers, plan, strict=True)]
    fewer, silenced = folded(recorded, kept), folded(recorded, given_)
    assert silenced.log_e <= fewer.log_e
    assert silenced.deviating == fewer.deviating
    assert (silenced.bound() or 1.0) >= (fewer.bound() or 1.0) - 1e-12


@settings(max_examples=20, deadline=None)
@given(plan=PLANS, seed=st.integers(0, 5))
@example(plan=[(0.0, VIEWS[0], True), (0.0, VIEWS[0], True), (0.0, VIEWS[0], False)], seed=0)
def test_in_one_view_a_withheld_answer_is_never_worth_more_than_the_answer(
    recorded: Recorded, world: World, plan: list[tuple[float, View, bool]], seed: int
) -> None:
    """In one view: an answer that would have moved the provider to a narrower one takes evidence from those after."""
    rng, probes = np.random.default_rng(seed), recorded[1].fold("evaluation")
    answers = [
        (p.id, world.answer(int(p.id[1:]), rng, deviation, 0)) for p, (deviation, *_) in zip(probes, plan, strict=False)
    ]
    given_ = [(i, silent(a) if withheld else a) for (i, a), (*_, withheld) in zip(answers, plan, strict=True)]
    whole, silenced = folded(recorded, answers), folded(recorded, given_)
    assert silenced.log_e <= whole.log_e + 1e-12
    assert set(silenced.deviating) <= set(whole.deviating)
