"""A deployment is recorded, listed, shown, verified, and compared with."""

import json
import re
import shutil

import pytest


@pytest.fixture
def suite(tmp_path):
    """A suite small enough to record in a moment."""
    folder = tmp_path / "few"
    folder.mkdir()
    manifest = {
        "name": "few",
        "version": "1.0.0",
        "licence": "CC0-1.0",
        "description": "A few probes.",
        "observes": ["logprobs", "prompt_tokens"],
        "max_tokens": 2,
        "top_logprobs": 3,
    }
    (folder / "suite.json").write_text(json.dumps(manifest))
    folds = ["evaluation"] * 6 + ["selection"] * 2 + ["calibration"] * 2
    rows = [
        {"id": f"p{i}", "cluster": f"c{i}", "fold": fold, "messages": [{"role": "user", "content": f"Say {i}."}]}
        for i, fold in enumerate(folds)
    ]
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def recorded(qcheck, provider, suite, tmp_path):
    """The folder of a baseline of one deployment."""
    arguments = ("--provider", f"mine={provider()}", "--suite", suite, "--out", "baselines/few")
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert spoken.code == 0
    assert spoken.err.startswith("plan: at most 25 requests to mine (http://127.0.0.1:")
    assert "the self-hosted reference mine" in spoken.err
    assert spoken.err.splitlines()[-1].startswith("no envelope yet: that takes two reference deployments")
    assert spoken.out == ""
    return tmp_path / "baselines" / "few"


def test_a_dry_run_records_nothing(qcheck, suite, tmp_path):
    arguments = ("--provider", "mine=http://127.0.0.1:9/v1", "--suite", suite, "--variant", "--dry-run")
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert (spoken.code, spoken.err) == (0, "")
    assert "as the self-hosted variant mine in baselines/lab-tiny" in spoken.out
    assert not (tmp_path / "baselines").exists()
    asked = qcheck("baseline", "record", "lab-tiny", *arguments, "--max-requests", "5").out
    assert "; --max-requests 5 may end it before it is complete" in asked
    assert "--max-requests" not in qcheck("baseline", "record", "lab-tiny", *arguments, "--max-requests", "99").out


def test_a_reference_for_samples_is_a_recording_of_log_probabilities(qcheck):
    asked = ("baseline", "record", "lab-tiny", "--provider", "mine=http://127.0.0.1:9/v1", "--dry-run", "--suite")
    plans = [qcheck(*asked, suite).out for suite in ("samples", "logprobs", "lab-answers")]
    assert plans[0] == plans[1] != plans[2]


def test_nothing_is_recorded_for_text_that_live_deployments_score(qcheck):
    spoken = qcheck("baseline", "record", "lab-tiny", "--provider", "lab/honest", "--suite", "scored", "--dry-run")
    assert spoken.code == 2
    assert "--reference live:NAME" in spoken.err


def test_a_plan_pays_for_no_recording_unless_told_so(qcheck, monkeypatch):
    monkeypatch.setenv("ZHIPU_API_KEY", "sk-canary-0123456789")
    asked = ("baseline", "record", "glm-5.1", "--provider", "zai-coding-plan", "--suite", "logprobs")
    assert qcheck(*asked, "--dry-run").code == 0
    refused = qcheck(*asked)
    assert refused.code == 2
    needed = re.search(r"so that at most 100 are sent .* needs (\d+): give --max-requests \1\.$", refused.err.strip())
    assert needed
    assert f"plan: at most {needed[1]} requests" in qcheck(*asked, "--dry-run").out


def test_what_a_recording_costs_counts_the_tokens_that_are_generated_whatever_is_asked(qcheck, tmp_path):
    def usd(min_tokens):
        price = "models.lab-tiny.price = { input = 0, output = 1 }"
        (tmp_path / "qcheck.toml").write_text(f"[providers.mine]\nmin_tokens = {min_tokens}\n{price}\n")
        asked = ("baseline", "record", "lab-tiny", "--provider", "mine=http://127.0.0.1:9/v1", "--dry-run")
        out = " ".join(qcheck(*asked).out.split())
        tokens, dollars = re.search(r"at most (\d+) output tokens, at most (\S+) USD, retries apart", out).groups()
        assert float(dollars) == pytest.approx(int(tokens) / 1e6, abs=5e-4)
        return float(dollars)

    assert usd(64) > usd(1)


def test_who_runs_a_deployment_follows_from_its_address(qcheck):
    for provider, who in (("moonshot", "first-party"), ("openrouter/novita", "third-party")):
        spoken = qcheck("baseline", "record", "kimi-k2.6", "--provider", provider, "--dry-run")
        assert f"as the {who} reference {provider.replace('/', '-')} in" in spoken.out


def test_a_baseline_is_listed_shown_and_verified(qcheck, recorded):
    assert "few " in qcheck("baseline", "list").out
    shown = qcheck("baseline", "show", "few").out
    assert "mine        reference  self-hosted        2 " in shown
    assert "calibration: none" in shown
    verified = qcheck("baseline", "verify", recorded)
    assert verified.code == 0
    assert "verified. 2 files, answers to 10 probes and no calibration table" in verified.out
    shutil.rmtree(recorded / "calibration")
    assert "calibration answers of mine are not kept here" in qcheck("baseline", "verify", "few").out


def test_a_damaged_baseline_is_found_out(qcheck, recorded):
    path = recorded / "deployments" / "mine.answers"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    spoken = qcheck("baseline", "verify", "few")
    assert spoken.code == 2
    assert "does not have the hash" in spoken.err


def test_a_file_that_does_not_unpack_is_found_out_although_its_hash_is_right(qcheck, recorded):
    from qcheck.jsonio import content_hash

    path = recorded / "deployments" / "mine.answers"
    data = path.read_bytes()[:-1]
    path.write_bytes(data)
    manifest = json.loads((recorded / "manifest.json").read_text())
    manifest["deployments"][0]["answers"]["hash"] = content_hash(data)
    (recorded / "manifest.json").write_text(json.dumps(manifest))
    spoken = qcheck("baseline", "verify", "few")
    assert spoken.code == 2
    assert "mine.answers is damaged (it is cut off" in spoken.err


def test_a_recorded_baseline_is_the_reference_without_being_asked_for(qcheck, recorded, provider, suite):
    spoken = qcheck("compare", "lab-tiny", "--providers", f"b={provider()}", "--suite", suite)
    assert "reference: few, recorded, self-hosted; deployments: mine; no envelope" in spoken.out


def test_what_is_recorded_is_neither_asked_again_nor_replaced(qcheck, recorded, provider, suite):
    manifest = (recorded / "manifest.json").read_bytes()
    arguments = ("--provider", f"mine={provider(shift=1.0)}", "--suite", suite, "--out", "baselines/few")
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert spoken.code == 2
    assert spoken.err.startswith("qcheck: mine is recorded already in baselines/few; choose another --name")
    assert qcheck("baseline", "record", "lab-tiny", *arguments, "--dry-run").code == 2
    assert (recorded / "manifest.json").read_bytes() == manifest


def test_too_few_clusters_for_an_envelope_are_no_mistake(qcheck, recorded, provider, suite):
    arguments = ("--provider", f"two={provider()}", "--suite", suite, "--out", "baselines/few")
    for _ in range(2):  # the second time nothing is left but to calibrate
        spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
        assert spoken.code == 0
        assert spoken.err.splitlines()[-1].startswith("no envelope: only 2 calibration clusters")
    assert "requests done" not in spoken.err
    names = [d["name"] for d in json.loads((recorded / "manifest.json").read_text())["deployments"]]
    assert names == ["mine", "two"]


def test_an_endpoint_that_is_gone_ends_in_exit_code_3(qcheck, suite):
    arguments = ("--provider", "mine=http://127.0.0.1:9/v1", "--suite", suite)
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert spoken.code == 3
    assert "run the same command again" in spoken.err


def test_a_mistyped_address_is_in_nobodys_way(qcheck, provider, suite, tmp_path):
    arguments = ("--suite", suite, "--provider")
    assert qcheck("baseline", "record", "lab-tiny", *arguments, "mine=http://127.0.0.1:9/v1").code == 3
    assert qcheck("baseline", "record", "lab-tiny", *arguments, f"mine={provider()}").code == 0
    assert (tmp_path / "baselines" / "lab-tiny" / "manifest.json").exists()


def test_where_nothing_can_be_written_nothing_is_planned(qcheck, suite, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ("--suite", suite, "--provider", "mine=http://127.0.0.1:9/v1", "--out", "file", "--dry-run")
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert (spoken.code, spoken.out) == (2, "")
    assert spoken.err == "qcheck: no baseline can be kept in file: file is no folder; choose another --out.\n"


def test_a_deadline_ends_a_recording(qcheck, provider, suite):
    url = provider(pause_s=0.3)
    arguments = ("--provider", f"mine={url}", "--suite", suite, "--concurrency", "1", "--deadline", "0.5s")
    spoken = qcheck("baseline", "record", "lab-tiny", *arguments)
    assert spoken.code == 3
    assert "then: deadline" in spoken.err


def test_a_baseline_that_cannot_be_read_stops_no_comparison(qcheck, recorded, provider, suite):
    broken = recorded.parent / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{}")
    spoken = qcheck("compare", "lab-tiny", "--providers", f"b={provider()}", "--suite", suite)
    assert "note: passed over: baselines/broken is not a baseline" in spoken.err
    assert "reference: few, recorded" in spoken.out
