import pytest

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.loader import get_model, load_models, load_providers, parse_models, parse_providers
from qcheck.registry.types import Price


def test_shipped_data_load_and_fit_together():
    providers, models = load_providers(), load_models()
    assert set(providers) == {"moonshot", "openrouter", "vllm", "sglang", "llamacpp", "ollama"}
    assert {name for name, p in providers.items() if p.aggregator} == {"openrouter"}
    for model in models.values():
        assert set(model.ids) <= set(providers)
        assert set(model.prices) | set(model.temperature) <= set(model.ids)


def test_only_local_providers_go_without_a_key():
    assert all((p.key_env is None) == p.local for p in load_providers().values())


def test_kimi_profile():
    model = get_model("kimi-k2.6")
    assert model.released_precision == "INT4"
    assert model.first_party == "moonshot"
    assert model.thinks
    assert model.ids == {"moonshot": "kimi-k2.6", "openrouter": "moonshotai/kimi-k2.6"}
    assert model.prices == {"moonshot": Price(0.95, 4.0)}
    assert model.temperature == {"moonshot": 0.6}


def test_lab_model_needs_no_ids():
    model = get_model("lab-tiny")
    assert (model.released_precision, model.ids, model.thinks) == ("F16", {}, False)


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown model 'kimi-k2\.7': did you mean kimi-k2"):
        get_model("kimi-k2.7")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[m]\n", r"models\.toml: 'm\.title': Field required"),
        ('[m]\ntitle = "M"\nthink = true\n', r"'m\.think': Extra inputs"),
        ('[m]\ntitle = "M"\nthinks = "yes"\n', r"'m\.thinks'"),
        ('[m]\ntitle = "M"\nfirst_party = "x"\n', r"first_party names a provider without a table"),
        ('[m]\ntitle = "M"\n[m.providers.x]\nid = "a b"\n', r"'m\.providers\.x\.id'"),
        ('[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nprice = { input = -1, output = 0 }\n', r"price\.input"),
        ('[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nprice = { input = nan, output = 0 }\n', r"price\.input"),
        ('["M\\u001b"]\ntitle = "M"\n', r"models\.toml"),
        ("[m\n", "not valid TOML"),
    ],
)
def test_mistakes_in_models_are_placed(text, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse_models(text.encode(), "models.toml")
    assert "\x1b" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused():
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        parse_models(b"\xff\xfe", "models.toml")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('base_url = "http://far.example/v1"', "p must use https"),
        ('base_url = "https://p.example/v1"\nkey_env = "sk-live-123"', r"'p\.key_env'"),
        ('base_url = "https://p.example/v1"\npin = "other"', r"'p\.pin'"),
        ('base_url = "https://p.example/v1"\ntop_logprobs_max = 2.5', r"'p\.top_logprobs_max'"),
    ],
)
def test_mistakes_in_providers_are_placed_and_keys_never_repeated(line, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        parse_providers(f'[p]\ntitle = "P"\n{line}\n'.encode(), "providers.toml")
    assert "sk-live" not in str(caught.value)


def test_dialect_fields_are_read():
    text = '[p]\ntitle = "P"\nbase_url = "https://p.example/v1/"\nlogprobs = "integer"\ntop_logprobs_max = 5\n'
    provider = parse_providers(text.encode(), "providers.toml")["p"]
    assert provider.base_url == "https://p.example/v1"
    assert (provider.dialect.logprobs, provider.dialect.top_logprobs_max) == ("integer", 5)
