from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import ModuleType

import jsonschema
import pytest

from qcheck.grading import grade
from qcheck.records import Response, ToolCall
from qcheck.suites import FOLDS, Probe, Suite, load_suite
from qcheck.toolcalls import made_of


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("tools")


def answered(probe: Probe) -> str:
    """The right answer to a probe, as it is kept."""
    calls = tuple(ToolCall(call.name, json.dumps(call.arguments)) for call in reversed(probe.answer.value))  # type: ignore[union-attr]
    return made_of(Response("" if calls else "No.", (), None, None, None, None, None, None, tool_calls=calls))


def test_the_generator_gives_what_ships(suite: Suite, script: Callable[[str], ModuleType]) -> None:
    (seed,) = re.findall(r"--seed (\d+)", suite.manifest.generator or "")
    composed = script("tools/compose.py").compose(int(seed))
    assert composed == [json.loads(row) for row in (suite.folder / "probes.jsonl").read_text().splitlines()]


def test_right_calls_are_right_valid_and_nobody_elses(suite: Suite) -> None:
    schemas = {tool.name: tool.parameters for probe in suite.probes for tool in suite.tools(probe)}
    declared = {name: jsonschema.Draft202012Validator(schema) for name, schema in schemas.items()}
    for probe, other in zip(suite.probes, suite.probes[1:], strict=False):
        assert grade(answered(probe), probe.answer)  # type: ignore[arg-type]
        if probe.answer.value != other.answer.value:  # type: ignore[union-attr]
            assert not grade(answered(other), probe.answer)  # type: ignore[arg-type]
        for call in probe.answer.value:  # type: ignore[union-attr]
            assert call.name in probe.tools
            assert declared[call.name].is_valid(call.arguments)


def test_every_kind_of_probe_stands_in_every_fold(suite: Suite) -> None:
    """Without tools, with a call and without one, several calls, and second turns with and without a thought."""

    def kind(probe: Probe) -> tuple[bool, int, bool, bool]:
        thought = any(m.reasoning for m in probe.messages)
        return bool(probe.tools), min(len(probe.answer.value), 2), len(probe.messages) > 1, thought  # type: ignore[union-attr]

    kinds = {kind(p) for p in suite.probes}
    assert len(kinds) == 8
    assert all({kind(p) for p in suite.fold(fold)} == kinds for fold in FOLDS)
    assert len(suite.fold("evaluation")) >= 300


def test_no_two_probes_have_the_same_right_calls(suite: Suite) -> None:
    called = [answered(p) for p in suite.probes if p.answer.value]  # type: ignore[union-attr]
    assert len(set(called)) == len(called)
