"""Mistakes of the user: one sentence on standard error, exit code 2, and nothing sent."""

import pytest

URL = "a=http://127.0.0.1:9/v1,b=http://127.0.0.1:9/v1"
CANARY = "sk-canary-0123456789"


@pytest.fixture
def no_lab(monkeypatch):
    """Engines start for no mistake."""
    monkeypatch.setattr("qcheck.lab.supervisor.Lab._start", lambda *_: pytest.fail("an engine was started"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["compare"], "Missing argument 'MODEL'"),
        (["compare", "lab-tiny"], "Missing option '--providers'"),
        (["compare", "lab-tiny", "--providers", ","], "--providers names nothing"),
        (["compare", "kimi-k2.7", "--providers", URL], "did you mean kimi-k2.6"),
        (["compare", "kimi-k2.6", "--providers", "moonshto"], "did you mean moonshot"),
        (["compare", "lab-tiny", "--providers", "lab/honst"], "did you mean lab/honest"),
        (["compare", "lab-tiny", "--providers", URL, "--suite", "logprob"], "did you mean logprobs"),
        (["compare", "lab-tiny", "--providers", URL, "--reference", "nosuch"], "unknown baseline 'nosuch'"),
        (["compare", "lab-tiny", "--providers", URL, "--reference", "live:nosuch"], "unknown provider 'nosuch'"),
        (["compare", "kimi-k2.6", "--providers", "moonshot"], "a single provider can then be compared with nothing"),
        (["compare", "lab-tiny", "--providers", URL, "--deadline", "10"], "write it as 90s, 10m or 2h"),
        (["compare", "lab-tiny", "--providers", URL, "--deadline", "0m"], "write it as 90s, 10m or 2h"),
        (["compare", "lab-tiny", "--providers", URL, "--alpha", "1.5"], "--alpha must lie between 0 and 1"),
        (["compare", "lab-tiny", "--providers", URL, "--alpha", "nan"], "--alpha must lie between 0 and 1"),
        (["compare", "lab-tiny", "--providers", URL, "--alpha", "1e-300"], "--alpha must be at least 1e-12"),
        (["compare", "lab-tiny", "--providers", URL, "--concurrency", "1001"], "less than or equal to 1000"),
        (["compare", "lab-tiny", "--providers", URL, "--dry-run", "--json", "-"], "no result for --json"),
        (["compare", "lab-tiny", "--providers", URL, "--json", ""], "is empty: leave it out"),
        (["compare", "lab-tiny", "--providers", "lab/honest", "--run-dir", __file__], "test_usage.py is no folder"),
        (
            ["compare", "lab-tiny", "--providers", "lab/honest", "--run-dir", "/proc/no"],
            "choose another place (--run-dir",
        ),
        (["compare", "lab-tiny", "--providers", URL, "--reference", __file__], "holds no manifest.json"),
        (["compare", "lab-tiny", "--providers", URL, "--seed", "1.5"], "it must be a valid integer; see"),
        (["compare", "lab-tiny", "--providers", URL, "--tolerance", "0"], "--tolerance must lie between 0 and 1"),
        (["compare", "lab-tiny", "--providers", URL, "--budget", "nan"], "--budget must be an amount"),
        (["compare", "lab-tiny", "--providers", URL, "--budget", "1"], "--budget cannot be kept for a, b"),
        (["baseline", "record", "lab-tiny", "--provider", "a=http://127.0.0.1:9/v1", "--budget", "1"], "kept for a: "),
        (["compare", "lab-tiny", "--providers", "lab/honest,moonshto"], "did you mean moonshot"),
        (["compare", "lab-tiny", "--providers", "lab/honest,openrouter/novita"], "no id of lab-tiny"),
        (["compare", "lab-tiny", "--providers", URL, "--max-requests", "0"], "--max-requests"),
        (["compare", "lab-tiny", "--providers", URL, "--until", "never"], "--until"),
        (["compare", "lab-tiny", "--providers", URL, "--json", "no/such/folder.json"], "there is no folder no/such"),
        (["compare", "lab-tiny", "--providers", URL, "--env-file", "nosuch"], "cannot read nosuch"),
        (["compare", "lab-tiny", "--providers", URL, "--concurency", "3"], "No such option"),
        (["compare", "lab-tiny", "--providers", "a=http://127.0.0.1:9/v1", "--reference", "none"], "second provider"),
        (["resume", "nosuch"], "unknown run 'nosuch'"),
        (["resume", ""], "is empty: leave it out"),
        (["compare", "lab-tiny", "--providers", URL, "--run-dir="], "is empty: leave it out"),
        (["resume", "x" * 300], "cannot read"),
        (
            ["providers", "check", "a=http://127.0.0.1:9/v1", "--model", "lab-tiny", "--dry-run", "--json", "-"],
            "no result",
        ),
        (["providers", "show", "Moonshot"], "did you mean moonshot"),
        (["providers", "show", "openrouter/"], "did you mean openrouter"),
        (["verify", __file__], "is no run folder"),
        (["verify", "nosuch"], "unknown run 'nosuch'"),
        (["baseline", "record", "lab-tiny", "--provider", "a=http://127.0.0.1:9/v1", "--name", "A b"], "--name is of"),
        (["baseline", "show", "nosuch"], "unknown baseline 'nosuch'"),
        (["baseline", "verify", "nosuch"], "unknown baseline 'nosuch'"),
        (["suite", "show", "logprob"], "did you mean logprobs"),
        (["suite", "validate", "nosuch"], "nosuch is no folder"),
        (["providers", "show", "moonshto"], "did you mean moonshot"),
        (["providers", "check", "moonshto", "--model", "kimi-k2.6"], "did you mean moonshot"),
        (["providers", "check", "moonshot"], "Missing option '--model'"),
        (["providers", "check", "moonshot", "--model", "kimi-k2.6"], "MOONSHOT_API_KEY"),
        (["providers", "check", "a=http://127.0.0.1:9/v1", "--model", "lab-tiny", "--budget", "1"], "kept for a: "),
        (["lab", "up", "honst"], "did you mean honest"),
        (["--quiet", "--verbose", "suite", "list"], "exclude each other"),
        (["comparee"], "Did you mean 'compare'? See `qcheck --help`."),
    ],
)
def test_a_mistake_is_explained_in_one_sentence(qcheck, own_folders, no_lab, arguments, expected):
    spoken = qcheck(*arguments)
    assert spoken.code == 2
    assert expected in spoken.err
    assert spoken.err.startswith("qcheck: ")
    assert spoken.err.count("\n") == 1
    assert "Traceback" not in spoken.err
    assert spoken.out == ""
    assert not (own_folders / "data").exists()


def test_all_missing_keys_are_named_at_once(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "moonshot,openrouter/novita")
    assert spoken.code == 2
    assert "MOONSHOT_API_KEY" in spoken.err
    assert "OPENROUTER_API_KEY" in spoken.err


def test_a_dry_run_needs_no_key(qcheck, own_folders):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "moonshot,openrouter/novita", "--dry-run")
    assert spoken.code == 0
    assert "detectability unknown: no baseline" in spoken.out


@pytest.mark.parametrize("line", [f"KEY {CANARY}", f"MOONSHOT_API_KEY='{CANARY}", f"A={CANARY}\nA={CANARY}"])
def test_an_unreadable_env_file_is_never_quoted(qcheck, tmp_path, line):
    (tmp_path / "keys.env").write_text(line)
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "moonshot", "--env-file", "keys.env")
    assert spoken.code == 2
    assert "keys.env line" in spoken.err
    assert CANARY not in spoken.err + spoken.out


def test_a_key_of_the_env_file_is_used_and_not_shown(qcheck, tmp_path):
    (tmp_path / "keys.env").write_text(f"MOONSHOT_API_KEY={CANARY}\n")
    arguments = ("compare", "kimi-k2.6", "--providers", "moonshot", "--reference", "none", "--env-file", "keys.env")
    spoken = qcheck(*arguments, "--verbose")
    assert "second provider" in spoken.err
    assert CANARY not in spoken.err + spoken.out


def test_an_unforeseen_error_ends_in_exit_code_4_without_its_text(qcheck, monkeypatch, tmp_path):
    def broken(_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr("qcheck.suites.load_suite", broken)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    short = qcheck("suite", "show", "logprobs")
    assert (short.code, short.err.count("\n")) == (4, 1)
    assert "RuntimeError" in short.err
    assert not list(tmp_path.glob("qcheck-traceback-*"))
    kept = qcheck("suite", "show", "logprobs", "--verbose")
    (file,) = tmp_path.glob("qcheck-traceback-*")
    assert str(file) in kept.err
    assert "in broken" in file.read_text()
    assert CANARY not in short.err + kept.err + file.read_text()


def test_a_dry_run_starts_no_engine(qcheck, no_lab):
    spoken = qcheck("compare", "lab-tiny", "--providers", "lab/honest", "--reference", "live:lab/q2_k", "--dry-run")
    assert (spoken.code, spoken.err) == (0, "")
    assert "requests to 2 endpoints" in spoken.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "lab-tiny", "--providers", "lab/honest", "--providers=lab/q4_k_m", "--dry-run"),
        ("baseline", "record", "lab-tiny", "--provider", "lab/honest", "--provider", "lab/q4_k_m", "--dry-run"),
    ],
)
def test_an_option_that_is_given_twice_is_refused(qcheck, arguments):
    spoken = qcheck(*arguments)
    assert (spoken.code, spoken.out) == (2, "")
    assert "is given twice: give it once, with commas where it takes several" in spoken.err
