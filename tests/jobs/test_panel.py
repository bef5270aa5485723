"""In which order the suites of a run are asked."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from qcheck.baselines import load_baseline
from qcheck.jobs.panel import TURN, Panel, sample

TOLERANCE = 0.05


def names(panels: list[Panel], tolerance: float = TOLERANCE) -> list[tuple[str, int]]:
    """Suite by suite as they are asked, and for how many requests."""
    asked = [(panel.suite.name, len(probes)) for panel, probes in sample(panels, tolerance, seed=7)]
    return [(name, sum(n for _, n in turn)) for name, turn in groupby(asked, key=lambda pair: pair[0])]


def test_every_suite_has_a_turn_before_the_rest_of_any(panels: list[Panel]) -> None:
    logprobs, answers = panels
    few, many = (p.envelope.requests_expected(TOLERANCE) for p in panels if p.envelope)
    assert few is not None
    assert many is not None
    assert few < many
    whole = {p.suite.name: len(p.suite.draw("evaluation", 7)) for p in panels}
    expected = [
        (logprobs.suite.name, TURN * few),
        (answers.suite.name, min(TURN * many, whole["lab-answers"])),
        (logprobs.suite.name, whole["logprobs"] - TURN * few),
        (answers.suite.name, max(0, whole["lab-answers"] - TURN * many)),
    ]
    assert names(panels) == [turn for turn in expected if turn[1]]
    assert names(panels[::-1]) == names(panels)


def test_every_cluster_is_asked_once_and_the_same_ones_as_alone(panels: list[Panel]) -> None:
    together = sample(panels, TOLERANCE, seed=7)
    ids = sorted(p.id for _, probes in together for p in probes)
    assert len(ids) == len(set(ids))
    assert ids == sorted(p.id for panel in panels for _, probes in sample([panel], TOLERANCE, 7) for p in probes)
    assert together == sample(panels, TOLERANCE, seed=7)
    assert together != sample(panels, TOLERANCE, seed=8)


def test_a_turn_is_a_random_part_of_the_stratum(panels: list[Panel]) -> None:
    """The suite's file stands in an order that may mean something: the first turn is not its beginning."""
    panel, first = sample(panels, TOLERANCE, seed=7)[0]
    order = [p.id for p in panel.suite.draw("evaluation", 7) if p.stratum == first[0].stratum]
    places = sorted(order.index(p.id) for p in first)
    assert places[-1] > 0.9 * len(order)
    assert places[0] < 0.1 * len(order)


def test_what_some_deployment_has_not_answered_is_not_asked(panels: list[Panel]) -> None:
    panel = panels[0]
    baseline, lost = panel.baseline, {p.id for p in panel.suite.draw("evaluation", 7)[::5]}
    assert baseline
    lossy = load_baseline(baseline.folder)
    whole = lossy._answers(2)  # of one of the deployments
    lossy._packed[2] = replace(whole, rows={name: row for name, row in whole.rows.items() if name not in lost})
    asked = {p.id for _, probes in sample([replace(panel, baseline=lossy)], TOLERANCE, 7) for p in probes}
    assert asked == {p.id for _, probes in sample([panel], TOLERANCE, 7) for p in probes} - lost
    assert all(lossy.probe(name) for name in asked)


@pytest.mark.parametrize("index", [0, 1])
def test_one_suite_has_no_turns(panels: list[Panel], index: int) -> None:
    (name, count), *further = names([panels[index]])
    assert further == []
    assert (name, count) == (panels[index].suite.name, len(panels[index].suite.draw("evaluation", 7)))


def test_a_suite_that_shows_nobody_to_be_consistent_comes_last(panels: list[Panel]) -> None:
    logprobs, answers = panels
    unseen = Panel(logprobs.suite, logprobs.baseline, None, 0.5)
    assert names([unseen, answers])[0][0] == "lab-answers"
