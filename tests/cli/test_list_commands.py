"""The commands that only tell: providers, suites, the lab."""


def test_providers_are_listed_with_those_of_the_lab(qcheck):
    spoken = qcheck("providers", "list")
    assert spoken.code == 0
    for name in ("moonshot", "openrouter/UPSTREAM", "lab/DEPLOYMENT"):
        assert f"\n{name} " in spoken.out


def test_a_provider_is_shown_without_its_key(qcheck, monkeypatch):
    assert "in MOONSHOT_API_KEY, which is not set" in qcheck("providers", "show", "moonshot").out
    monkeypatch.setenv("MOONSHOT_API_KEY", "sk-canary-0123456789")
    spoken = qcheck("providers", "show", "moonshot")
    assert "in MOONSHOT_API_KEY, which is set" in spoken.out
    assert "sk-canary" not in spoken.out
    assert ["kimi-k2.6", "kimi-k2.6", "0.95", "4"] in [line.split()[:4] for line in spoken.out.splitlines()]


def test_a_provider_of_the_lab_is_shown_with_its_deployments(qcheck):
    spoken = qcheck("providers", "show", "lab/q4_k_m?route=0.1")
    assert "deployment q4_k_m: quantised to Q4_K_M" in spoken.out


def test_what_the_lab_can_serve_is_listed(qcheck):
    shown = qcheck("lab", "list").out
    for name in ("lab-moe", "honest-torch-bf16", "sticky"):
        assert f"\n{name} " in shown
    assert "other-model" not in qcheck("lab", "list", "--model", "lab-moe").out


def test_the_shipped_suite_is_listed_and_shown(qcheck):
    assert "\nlogprobs " in qcheck("suite", "list").out
    shown = qcheck("suite", "show", "logprobs").out
    assert "hash: sha256:" in shown
    assert "calibration" in shown


def test_a_suite_is_validated(qcheck, tmp_path):
    from qcheck.suites import shipped_folder

    good = qcheck("suite", "validate", shipped_folder("probes") / "logprobs")
    assert good.out.startswith("valid: logprobs ")
    (tmp_path / "suite.json").write_text("{}")
    (tmp_path / "probes.jsonl").write_text("")
    bad = qcheck("suite", "validate", tmp_path)
    assert (bad.code, bad.out) == (2, "")


def test_options_for_everybody_may_stand_anywhere(qcheck):
    assert qcheck("--quiet", "baseline", "show", "nosuch").err == qcheck("baseline", "show", "nosuch", "--quiet").err
