"""A suite is planned, made, and used, from the command line."""

import json

import pytest

PROMPTS = 180


@pytest.fixture
def pool(tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = ({"messages": [{"role": "user", "content": f"Say {i}."}]} for i in range(PROMPTS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def new(qcheck, pool):
    """Runs the command with two honest deployments; what is given comes last."""

    def run(first, second, *more):
        honest = f"a={first},b={second}"
        return qcheck("suite", "new", "mine", "--model", "lab-tiny", "--pool", pool, "--from", honest, *more)

    return run


NOWHERE = "http://127.0.0.1:9/v1"


def test_a_dry_run_prices_the_pool_and_writes_nothing(new, tmp_path):
    spoken = new(NOWHERE, NOWHERE, "--for", "greedy", "--against", f"v={NOWHERE}", "--dry-run")
    assert (spoken.code, spoken.err) == (0, "")
    assert spoken.out.startswith("plan: 180 prompts of one token to each of a, b, v, 540 requests")
    assert "cost unknown (no price known)" in spoken.out
    assert [f.name for f in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_for_log_probabilities_a_pool_is_asked_as_providers_will_be(new):
    spoken = new(NOWHERE, NOWHERE, "--for", "logprobs", "--dry-run")
    assert spoken.out.startswith("plan: 180 prompts of 4 tokens to each of a, b, 360 requests")


def test_where_nothing_can_be_written_nothing_is_planned(new, tmp_path):
    spoken = new(NOWHERE, NOWHERE, "--for", "greedy", "--out", "prompts.jsonl")
    assert (spoken.code, spoken.out) == (2, "")
    assert spoken.err == (
        "qcheck: no suite can be kept in prompts.jsonl: prompts.jsonl is no folder; choose another --out.\n"
    )


def test_a_suite_is_made_validated_and_not_made_again(new, qcheck, provider, tmp_path):
    ask = (provider(), provider(shift=0.01), "--for", "greedy", "--gap", "0.5:1.5", "--concurrency", "8")
    spoken = new(*ask)
    assert spoken.code == 0
    assert "a: 180 of 180 prompts answered" in spoken.err
    assert "probes: 180 of 180 prompts (54 evaluation, 22 selection, 104 calibration)" in spoken.out
    assert "near-tie" in spoken.out
    assert qcheck("suite", "validate", "suites/mine").out.startswith("valid: mine 1.0.0, 180 probes")
    manifest = json.loads((tmp_path / "suites/mine/suite.json").read_text())
    assert "--gap 0.5:1.5" in manifest["generator"]
    again = new(*ask)
    assert again.code == 2
    assert "suites/mine holds a suite already" in again.err


def test_a_suite_for_log_probabilities_is_made(new, qcheck, provider, tmp_path):
    spoken = new(provider(), provider(shift=0.01), "--for", "logprobs", "--margin", "0.01", "--concurrency", "8")
    assert spoken.code == 0, spoken.err
    assert "followed" in spoken.out
    manifest = json.loads((tmp_path / "suites/mine/suite.json").read_text())
    assert (manifest["observes"], manifest["max_tokens"]) == (["logprobs", "prompt_tokens"], 4)
    assert "--for logprobs" in manifest["generator"]
    assert "--margin 0.01" in manifest["generator"]
    assert qcheck("suite", "validate", "suites/mine").code == 0
    (tmp_path / "suites/mine/suite.json").unlink()
    other = new(NOWHERE, NOWHERE, "--for", "greedy", "--dry-run")
    assert (other.code, other.out) == (2, "")
    assert "suites/mine/pool holds answers to other prompts, or of another length" in other.err


def test_answers_are_kept_where_too_little_is_found(new, provider):
    first, second = provider(), provider(shift=0.01)
    spoken = new(first, second, "--for", "greedy")
    assert spoken.code == 2
    assert "of 180 prompts 0 near-tie ones were found" in spoken.err
    spoken = new(first, second, "--for", "greedy", "--gap", "0.5:1.5")
    assert spoken.code == 0
    assert "prompts answered" not in spoken.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--for", "greedy", "--gap", "0.2"), "--gap '0.2' is no LOW:HIGH"),
        (("--for", "greedy", "--gap", "0.2:0.1"), "--gap '0.2:0.1' is no LOW:HIGH"),
        (("--for", "greedy", "--margin", "0"), "--margin is a number of nats above zero"),
        (("--for", "greedy", "--against", ","), "--against names nothing"),
        (("--for", "logprobs", "--gap", "0.1:0.2"), "--against and --gap are for --for greedy"),
        (("--for", "greedy", "--size", "100"), "--size 100 is too small: an envelope takes 173 prompts of a kind"),
        (("--for", "logprobs", "--margin", "inf"), "--margin is a number of nats above zero"),
        (("--for", "greedy", "--against", f"a={NOWHERE}"), "given twice"),
        (("--for", "greedy", "--budget", "1"), "--budget cannot be kept"),
        (("--for", "taste"), "'taste' is not one of"),
    ],
)
def test_mistakes_are_told_in_one_sentence(new, options, said):
    spoken = new(NOWHERE, NOWHERE, *options)
    assert spoken.code == 2
    assert said in spoken.err
    assert len(spoken.err.splitlines()) == 1


def test_one_honest_deployment_is_not_enough(qcheck, pool):
    arguments = ("--model", "lab-tiny", "--pool", pool, "--for", "greedy", "--from", f"a={NOWHERE}")
    spoken = qcheck("suite", "new", "mine", *arguments)
    assert spoken.code == 2
    assert "--from needs two or more honest deployments" in spoken.err
    assert qcheck("suite", "new", "Mine!", *arguments[:-1], f"a={NOWHERE},b={NOWHERE}").code == 2
