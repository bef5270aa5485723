"""One provider's answers to two suites, folded together: answers that were recorded of the lab's deployments."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from qcheck.baselines import Answer
from qcheck.errors import RunFolderError
from qcheck.jobs.panel import Panel, sample
from qcheck.jobs.provider import ProviderFold
from qcheck.records import Attempt, Response
from qcheck.verdict import Rules, summarise

RULES = Rules(alpha=0.01, delta=0.002, family=1, tolerance=0.05)
SILENT = Answer(None, (), None)


def recorded(panel: Panel, deployment: str, probe_id: str) -> Answer:
    """What a deployment answered when the baseline was recorded."""
    assert panel.baseline
    reference = panel.baseline.probe(probe_id)
    assert reference
    names = [d.name for d in panel.baseline.manifest.deployments]
    return reference.answers[names.index(deployment)][-1]


def attempts(panels: Sequence[Panel], serves: dict[str, str | None]) -> Iterator[Attempt]:
    """The answers of what is served by suite, in the order of a run; None withholds all but the text's absence."""
    order = [(panel, probe) for panel, probes in sample(panels, RULES.tolerance, 3) for probe in probes]
    for seq, (panel, probe) in enumerate(order):
        deployment = serves[panel.suite.name]
        a = recorded(panel, deployment, probe.id) if deployment else SILENT
        response = Response(a.text or "", a.positions, a.prompt_tokens, 1, None, "stop", None, None)
        yield Attempt("p", seq, probe.id, 0, "2026-11-23T00:00:00Z", 0.1, "answered", response=response)


def folded(panels: Sequence[Panel], serves: dict[str, str | None]) -> ProviderFold:
    """A provider, asked until it is decided."""
    fold = ProviderFold(RULES, panels)
    said: dict[str, Attempt] = {}
    for attempt in attempts(panels, serves):
        fold.update(attempt)
        said[attempt.probe_id] = attempt
        while again := fold.asks_again():
            fold.settle_again(said[again[0]])
        if fold.should_stop():
            break
    return fold


def words(fold: ProviderFold) -> str:
    return summarise(fold.claims(), RULES, fold.decide(), fold.needed())


def test_the_evidence_is_the_weighted_average_of_each_suites_own(panels: list[Panel]) -> None:
    weights = (0.3, 0.7)
    weighted = [replace(panel, weight=weight) for panel, weight in zip(panels, weights, strict=True)]
    together, alone = ProviderFold(RULES, weighted), [ProviderFold(RULES, [replace(p, weight=1.0)]) for p in panels]
    streams = (islice(attempts([panel], {panel.suite.name: "q2_k"}), 25) for panel in panels)
    for pair in zip(*streams, strict=True):
        for mine, attempt in zip(alone, pair, strict=True):
            together.update(attempt)
            mine.update(attempt)
            average = np.logaddexp(*(math.log(w) + f.claims().log_e for w, f in zip(weights, alone, strict=True)))
            assert together.claims().log_e == pytest.approx(float(average))
    assert together.claims().log_e > RULES.log_threshold
    assert [(e.suite, e.observable, e.weight, e.requests) for e in together.evidence()] == [
        ("logprobs", "logprobs", 0.3, 25), ("logprobs", "prompt_tokens", 0.0, 25),
        ("lab-answers", "answers", 0.7, 25), ("lab-answers", "prompt_tokens", 0.0, 25),
    ]  # fmt: skip


def test_who_withholds_log_probabilities_is_caught_by_its_answers(panels: list[Panel]) -> None:
    fold = folded(panels, {"logprobs": None, "lab-answers": "finetuned"})
    assert fold.decide().verdict == "deviates"
    logprobs, answers = fold.claims().observed
    assert logprobs.log_e < 0 < answers.log_e
    assert logprobs.deviating == []
    assert "answers are wrong where every reference deployment is right" in words(fold)
    assert "lie outside" not in words(fold)
    assert fold.fraction("deviates", None)[0] == answers.proven


def test_who_withholds_log_probabilities_may_be_consistent_by_its_answers(panels: list[Panel]) -> None:
    fold = folded(panels, {"logprobs": None, "lab-answers": "honest-f32"})
    assert fold.decide().verdict == "consistent"
    assert "as visible as finetuned" in words(fold)
    assert "answers to the suite lab-answers" in words(fold)
    assert {"q4_k_m", "fp8"} <= set(fold.claims().blind_to)
    assert "finetuned" not in fold.claims().blind_to


def test_who_deviates_in_log_probabilities_alone_is_caught_by_them(panels: list[Panel]) -> None:
    fold = folded(panels, {"logprobs": "q4_k_m", "lab-answers": "honest"})
    assert fold.decide().verdict == "deviates"
    logprobs, answers = fold.claims().observed
    assert (logprobs.answered, answers.answered) == (fold.claims().answered, 0)
    assert "lie outside the reference envelope" in words(fold)
    assert fold.cause()[0] is not None


def test_a_suite_that_shows_nothing_costs_its_share_of_the_weight(panels: list[Panel]) -> None:
    """Wrong answers after the turn of honest log-probabilities, by which the provider would have been consistent."""
    fold = ProviderFold(RULES, panels)
    for attempt in islice(attempts(panels, {"logprobs": "honest-f32", "lab-answers": "finetuned"}), 300):
        fold.update(attempt)
    logprobs, answers = fold.claims().observed
    assert logprobs.log_e <= 0
    assert fold.claims().log_e == pytest.approx(answers.log_e - math.log(2), abs=1e-6)
    assert (fold.claims().best.suite, fold.decide().verdict) == ("logprobs", "deviates")
    assert fold.fraction("deviates", None)[0] > 0


@pytest.mark.parametrize("deployment", ["honest", "honest-torch-bf16"])
def test_who_serves_a_reference_deployment_is_consistent(panels: list[Panel], deployment: str) -> None:
    fold = folded(panels, {"logprobs": deployment, "lab-answers": deployment})
    assert fold.decide().verdict == "consistent"
    assert "answers to the suite logprobs" in words(fold)
    best = fold.claims().best
    assert (best.suite, best.upper) == ("logprobs", fold.fraction("consistent", None)[2])


def test_bounds_of_all_suites_hold_together(panels: list[Panel]) -> None:
    """Each at an even share of alpha, which the bound of a suite that is asked alone is not held to."""
    for panel in panels:
        assert panel.envelope
        assert panel.envelope.alpha == pytest.approx(RULES.alpha / len(panels))
    assert sum(p.envelope.delta for p in panels if p.envelope) == pytest.approx(RULES.delta)


@pytest.mark.parametrize(
    ("asked", "streamed", "enveloped", "verdict"),
    [
        ("lab-answers", False, True, "deviates"),
        ("lab-answers", True, True, "inconclusive"),
        ("logprobs", False, False, "consistent"),
        # A prompt that says more would have moved the log-probabilities: only the count differs.
        ("logprobs", False, True, "consistent"),
    ],
    ids=["usual", "streamed", "no envelope", "the lists are the reference's"],
)
def test_prompt_tokens_that_differ_by_themselves_decide_only_where_nothing_else_speaks(
    panels: list[Panel], asked: str, streamed: bool, enveloped: bool, verdict: str
) -> None:
    (panel,) = (p for p in panels if p.suite.name == asked)
    fold = ProviderFold(RULES, [panel if enveloped else replace(panel, envelope=None)], streamed=streamed)
    for attempt in islice(attempts([panel], {asked: "honest-f32"}), 160):
        assert attempt.response
        assert attempt.response.prompt_tokens
        counted = replace(attempt.response, prompt_tokens=attempt.response.prompt_tokens + 7)
        fold.update(replace(attempt, response=counted))
    assert fold.decide().verdict == verdict
    assert [f.kind for f in fold.claims().findings] == ["prompt_tokens_differ"]


def test_one_list_that_is_shown_does_not_hide_another_prompt(panels: list[Panel]) -> None:
    """Counts decide unless most answers agree, whatever is withheld."""
    fold = ProviderFold(RULES, panels[:1])
    for number, attempt in enumerate(islice(attempts(panels[:1], {"logprobs": "q2_k"}), 40)):
        assert attempt.response
        assert attempt.response.prompt_tokens
        more = replace(attempt.response, prompt_tokens=attempt.response.prompt_tokens + 7)
        fold.update(replace(attempt, response=more if number == 0 else replace(more, positions=())))
    assert (fold.decide().verdict, fold.decide().decided_by) == ("deviates", "finding")


def test_who_has_answered_nothing_in_the_end_is_unavailable(panels: list[Panel]) -> None:
    fold = ProviderFold(RULES, panels)
    for attempt in islice(attempts(panels, {"logprobs": None, "lab-answers": None}), 3):
        fold.update(replace(attempt, outcome="failed", response=None, error="HTTP 404: not here"))
    assert fold.decide().verdict == "inconclusive"
    fold.available.end()
    assert fold.decide().verdict == "unavailable"
    assert words(fold) == "unavailable: HTTP 404: not here"
    fold = folded(panels, {"logprobs": "honest", "lab-answers": "honest"})
    fold.available.end()
    assert fold.decide().verdict == "consistent"


@pytest.mark.parametrize(
    ("reason", "tokens", "broken"),
    [
        ("length", 24, 0), ("length", 23, 0), ("length", 6, 40), ("model_length", 6, 40), ("stop", 6, 0),
        ("length", None, 0),
    ],
)  # fmt: skip
def test_what_the_servers_own_limit_cut_off_is_no_loss(
    panels: list[Panel], reason: str, tokens: int | None, broken: int
) -> None:
    """Wrong answers, of 24 tokens at most as they were asked for."""
    fold = ProviderFold(RULES, panels[1:])
    for attempt in islice(attempts(panels[1:], {"lab-answers": None}), 40):
        cut = Response("one moment", (), 10, tokens, None, reason, None, None)
        fold.update(replace(attempt, response=cut))
    assert fold.decide().verdict == ("inconclusive" if broken else "deviates")
    found = [f.text for f in fold.findings() if f.kind == "answers_broken_off"]
    assert found == [t for t in found if t.startswith(f"{broken} of 40")]
    assert bool(found) == bool(broken)


def test_what_was_shown_once_stays_shown(panels: list[Panel]) -> None:
    """Two answers of another format, and honest ones thereafter: a failover that ends."""
    rules = replace(RULES, until="consistent")
    fold, stop = ProviderFold(rules, panels[:1]), None
    served = zip(*(attempts(panels[:1], {"logprobs": name}) for name in ("q4_k_m", "honest")), strict=True)
    said: dict[str, Attempt] = {}
    for number, (odd, honest) in enumerate(served):
        fold.update(odd if number < 2 else honest)
        said[honest.probe_id] = honest
        while again := fold.asks_again():
            fold.settle_again(said[again[0]])
        if stop := fold.should_stop():
            break
    assert fold.claims().log_e < rules.log_threshold
    assert fold.decide().verdict == stop == "deviates"
    assert fold.claims().best.upper <= RULES.tolerance
    assert "e-value 10^5.6, needed" in words(fold)


def test_no_more_requests_are_said_to_decide_than_are_left(panels: list[Panel]) -> None:
    """Those that failed are not asked again."""
    fold, asked = ProviderFold(RULES, panels[:1]), list(attempts(panels[:1], {"logprobs": "honest"}))
    for number, attempt in enumerate(asked):
        failed = number % 35 == 0
        fold.update(replace(attempt, outcome="failed", error="HTTP 500", response=None) if failed else attempt)
    assert fold.decide().verdict == "inconclusive"
    assert fold.needed() is None


def test_a_probe_of_no_suite_is_an_error(panels: list[Panel]) -> None:
    fold = ProviderFold(RULES, panels)
    (attempt, *_) = attempts(panels, {"logprobs": None, "lab-answers": None})
    with pytest.raises(RunFolderError, match="no suite of the run"):
        fold.update(Attempt("p", 0, "elsewhere", 0, attempt.started, 0.1, "answered", response=attempt.response))
