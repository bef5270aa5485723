from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from types import ModuleType

import pytest

from qcheck.evidence.calibration import MIN_CLUSTERS
from qcheck.expected import ChoiceAnswer, Expected, JsonAnswer, ListAnswer
from qcheck.grading import grade
from qcheck.suites import Probe, Suite, list_suites, load_suite

NAMES = ("answers", "lab-answers")
Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module", params=NAMES)
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(request.param)


def said(expected: Expected) -> str:
    """The expected answer as a response would write it."""
    match expected:
        case JsonAnswer():
            return json.dumps(expected.value)
        case ListAnswer():
            return ", ".join(expected.value)
        case _:
            return str(expected.value)


def test_every_answer_is_graded_right_and_no_other_one(suite):
    probes: list[Probe] = random.Random(0).sample(suite.probes, 400)
    others = random.Random(1).sample(probes, len(probes))
    for probe, other in zip(probes, others, strict=True):
        assert grade(said(probe.answer), probe.answer), probe.id
        assert grade(f"Let me see.\n\n**Answer:** {said(probe.answer)}", probe.answer), probe.id
        if type(other.answer) is not type(probe.answer) or other.answer.value == probe.answer.value:
            continue
        assert not grade(said(other.answer), probe.answer), (probe.id, other.id)


def test_a_prompt_lists_the_options_of_its_answer(suite):
    for probe in suite.probes:
        if isinstance(probe.answer, ChoiceAnswer):
            for letter, option in probe.answer.by_letter.items():
                assert f"{letter}) {option}" in probe.messages[-1].content


def test_folds_share_neither_clusters_nor_prompts(suite):
    for of in (lambda p: p.cluster, lambda p: p.messages):
        seen = [{of(p) for p in suite.fold(fold)} for fold in ("evaluation", "selection", "calibration")]
        assert sum(map(len, seen)) == len(set.union(*seen))


@pytest.mark.parametrize("name", sorted(list_suites()))
def test_every_suite_can_be_calibrated(name):
    """Some answers may fail: a tenth more clusters than a bound asks for."""
    shipped = load_suite(name)
    for stratum in {p.stratum for p in shipped.fold("evaluation")}:
        clusters = {p.cluster for p in shipped.fold("calibration") if p.stratum == stratum}
        assert len(clusters) >= 1.1 * MIN_CLUSTERS
    assert shipped.fold("selection")


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_gives_what_ships(name, script: Load):
    shipped = load_suite(name)
    options = dict(re.findall(r"--([a-z-]+) (\d+)", shipped.manifest.generator or ""))
    composed = script(f"{name}/compose.py").compose(**{key.replace("-", "_"): int(n) for key, n in options.items()})
    rows = (shipped.folder / "probes.jsonl").read_text(encoding="utf-8").splitlines()
    assert composed == [json.loads(row) for row in rows]


def test_the_two_ways_to_every_answer_agree_on_other_draws(script: Load):
    families = script("answers/compose.py").FAMILIES
    for template in families.values():
        for seed in range(20):
            template.function(random.Random(seed))  # raises where they do not


def test_a_disagreement_is_noticed(script: Load):
    script("answers/compose.py")
    from families.item import integer

    with pytest.raises(AssertionError, match="two ways"):
        integer("What is 1 + 1?", 2, 3)


def test_answers_has_five_levels_in_every_fold():
    suite = load_suite("answers")
    assert len(suite.probes) >= 300
    for fold in ("evaluation", "selection", "calibration"):
        assert {p.level for p in suite.fold(fold)} == {1, 2, 3, 4, 5}


def test_lab_answers_share_no_operands(script: Load):
    compose = script("lab-answers/compose.py")
    suite = load_suite("lab-answers")
    tasks = [compose.Task(dict(p.tags)["family"], 1, p.messages[0].content, "", "") for p in suite.probes]
    assert len({compose.operands(task) for task in tasks}) == len(tasks)
