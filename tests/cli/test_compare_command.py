"""A run from beginning to end against providers on this machine: compare, interrupt, resume, verify."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qcheck.cli.comparison import A_NEW_RUN, _nameless
from qcheck.client.transport import Client
from qcheck.registry.types import Endpoint
from qcheck.run.execute import given_up
from qcheck.run.folder import RunFolder
from qcheck.run.journal import Journal, read_journal
from qcheck.run.plan import PlanItem
from qcheck.suites import load_suite

SMALL = ("--reference", "none", "--max-requests", "6", "--seed", "7")


def test_the_results_alone_are_on_standard_output(qcheck, provider):
    spoken = qcheck("compare", "lab-tiny", "--providers", f"a={provider()},b={provider()}", *SMALL)
    assert spoken.code == 3
    assert spoken.out.splitlines()[1].startswith("provider ")
    assert "seed 7" in spoken.out
    assert "next: `qcheck verify " in spoken.out
    assert spoken.err.splitlines()[0].startswith("plan: at most 12 requests to 2 endpoints")
    assert spoken.err.splitlines()[1].startswith("warning: these limits allow too few requests")
    assert spoken.err.splitlines()[2] == "asking a, b"
    assert sorted(spoken.err.splitlines()[3:]) == [
        f"{name}: inconclusive after 3 answers" for name in "ab"
    ]  # 3 asked what it offers


def test_who_answered_what_it_offers_is_not_given_up_for_a_probe_that_a_firewall_blocks(qcheck, provider, tmp_path):
    specs = f"a={provider(pause_s=0.05, blocked=2)},b={provider()}"
    spoken = qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    assert "a: inconclusive after 2 answers" in spoken.err
    (run,) = (tmp_path / "runs").iterdir()
    (blocked,) = (a for a in read_journal(RunFolder(run).journal) if a.http_status == 403)
    assert (blocked.discovery, blocked.fatal) == (False, False)


def test_json_goes_alone_to_standard_output_or_to_a_file(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    alone = qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--json", "-", "--quiet")
    assert json.loads(alone.out)["seed"] == 7
    assert alone.err == ""
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--json", "r.json", "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    assert (tmp_path / "r.json").read_bytes() == (run / "result.json").read_bytes()


def test_a_dry_run_sends_and_keeps_nothing(qcheck, own_folders):
    specs = "a=http://127.0.0.1:9/v1,b=http://127.0.0.1:9/v1"
    spoken = qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--dry-run")
    assert spoken.code == 0
    assert spoken.err == ""
    assert "at most 12 requests to 2 endpoints" in spoken.out
    assert "detectability unknown: no baseline" in spoken.out
    assert not (own_folders / "data").exists()


def test_a_dry_run_of_several_suites_says_what_each_costs(qcheck, own_folders):
    arguments = ("compare", "lab-tiny", "--providers", "a=http://127.0.0.1:9/v1", "--suite", "logprobs,lab-answers")
    spoken = qcheck(*arguments, "--seed", "7", "--max-requests", "300", "--dry-run")
    assert (spoken.code, spoken.err) == (0, "")
    rows = [line.split() for line in spoken.out.splitlines() if line.startswith("a ")]
    assert [row[2] for row in rows] == ["discovery", "logprobs", "lab-answers"]
    assert int(rows[0][5]) + sum(int(row[3]) for row in rows[1:]) == 300
    assert "at most 300 requests to 1 endpoint " in spoken.out


@pytest.mark.parametrize(
    ("suites", "reference", "says"),
    [
        (",", None, "--suite names nothing; see `qcheck suite list`"),
        ("logprobs,logprobs", None, "two suites are called logprobs"),
        ("logprobs,lab-answer", None, "lab-answers"),
        ("logprobs,lab-answers", "none", "goes with one suite"),
        ("logprobs,answers", None, "none for lab-tiny and the suite answers"),
    ],
)
def test_suites_that_cannot_be_asked_together_are_refused(qcheck, suites, reference, says):
    arguments = ["compare", "lab-tiny", "--providers", "a=http://127.0.0.1:9/v1", "--suite", suites]
    spoken = qcheck(*arguments, *(["--reference", reference] if reference else []))
    assert (spoken.code, says in " ".join(spoken.err.split())) == (2, True), spoken.err


def test_verify_says_what_it_checked_and_lists_what_differs(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    good = qcheck("verify", run)
    assert (good.code, good.err) == (0, "")
    assert "12 recorded requests to 2 providers give result.json again, byte for byte" in good.out
    result = json.loads((run / "result.json").read_text())
    result["providers"][1]["deviating"]["answers"] += 1
    (run / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    bad = qcheck("verify", run, "--json", "-")
    assert bad.code == 5
    assert "providers[1].deviating.answers" in bad.err
    assert json.loads(bad.out)["providers"][1]["deviating"]["answers"] == 0


@pytest.mark.parametrize(
    ("number", "before"),
    [(signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGTERM, "signal.signal(signal.SIGINT, signal.SIG_IGN); ")],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in the background"],
)
def test_an_interrupted_run_says_how_to_go_on_and_does(qcheck, provider, tmp_path, number, before):
    specs = f"a={provider(pause_s=0.05)},b={provider(pause_s=0.05)}"
    arguments = ["compare", "lab-tiny", "--providers", specs, "--reference", "none", "--max-requests", "60"]
    script = f"import signal; {before}from qcheck.cli.main import run; run()"
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True)
    runs = tmp_path / "data" / "qcheck" / "runs"
    until = time.monotonic() + 30
    while not any('"seq":2,' in j.read_text() for j in runs.glob("*/journal.jsonl")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    (run,) = runs.iterdir()
    assert err.splitlines()[-1].startswith(f"qcheck: interrupted; `qcheck resume {run.name}` goes on")
    assert "Traceback" not in err
    assert "Warning" not in err
    kept = (run / "journal.jsonl").read_bytes()
    resumed = qcheck("resume", run.name)
    assert resumed.code == 3, resumed.err
    assert (run / "journal.jsonl").read_bytes().startswith(kept)
    assert qcheck("verify", run.name).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_goes_on_whose_discovery_was_interrupted(qcheck, provider, tmp_path, number):
    """All that was asked before counts: it is kept, and the limit of six requests to each holds with it."""
    specs = f"a={provider(pause_s=0.25)},b={provider(pause_s=0.25)}"
    script = "from qcheck.cli.main import run; run()"
    arguments = [sys.executable, "-c", script, "compare", "lab-tiny", "--providers", specs, *SMALL]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    runs, until = tmp_path / "data" / "qcheck" / "runs", time.monotonic() + 30
    while not any('"probe_id":"plain"' in j.read_text() for j in runs.glob("*/journal.jsonl")):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=30)
    (run,) = runs.iterdir()
    assert not (run / "manifest.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"no probe was sent yet; `qcheck resume {run.name}` goes on" in err.splitlines()[-1]
    early = qcheck("verify", run.name)
    assert (early.code, "finish it with `qcheck resume " in early.err) == (2, True)

    kept = (run / "journal.jsonl").read_bytes()
    assert qcheck("resume", run.name).code == 3
    journal = (run / "journal.jsonl").read_bytes()
    assert journal.startswith(kept[: kept.rfind(b"\n") + 1])
    rows = [json.loads(line) for line in journal.splitlines()]
    settled = [(r["provider"], r["seq"]) for r in rows if r["outcome"] != "retried"]
    assert len(settled) == len(set(settled)) == 12
    result = json.loads((run / "result.json").read_text())
    assert (result["run_id"], result["seed"], result["totals"]["requests"]) == (run.name, 7, 12)
    assert qcheck("verify", run.name).code == 0


def test_a_model_that_cannot_be_named_is_asked_for_in_the_journal_alone(qcheck, provider, tmp_path, monkeypatch):
    asked, ask_models = [], Client.ask_models

    def counted(self, provider, seq, name):
        asked.append((provider, seq))
        return ask_models(self, provider, seq, name)

    monkeypatch.setattr(Client, "ask_models", counted)
    specs = f"a={provider()},b={provider(model_id='')}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs", "--json", "r.json")
    (run,) = (tmp_path / "runs").iterdir()
    rows = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert sorted(asked) == sorted({(r["provider"], r["seq"]) for r in rows if r["probe_id"] == "models"})
    assert all(r["probe_id"] == "models" or not r["sent"] for r in rows if r["provider"] == "b")
    b = json.loads((tmp_path / "r.json").read_text())["providers"][1]
    assert b["verdict"] == "unavailable"
    assert b["unavailable_reason"].startswith("asking /models: ")


def test_a_resumed_run_says_where_it_sends_a_key(qcheck, provider, tmp_path, monkeypatch):
    """Its folder, which somebody else may have made, names the address."""
    monkeypatch.setenv("MINE", "sk-a-key-of-mine")
    (tmp_path / "qcheck.toml").write_text('[providers.a]\nkey_env = "MINE"\n')
    specs = f"a={provider()},b={provider()}"
    assert "sends the key" not in qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs").err
    (run,) = (tmp_path / "runs").iterdir()
    for quiet, before in (((), ""), (("--quiet",), "qcheck: ")):
        spoken = qcheck(*quiet, "resume", run)
        (said,) = (line for line in spoken.err.splitlines() if "sends the key" in line)
        assert said.startswith(f"{before}note: this run sends the key in MINE to http://127.0.0.1:")


def test_a_damaged_journal_is_told_of_before_anybody_is_asked(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    journal = run / "journal.jsonl"
    journal.write_bytes(b"\xff" + journal.read_bytes()[1:])
    spoken = qcheck("resume", run)
    assert (spoken.code, spoken.err.count("\n")) == (2, 1)
    assert "journal.jsonl line 1 is damaged or of another version of qcheck; start" in spoken.err


def test_a_run_is_not_resumed_with_another_endpoint(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    (tmp_path / "qcheck.toml").write_text('[providers.b.models.lab-tiny]\nmodel_id = "another"\n')
    spoken = qcheck("resume", run)
    assert spoken.code == 2
    assert "start a new run" in spoken.err


def test_a_run_is_not_resumed_with_another_way_of_asking(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider()}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    (tmp_path / "qcheck.toml").write_text("[providers.b]\nmin_tokens = 16\n")
    spoken = qcheck("resume", run)
    assert (spoken.code, "is asked in another way than when the run began" in spoken.err) == (2, True), spoken.err


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    script = "from qcheck.cli.main import run; run()"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", script, "suite", "list"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_standard_output_is_exit_code_4():
    script = "from qcheck.cli.main import run; run()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script, "suite", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr == "qcheck: cannot write the output: No space left on device; free space and try again.\n"


def test_the_id_that_only_the_endpoint_knows_is_part_of_what_was_promised(qcheck, provider, tmp_path):
    specs = f"a={provider()},b={provider(model_id='n')}"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--run-dir", "runs")
    (run,) = (tmp_path / "runs").iterdir()
    assert [p["model_id"] for p in json.loads((run / "result.json").read_text())["providers"]] == ["m", "n"]
    assert qcheck("resume", run).code == 3
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["providers"][1]["model_id"] = "m"
    manifest["limits"]["max_requests"] = 20
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert "b=http://127.0.0.1:" in (spoken := qcheck("resume", run)).err
    assert (spoken.code, "now is n at" in spoken.err) == (2, True)


def test_whoever_cannot_be_reached_is_unavailable_and_costs_nothing(qcheck, provider, tmp_path):
    specs = f"a={provider()},dead=http://127.0.0.1:9/v1"
    qcheck("compare", "lab-tiny", "--providers", specs, *SMALL, "--json", "r.json")
    dead = json.loads((tmp_path / "r.json").read_text())["providers"][1]
    assert (dead["verdict"], dead["model_id"], dead["cost_usd"]) == ("unavailable", None, 0.0)


def test_plain_http_to_another_machine_takes_an_option(qcheck):
    arguments = (
        "compare",
        "lab-tiny",
        "--providers",
        "a=http://a.invalid/v1,b=http://b.invalid/v1",
        *SMALL,
        "--dry-run",
    )
    refused = qcheck(*arguments)
    assert (refused.code, "--allow-http" in refused.err) == (2, True)
    assert qcheck(*arguments, "--allow-http").code == 0


def most_to(out, name):
    """What a plan says that is sent to a provider: its discovery, as expected, and all else at most."""
    rows = [line.split() for line in out.splitlines() if line.startswith(f"{name} ")]
    (discovery,) = (int(row[5]) if row[4] == "about" else int(row[4]) for row in rows if row[2] == "discovery")
    return discovery + sum(int(row[3]) for row in rows if row[2:3] == ["logprobs"])


def test_a_plan_is_asked_a_hundred_times_unless_told_otherwise(qcheck, own_folders):
    free = "price = { input = 0.0, output = 0.0 }"
    (own_folders / "qcheck.toml").write_text(f'[providers.plan.models.lab-tiny]\nmodel_id = "m"\n{free}\n')
    arguments = ("compare", "lab-tiny", "--providers", "plan=https://a.invalid/v1,b=https://b.invalid/v1", "--dry-run")
    capped = qcheck(*arguments, "--reference", "none")
    assert capped.err == (
        "note: requests to plan cost nothing, as those that a plan pays for, so that at most 100 are sent; "
        "--max-requests allows more\n"
    )
    assert most_to(capped.out, "plan") == 100
    told = qcheck(*arguments, "--reference", "none", "--max-requests", "150")
    assert told.err == ""
    assert most_to(told.out, "plan") == 150


def test_a_proxy_that_cannot_be_used_ends_the_command_before_there_is_a_run(qcheck, own_folders, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "foo://host:1")
    (own_folders / "qcheck.toml").write_text(
        "".join(f'[providers.{n}.models.lab-tiny]\nmodel_id = "m"\n' for n in "ab")
    )
    specs = "a=https://a.invalid/v1,b=https://b.invalid/v1"
    spoken = qcheck("compare", "lab-tiny", "--providers", specs, *SMALL)
    assert (spoken.code, "ALL_PROXY" in spoken.err) == (2, True)
    assert not (own_folders / "data").exists()


def test_the_plan_of_scored_text_counts_who_scores(qcheck):
    asked = ("compare", "lab-twin", "--providers", "mine=http://127.0.0.1:9/v1", "--suite", "scored", "--dry-run")
    reference, variants = "live:lab/honest-torch-f32", ("--variant", "live:lab/int4-bf16,live:lab/q4_0-torch")
    plan = qcheck(*asked, "--reference", reference, *variants, "--max-requests", "9")
    assert plan.code == 0
    rows = [line.split() for line in plan.out.splitlines() if " scored  " in line]
    assert [row[:2] for row in rows] == [
        ["mine", "provider"],
        ["lab/honest-torch-f32", "reference"],
        ["lab/int4-bf16", "variant"],
        ["lab/q4_0-torch", "variant"],
    ]
    assert len({row[3] for row in rows}) == 1
    assert "withheld: mine: nobody knows whether it cuts the tail" in " ".join(plan.out.split())
    for missing in ((), variants):
        refused = qcheck(*asked, *missing)
        assert refused.code == 2
        assert "--reference live:NAME" in refused.err


@pytest.mark.parametrize(
    ("model", "settings", "why"),
    [
        ("lab-tiny", "top_logprobs_max = 0", "because of the reference ours ("),
        ("lab-thinking", 'thinking_off = "enable_thinking"', "under [providers.a.models.lab-thinking]"),
    ],
    ids=["the reference shows nothing", "nobody is left to judge"],
)
def test_nobody_scores_in_vain(qcheck, provider, tmp_path, model, settings, why):
    turns = 'user = "{content}", system = "{content}", assistant = "{content}", answer = "", no_thought = ""'
    (tmp_path / "qcheck.toml").write_text(
        f"[providers.ours]\n{settings}\n[providers.ours.models.{model}]\nprompt_format = {{ {turns} }}\n"
    )
    reference = ("--suite", "scored", "--reference", f"live:ours={provider()}", "--run-dir", "runs")
    spoken = qcheck("compare", model, "--providers", f"a={provider()}", *reference)
    assert spoken.code == 3
    assert why in spoken.err
    (folder,) = (tmp_path / "runs").iterdir()
    probes = {probe.id for probe in load_suite("scored").probes}
    assert not [a for a in read_journal(folder / "journal.jsonl") if a.probe_id in probes]


def test_nobody_is_judged_by_who_cannot_score(qcheck, provider, tmp_path):
    turns = 'user = "{content}", system = "{content}", assistant = "{content}", answer = "", no_thought = ""'
    (tmp_path / "qcheck.toml").write_text(f"[providers.ours.models.lab-tiny]\nprompt_format = {{ {turns} }}\n")
    reference = ("--suite", "scored", "--reference", f"live:ours={provider()}")
    spoken = qcheck("compare", "lab-tiny", "--providers", f"a={provider()}", *reference)
    assert spoken.code == 3
    assert "a is asked nothing: because of ours: it gives no log-probabilities of a prompt (echo)" in spoken.err
    assert "not judged: because of ours" in " ".join(spoken.out.split())


def test_why_a_provider_has_no_model_is_what_asking_for_it_came_to_alone(tmp_path):
    """Not that a later question failed."""
    folder, asked = RunFolder.create(tmp_path, "run"), datetime(2026, 11, 29, tzinfo=UTC)
    with Journal.open(folder.journal) as journal:
        for seq, (name, error) in enumerate((("models", "HTTP 404"), ("plain", "HTTP 500"))):
            journal.append(replace(given_up(PlanItem("a", -1 - seq, name), 0, asked), error=error))
    endpoint = Endpoint("a", "a", "https://host/v1", None, None)
    assert _nameless(folder, [endpoint]) == {"a": f"HTTP 404; {A_NEW_RUN}"}
