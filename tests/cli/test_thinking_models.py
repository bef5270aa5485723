"""Thinking models at endpoints that nobody has configured: what is asked first, and that verdicts are right."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from qcheck.baselines import load_baseline
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model

SUITE = {
    "name": "few",
    "version": "1.0.0",
    "licence": "CC0-1.0",
    "description": "A few probes.",
    "observes": ["logprobs", "prompt_tokens"],
    "max_tokens": 2,
    "top_logprobs": 20,
}


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Real engines that serve the lab's thinking model, by what they are."""
    with Lab(tmp_path_factory.mktemp("lab"), seed=7) as lab:
        served = {"ref": "honest", "right": "honest-b", "wrong": "q2_k"}
        yield {name: lab.engine(deployment, "lab-thinking").base_url for name, deployment in served.items()}


def test_with_nothing_configured_the_verdicts_are_right(qcheck, urls, tmp_path):
    providers = f"right={urls['right']},wrong={urls['wrong']}"
    asked = (
        "compare",
        "lab-thinking",
        "--providers",
        providers,
        "--reference",
        f"live:ref={urls['ref']}",
        "--json",
        "r",
    )
    spoken = qcheck(*asked, "--tolerance", "0.3", "--seed", "1", "--run-dir", "runs")
    assert spoken.code == 1
    result = json.loads(Path("r").read_text())
    assert {p["name"]: p["verdict"] for p in result["providers"]} == {"right": "consistent", "wrong": "deviates"}
    (folder,) = (tmp_path / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {p["thinking_off"] for p in manifest["providers"]} == {"chat_template_kwargs"}
    assert qcheck("verify", str(folder)).code == 0
    assert qcheck("resume", str(folder)).code == 1

    again = " ".join(qcheck(*asked[:-2], "--dry-run").out.split())
    assert re.search(r"thinking: right: off by chat_template_kwargs, found \d{4}-\d\d-\d\d ", again)
    assert re.search(r"right provider discovery \d+ about 2 ", again)


def test_where_no_way_is_found_nobody_is_judged_and_the_table_is_named(qcheck, provider, tmp_path):
    """These providers' answers never end, as thoughts do not."""
    asked = ("compare", "lab-thinking", "--providers", f"a={provider()},b={provider(0.5)}", "--run-dir", "runs")
    spoken = qcheck(*asked, "--json", "r")
    assert spoken.code == 3
    assert (
        "thinking_off (docs/dialects.md) says one in qcheck.toml, under [providers.a.models.lab-thinking]" in spoken.err
    )
    for said in json.loads(Path("r").read_text())["providers"]:
        assert (said["verdict"], said["stop_reason"], said["requests"]) == (
            "inconclusive",
            "not judged",
            said["discovery"],
        )
    (folder,) = (tmp_path / "runs").iterdir()
    assert (qcheck("verify", str(folder)).code, qcheck("resume", str(folder)).code) == (0, 3)


def test_a_run_that_found_the_registry_wrong_goes_on_as_it_was_asked(qcheck, provider, tmp_path, monkeypatch):
    wrong = replace(get_model("lab-thinking"), thinking_off={"a": "reasoning"})
    monkeypatch.setattr("qcheck.cli.comparison.get_model", lambda _: wrong)
    providers = f"a={provider()},b={provider()}"
    spoken = qcheck("compare", "lab-thinking", "--providers", providers, "--run-dir", "runs")
    assert spoken.code == 3
    assert "a is asked nothing: no way was found to keep the model from thinking there" in spoken.err
    (folder,) = (tmp_path / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["thinking_off"] for entry in manifest["providers"]} == {"not found"}
    assert (qcheck("verify", str(folder)).code, qcheck("resume", str(folder)).code) == (0, 3)


@pytest.mark.parametrize("role", ["provider", "reference"])
def test_where_the_search_is_cut_off_nothing_is_asked_and_it_is_said_why(qcheck, provider, role):
    a, b = f"a={provider()}", f"b={provider()}"
    compared = [f"{a},{b}"] if role == "provider" else [a, "--reference", f"live:{b}"]
    spoken = qcheck("compare", "lab-thinking", "--providers", *compared, "--max-requests", "2", "--json", "r")
    assert spoken.code == 3
    assert "it could not be found out in time how the model is kept from thinking there" in spoken.err
    for said in json.loads(Path("r").read_text())["providers"]:
        assert (said["stop_reason"], said["requests"]) == ("not judged", said["discovery"])


def test_a_reference_is_recorded_without_configuring_anything_too(qcheck, urls, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "suite.json").write_text(json.dumps(SUITE))
    rows = [
        {"id": f"p{i}", "cluster": f"c{i}", "fold": fold, "messages": [{"role": "user", "content": f"Add {i} and 2."}]}
        for i, fold in enumerate(["evaluation"] * 4 + ["selection", "calibration"] * 2)
    ]
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("--provider", f"ref={urls['ref']}", "--suite", str(folder), "--out", "baselines/few")
    spoken = qcheck("baseline", "record", "lab-thinking", *asked)
    assert spoken.code == 0
    assert "ref: thinking is off by chat_template_kwargs, as was found out" in spoken.err
    (deployment,) = load_baseline(Path("baselines/few")).manifest.deployments
    assert deployment.thinking_off == "chat_template_kwargs"


def test_a_plan_of_a_thinking_model_needs_neither_keys_nor_configuration(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "openrouter/novita,deepinfra,aihubmix", "--dry-run")
    plan = " ".join(spoken.out.split())
    assert spoken.code == 0
    assert "thinking: openrouter/novita: off by reasoning, as the registry has it" in plan
    assert "thinking: aihubmix: how it is turned off is not known, and found out first" in plan
    assert re.search(r"aihubmix provider discovery 28 about 4 ", plan)


def test_a_plan_says_how_those_who_score_are_kept_from_thinking(qcheck, tmp_path):
    turns = 'user = "{content}", system = "{content}", assistant = "{content}", answer = "", no_thought = ""'
    (tmp_path / "qcheck.toml").write_text(f"[providers.ours.models.lab-thinking]\nprompt_format = {{ {turns} }}\n")
    url = "http://127.0.0.1:9/v1"
    asked = ("--providers", f"a={url}", "--suite", "scored", "--reference", f"live:ours={url}", "--dry-run")
    spoken = qcheck("compare", "lab-thinking", *asked)
    assert spoken.code == 0, spoken.err
    assert "thinking: ours: how it is turned off is not known" in " ".join(spoken.out.split())
