from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qcheck.errors import SuiteError, UnknownNameError
from qcheck.expected import IntegerAnswer, ListAnswer
from qcheck.records import Message, Request, ToolCall
from qcheck.suites import FOLDS, list_suites, load_prompts, load_suite, save_suite, shipped_folder

MANIFEST = {
    "name": "tiny",
    "version": "1.0.0",
    "licence": "CC0-1.0",
    "description": "Two sums.",
    "observes": ["logprobs"],
    "max_tokens": 8,
    "top_logprobs": 20,
}


def probe(name: str, **changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"What is {name}?"}]
    return {"id": name, "cluster": name, "fold": "evaluation", "messages": messages} | changes


PROBES = (probe("one"), probe("two"))
ANSWERS = MANIFEST | {"observes": ["answers"], "top_logprobs": 0}
RIGHT = {"kind": "integer", "value": 1}


def write(folder: Path, manifest: Any = MANIFEST, probes: Any = PROBES) -> str:
    (folder / "suite.json").write_text(json.dumps(manifest))
    (folder / "probes.jsonl").write_text("".join(json.dumps(p) + "\n" for p in probes))
    return str(folder)


def test_a_suite_is_loaded_in_file_order(tmp_path: Path) -> None:
    probes = [
        probe("two", fold="calibration", tags={"b": "2", "a": "1"}),
        probe("one"),
        probe("three", fold="calibration", cluster="two"),
    ]
    suite = load_suite(write(tmp_path, probes=probes))
    assert suite.name == "tiny"
    assert [p.id for p in suite.probes] == ["two", "one", "three"]
    assert [p.id for p in suite.fold("calibration")] == ["two", "three"]
    assert suite.probes[0].tags == (("a", "1"), ("b", "2"))
    assert suite.probes[1].messages == (Message("user", "What is one?"),)


def test_a_probe_is_of_the_stratum_it_names(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, probes=[probe("one"), probe("two", stratum="long-prompts")]))
    assert [p.stratum for p in suite.probes] == ["all", "long-prompts"]


def test_answers_are_loaded_by_their_kind(tmp_path: Path) -> None:
    listed = {"kind": "list", "value": ["a", "b"], "ordered": False}
    probes = [probe("one", answer=RIGHT, level=1), probe("two", answer=listed, level=3)]
    suite = load_suite(write(tmp_path, ANSWERS, probes))
    assert [(p.answer, p.level) for p in suite.probes] == [(IntegerAnswer(1), 1), (ListAnswer(("a", "b"), False), 3)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"answer": RIGHT}, "'one' needs an answer and a level"),
        ({"level": 1}, "'one' needs an answer and a level"),
        ({"answer": RIGHT, "level": 0}, "line 1: level"),
        ({"answer": RIGHT | {"value": "1"}}, r"line 1: answer\.integer\.value"),
        ({"answer": RIGHT | {"colour": "red"}}, r"line 1: answer\.integer\.colour"),
        ({"answer": {"value": 1}}, "line 1: answer"),
        ({"answer": RIGHT | {"kind": "essay"}}, "line 1: answer"),
        ({"answer": {"kind": "choice", "value": "C", "options": ["x", "y"]}}, "a letter from A to B"),
        ({"answer": {"kind": "number", "value": "many"}}, "neither a decimal number nor a fraction"),
    ],
)
def test_a_wrong_answer_is_explained(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        load_suite(write(tmp_path, ANSWERS, [probe("one", **wrong)]))


@pytest.mark.parametrize(
    ("observes", "judged"),
    [(["logprobs", "prompt_tokens"], False), (["greedy_text"], True), (["logprobs", "answers"], True)],
)
def test_texts_are_judged_where_they_are_observed(tmp_path: Path, observes: list[str], judged: bool) -> None:
    right = {"answer": RIGHT, "level": 1} if "answers" in observes else {}
    assert load_suite(write(tmp_path, MANIFEST | {"observes": observes}, [probe("one", **right)])).judges_text is judged


TOOLS = MANIFEST | {
    "observes": ["tool_calls"],
    "top_logprobs": 0,
    "tools": {
        "f": {
            "description": "A function.",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        }
    },
}


def tool_probe(name: str, value: Any, **changes: Any) -> dict[str, Any]:
    return probe(name, answer={"kind": "tool_calls", "value": value}, level=1) | {"tools": ["f"]} | changes


CALL = {"name": "f", "arguments": {"a": 1}}
MADE = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": "{}"}], "reasoning": "Hm."}


def test_a_suite_of_tool_calls_is_asked_with_its_declarations(tmp_path: Path) -> None:
    turned = [*probe("two")["messages"], MADE, {"role": "tool", "content": "1"}]
    suite = load_suite(write(tmp_path, TOOLS, [tool_probe("one", [CALL]), tool_probe("two", [], messages=turned)]))
    request = suite.request(suite.probes[1], 0.0, 20)
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.tools[0].parameters == TOOLS["tools"]["f"]["parameters"]
    assert request.messages[1] == Message("assistant", "", (ToolCall("f", "{}"),), "Hm.")
    assert suite.judges_calls
    again = save_suite(tmp_path / "again", suite.manifest, suite.probes)
    assert again.probes == suite.probes


@pytest.mark.parametrize(
    ("manifest", "wrong", "said"),
    [
        (TOOLS, tool_probe("one", [CALL], tools=[]), "wants a call of 'f' that is not valid"),
        (TOOLS, tool_probe("one", [{"name": "f", "arguments": {"a": "1"}}]), "wants a call of 'f' that is not valid"),
        (TOOLS, tool_probe("one", [CALL], tools=["f", "g"]), r"a tool that is not declared \(g\)"),
        (TOOLS, probe("one", answer=RIGHT, level=1), "needs an answer of the kind tool_calls"),
        (TOOLS, tool_probe("one", [], messages=[MADE]), "a message of the role tool for each call"),
        (TOOLS, tool_probe("one", [], messages=[{"role": "user", "content": ""}]), "nothing is said"),
        (TOOLS, tool_probe("one", [], messages=[MADE | {"role": "user"}]), "the assistant alone"),
        (MANIFEST, probe("one", messages=[MADE, {"role": "tool", "content": "1"}]), "needs tools"),
        (MANIFEST, probe("one", tools=["f"]), "needs tools"),
        (ANSWERS, tool_probe("one", [], tools=[]), "needs tools"),
        (TOOLS | {"observes": ["answers"]}, PROBES[0], "tool_calls needs `tools`"),
        (MANIFEST | {"observes": ["tool_calls"]}, PROBES[0], "tool_calls needs `tools`"),
        (TOOLS | {"observes": ["tool_calls", "answers"]}, PROBES[0], "prompt_tokens alone"),
        (TOOLS | {"tools": {"f": {"description": "F.", "parameters": {"type": "string"}}}}, PROBES[0], "object"),
        (
            TOOLS | {"tools": {"f": {"description": "F.", "parameters": {"type": "object", "oneOf": []}}}},
            PROBES[0],
            "oneOf",
        ),
    ],
)
def test_what_is_wrong_with_tools_is_explained(
    tmp_path: Path, manifest: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(SuiteError, match=said):
        load_suite(write(tmp_path, manifest, [wrong]))


def test_an_answer_that_is_not_observed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="neither answer nor level"):
        load_suite(write(tmp_path, probes=[probe("one", answer=RIGHT, level=1)]))


def test_a_request_asks_for_no_more_alternatives_than_the_endpoint_gives(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path))
    messages = (Message("user", "What is one?"),)
    assert suite.request(suite.probes[0], 0.6, 5) == Request("one", messages, 8, 0.6, 5)
    assert suite.request(suite.probes[0], 0.6, 100).top_logprobs == 20


def test_the_hash_covers_manifest_and_probes(tmp_path: Path) -> None:
    first = load_suite(write(tmp_path)).hash
    assert load_suite(write(tmp_path)).hash == first
    other_manifest = load_suite(write(tmp_path, MANIFEST | {"max_tokens": 9})).hash
    other_probes = load_suite(write(tmp_path, probes=[probe("one")])).hash
    assert len({first, other_manifest, other_probes}) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Tiny"}, "name"),
        ({"version": "1"}, "version"),
        ({"observes": []}, "observes"),
        ({"observes": ["smell"]}, "observes"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"observes": ["greedy_text"], "top_logprobs": 0}, "top_logprobs"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_manifest_is_explained(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SuiteError, match=rf"suite\.json: .*{said}"):
        load_suite(write(tmp_path, MANIFEST | change))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (probe("two", id="Two!"), "line 2: id"),
        (probe("two", fold="training"), "line 2: fold"),
        (probe("two", messages=[]), "line 2: messages"),
        (probe("two", messages=[{"role": "function", "content": "x"}]), r"line 2: messages\.0\.role"),
        (probe("two", colour="red"), "line 2: colour"),
        (probe("two", stratum="Two!"), "line 2: stratum"),
        ([], "line 2: value"),
        (probe("two", id="one"), "'one' stands twice"),
        (probe("two", messages=probe("one")["messages"]), "'two' asks what another one asks"),
        (probe("two", cluster="one", fold="selection"), "'one' stands in two folds"),
    ],
)
def test_a_wrong_probe_is_explained(tmp_path: Path, wrong: Any, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        load_suite(write(tmp_path, probes=[probe("one"), wrong]))


@pytest.mark.parametrize("line", [b"{", b"", b"\xff", b'{"id": "a", "id": "b"}'])
def test_a_line_that_is_no_json_is_named(tmp_path: Path, line: bytes) -> None:
    folder = write(tmp_path)
    (tmp_path / "probes.jsonl").write_bytes(line + b"\n")
    with pytest.raises(SuiteError, match="line 1"):
        load_suite(folder)


def test_a_suite_without_evaluation_probes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="at least one probe"):
        load_suite(write(tmp_path, probes=[probe("one", fold="calibration")]))


def test_a_folder_without_a_suite_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"a suite folder holds suite\.json and probes\.jsonl"):
        load_suite(str(tmp_path))


def test_an_unknown_name_is_answered_with_advice() -> None:
    with pytest.raises(UnknownNameError, match="Or give the path of a suite folder"):
        load_suite("no-such-suite")


@pytest.mark.parametrize("name", sorted(list_suites()))
def test_every_shipped_suite_is_sound(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.folder.parent == shipped_folder("probes")
    assert sum(len(suite.fold(fold)) for fold in FOLDS) == len(suite.probes)


def test_a_suite_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    suite = load_suite("answers")
    saved = save_suite(tmp_path / "copy", suite.manifest, suite.probes)
    assert (saved.manifest, saved.probes) == (suite.manifest, suite.probes)
    assert saved.folder == tmp_path / "copy"
    assert load_suite(str(tmp_path / "copy")) == saved


def test_a_suite_is_never_written_over(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path))
    with pytest.raises(SuiteError, match="holds a suite already"):
        save_suite(tmp_path, suite.manifest, suite.probes[:1])
    assert load_suite(str(tmp_path)) == suite


def test_prompts_need_say_no_more_than_what_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    said = [{"messages": [{"role": "user", "content": text}]} for text in ("Hello", "Bye", "Well?")]
    rows = [
        said[0],
        said[1] | {"id": "bye"},
        said[2] | {"id": "well", "cluster": "w", "fold": "calibration", "level": 2},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = load_prompts(file)
    assert [(p.id, p.cluster, p.fold, p.level) for p in prompts] == [
        ("line-1", "line-1", "evaluation", None),
        ("bye", "bye", "evaluation", None),
        ("well", "w", "evaluation", None),
    ]
    assert prompts[1].messages == (Message("user", "Bye"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "line 2: value"),
        ('{"id": "a"}', "line 2: messages"),
        ("{", "line 2"),
        ('{"messages": []}', "line 2: messages"),
    ],
)
def test_a_wrong_prompt_is_explained(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": "Hello"}]}) + "\n" + line + "\n")
    with pytest.raises(SuiteError, match=said):
        load_prompts(file)


@pytest.mark.parametrize(
    ("of", "said"), [("nope", "no shipped suite has the name 'nope'"), (".", "has no probes of its own")]
)
def test_a_suite_that_samples_on_nothing_says_which_it_is(tmp_path: Path, of: str, said: str) -> None:
    about = json.loads((shipped_folder("probes") / "samples" / "suite.json").read_text())
    (tmp_path / "suite.json").write_text(json.dumps(about | {"of": of}))
    with pytest.raises(SuiteError, match=said) as raised:
        load_suite(str(tmp_path))
    assert str(tmp_path / "suite.json") in str(raised.value)


def test_what_a_suite_samples_on_does_not_depend_on_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = json.loads((shipped_folder("probes") / "samples" / "suite.json").read_text())
    for name, of in (("a", "a"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "suite.json").write_text(json.dumps(about | {"name": name, "of": of}))
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        with pytest.raises(SuiteError, match="no shipped suite has the name 'a'"):
            load_suite(name)


def test_a_suite_of_scored_text_asks_one_stratum_of_another() -> None:
    scored, base = load_suite("scored"), load_suite("logprobs")
    assert scored.probes == tuple(p for p in base.probes if p.stratum == "written")
    assert scored.scored
    assert not base.scored
    probe = scored.fold("evaluation")[0]
    request = scored.score(probe, "So it is.", 0.0, 5)
    assert (request.scored, request.max_tokens, request.top_logprobs) == ("So it is.", 1, 5)
    assert probe.said == probe.messages[0].content.encode()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stratum": "nope"}, "asks no probes of 'nope'"),
        ({"of": None}, "need `temperature` and `of`"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"observes": ["scored_text", "prompt_tokens"]}, "nothing else"),
        ({"observes": ["logprobs"], "of": None, "temperature": None}, "stratum: needs `of`"),
    ],
)
def test_a_suite_of_scored_text_says_what_it_lacks(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    about = json.loads((load_suite("scored").folder / "suite.json").read_text())
    (tmp_path / "suite.json").write_text(json.dumps({k: v for k, v in (about | changes).items() if v is not None}))
    with pytest.raises(SuiteError, match=said):
        load_suite(str(tmp_path))
