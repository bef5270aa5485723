"""`qcheck providers check`: the plan, the table, the file, and the exit codes."""

import json

import pytest


def words(text):
    return " ".join(text.split())


@pytest.fixture
def check(qcheck):
    """Checks what an endpoint offers that is given by its URL."""
    return lambda url, *options: qcheck("providers", "check", f"mine={url}", "--model", "lab-tiny", *options)


def test_what_is_offered_is_shown_with_its_evidence(check, provider):
    spoken = check(provider())
    assert spoken.code == 0
    assert "plan: 14 requests of at most 32 tokens to mine" in spoken.err
    assert "up to 6 more where some are refused or fail, cost unknown (no price known)" in words(spoken.err)
    shown = words(spoken.out)
    assert "log-probabilities yes 3 3 tokens listed at a position, in 3 of 3 answers" in shown
    assert "one-token answers no 2 1 token asked for, 2 generated" in shown
    assert "usage of streams no a stream was asked for, and the answer came in one piece" in shown
    assert 'top_logprobs_max = 3, min_tokens = 2, under [providers."mine"]' in shown


def test_a_dry_run_sends_nothing(check):
    spoken = check("http://127.0.0.1:9/v1", "--dry-run")
    assert (spoken.code, spoken.err) == (0, "")
    assert spoken.out.startswith("plan: 14 requests")


def test_the_json_stands_alone_and_in_a_file(check, provider, own_folders):
    alone = json.loads(check(provider(), "--json", "-").out)
    assert alone["schema_version"] == 1
    assert (alone["model_id"], alone["stopped"], alone["requests"]) == ("m", None, 14)
    assert {c["offered"] for c in alone["capabilities"]} == {"yes", "no", "unknown"}
    spoken = check(provider(), "--json", "offer.json")
    assert "log-probabilities" in spoken.out
    kept = json.loads((own_folders / "offer.json").read_text())
    assert kept.keys() == alone.keys()


def test_an_endpoint_that_is_not_there_is_unavailable(check):
    spoken = check("http://127.0.0.1:9/v1")
    assert spoken.code == 3
    assert "unavailable: asking /models: cannot connect" in words(spoken.out)


def test_a_lab_provider_is_planned_without_an_engine(qcheck, monkeypatch):
    monkeypatch.setattr("qcheck.lab.supervisor.Lab._start", lambda *_: pytest.fail("an engine was started"))
    spoken = qcheck("providers", "check", "lab/honest", "--model", "lab-tiny", "--dry-run")
    assert "free of charge" in spoken.out
