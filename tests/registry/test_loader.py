from datetime import date
from pathlib import Path

import pytest

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.loader import (
    get_model,
    load_models,
    load_offers,
    load_providers,
    model_names,
    models_dev_names,
    parse_models,
    parse_offers,
    parse_providers,
)
from qcheck.registry.rows import PROVIDER_TRAITS
from qcheck.registry.types import Declared, Dialect, Price, Source

DAY = date(2026, 11, 29)
OFFERS = parse_offers(
    b"""source = "a list"
read = 2026-11-28
[offers.x]
m = { id = "org/m", price = { input = 1, output = 2 } }
[offers.y]
m = { id = "org/m-fp8", declared = "fp8" }
""",
    "offers.toml",
)

# At least one model of each open-weight family that people ask hosted providers for.
FAMILIES = {
    "kimi-k2.5", "kimi-k2.6", "kimi-k3", "glm-4.5", "glm-4.6", "glm-4.7", "glm-5", "glm-5.3", "minimax-m2",
    "minimax-m3", "mimo-v2.5", "deepseek-r1", "deepseek-v3.1", "deepseek-v3.2", "deepseek-v4-pro", "gpt-oss-20b",
    "gpt-oss-120b", "qwen3-32b", "qwen3-next-80b-a3b-instruct", "qwen3.5-397b-a17b", "qwen3.6-27b",
    "llama-3.1-8b-instruct", "llama-3.3-70b-instruct", "llama-4-maverick-17b-128e-instruct", "gemma-3-27b-it",
    "gemma-4-31b-it", "mistral-nemo-instruct-2407", "mistral-large-3-675b-instruct-2512",
}  # fmt: skip
# The providers that most people ask for open-weight models.
TEN_PROVIDERS = (
    "openrouter", "moonshot", "deepinfra", "deepseek", "together", "fireworks", "cerebras", "groq", "novita", "zai",
)  # fmt: skip
WHERE_THEY_HOLD = {"aggregator", "pin", "plan", "plain_samples"}  # traits that are stated of nobody else
DOCS = Path(__file__).parents[2] / "docs" / "registry.md"


def models(text):
    return parse_models(text.encode(), "models.toml", OFFERS)


def test_shipped_data_load_and_fit_together():
    providers, known = load_providers(), load_models()
    assert {name for name, p in providers.items() if p.dialect.pin} == {"openrouter", "huggingface", "vercel"}
    assert {"openrouter", "zenmux", "kilo"} <= {name for name, p in providers.items() if p.aggregator}
    free = {p for m in known.values() for p, price in m.prices.items() if price == Price(0.0, 0.0)}
    assert free <= {name for name, p in providers.items() if p.plan}
    assert set(load_offers().by_provider) <= set(providers)
    for served in load_offers().by_provider.values():
        assert set(served) <= set(known)
    for model in known.values():
        assert set(model.ids) <= set(providers)
        assert model.first_party is None or model.first_party in model.ids
        assert not set(model.prices) & {name for name, p in providers.items() if p.aggregator}


def test_only_local_providers_go_without_a_key():
    assert all((p.key_env is None) == p.local for p in load_providers().values())


def test_no_two_providers_share_an_address():
    urls = [p.base_url for p in load_providers().values()]
    assert len(set(urls)) == len(urls)


def test_no_name_means_two_models():
    assert len(model_names()) == len(load_models()) + sum(name != own for name, own in model_names().items())
    assert set(model_names().values()) == set(load_models())


def test_models_dev_knows_our_providers_under_one_name_each():
    assert len(models_dev_names()) == sum(not p.local for p in load_providers().values())
    assert models_dev_names()["moonshotai"] == "moonshot"


def test_the_families_people_use_are_there_and_several_providers_serve_them():
    assert set(load_models()) >= FAMILIES
    alone = {name for name in FAMILIES if len(get_model(name).ids) < 2}
    assert alone == {"kimi-k3", "glm-5.3"}  # newer than what models.dev knew on the day of `load_offers().read`


def test_of_the_ten_providers_every_trait_has_a_dated_source_or_was_looked_for():
    for provider in map(load_providers().__getitem__, TEN_PROVIDERS):
        read = provider.sources.keys() | provider.undocumented.keys()
        assert set(PROVIDER_TRAITS) - WHERE_THEY_HOLD <= read, provider.name
        assert provider.unverified == (), provider.name
    assert "pin" in load_providers()["openrouter"].sources


def test_the_docs_list_what_the_ten_do_not_document():
    silent = {name: load_providers()[name].undocumented for name in TEN_PROVIDERS}
    rows = [
        f"| `{name}` | `{trait}` | {source.at} | {source.read} |\n"
        for name, undocumented in silent.items()
        for trait, source in undocumented.items()
    ]
    _, _, after = DOCS.read_text().partition("| Provider | Trait | Looked for in | On |\n|---|---|---|---|\n")
    assert after.partition("\n\n")[0] + "\n" == "".join(rows)


def test_of_the_ten_models_that_most_providers_serve_every_trait_has_a_dated_source():
    ten = sorted(load_models().values(), key=lambda model: (-len(model.ids), model.name))[:10]
    assert {model.name: model.unverified for model in ten if model.unverified} == {}


def test_sources_are_dated_in_the_past_of_the_release():
    for described in (*load_providers().values(), *load_models().values()):
        for source in (*described.sources.values(), *getattr(described, "undocumented", {}).values()):
            assert "2026-01-01" <= source.read <= DAY.isoformat()


def test_kimi_profile():
    model = get_model("kimi-k2.6")
    assert model.released_precision == "INT4"
    assert model.first_party == "moonshot"
    assert (model.thinks, model.thinks_always, model.dated_template) == (True, False, False)
    assert model.ids["openrouter"] == "moonshotai/kimi-k2.6"
    assert model.prices["moonshot"] == Price(0.95, 4.0)
    assert model.temperature == {"moonshot": 0.6}
    assert model.retires == {
        "together": date(2026, 8, 19),
        "fireworks": date(2026, 9, 25),
        "baseten": date(2026, 10, 16),
    }


def test_a_model_is_retired_from_the_day_on():
    model = get_model("kimi-k2.6")
    assert not model.retired("together", date(2026, 8, 18))
    assert model.retired("together", date(2026, 8, 19))
    assert not model.retired("moonshot", date.max)


def test_the_chat_template_of_the_lab_model_that_thinks():
    template = get_model("lab-thinking").prompt_format
    assert template is not None
    assert template.turn("user") == "<|user|>{content}<|end|>"
    assert template.no_thought == "<think>\n\n</think>\n\n"


def test_lab_model_needs_no_ids():
    model = get_model("lab-tiny")
    assert (model.released_precision, model.ids, model.thinks) == ("F16", {}, False)


def test_unknown_model_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown model 'kimi-k26': did you mean kimi-k2\.6"):
        get_model("kimi-k26")


def test_what_is_known_goes_over_what_is_offered():
    text = """
[m]
title = "M"
aka = ["m-instruct"]
thinks = "always"
released_precision = "BF16"
sources = [{ traits = ["thinks"], at = "https://m.example", read = 2026-11-28 }]
providers.y = { id = "org/m-fp8", temperature = 0.6, source = { at = "https://y.example", read = 2026-11-27 } }
providers.z = { id = "m", price = { input = 3, output = 4 } }
"""
    model = models(text)["m"]
    assert model.ids == {"x": "org/m", "y": "org/m-fp8", "z": "m"}
    assert model.prices == {"x": Price(1, 2), "z": Price(3, 4)}
    assert model.temperature == {"y": 0.6}
    assert model.declared == {"y": Declared("fp8", "https://y.example", "2026-11-27")}
    assert (model.thinks, model.thinks_always) == (True, True)
    assert model.sources == {"thinks": Source("https://m.example", "2026-11-28")}
    assert model.unverified == ("released_precision", "dated_template")


def test_a_price_is_not_carried_over_to_another_id():
    assert models('[m]\ntitle = "M"\nproviders.x = { id = "org/m-turbo" }\n')["m"].prices == {}


def test_what_an_id_declares_is_said_to_be_from_the_id():
    assert models('[m]\ntitle = "M"\n')["m"].declared == {"y": Declared("fp8", "the id org/m-fp8", "2026-11-28")}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[m]\n", "models.toml: 'm.title' is missing."),
        (
            '[m]\ntitle = "M"\nthink = true\n',
            "models.toml: 'm' has an unknown field 'think': did you mean thinks?",
        ),
        ('[m]\ntitle = "M"\nthinks = "yes"\n', "'m.thinks' must be 'never', 'switchable' or 'always'."),
        ('[m]\ntitle = "M"\nfirst_party = "X"\n', "'m.first_party' must be a name of at most 64 lower-case letters"),
        ('[m]\ntitle = "M"\n[m.providers.x]\nid = "a b"\n', "'m.providers.x.id' must be an id of at most 200"),
        ('[m]\ntitle = "M"\n[m.providers.x]\nprice = { input = 1, output = 0 }\n', "'m.providers.x.id' is missing."),
        (
            '[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nprice = { input = -1, output = 0 }\n',
            "'m.providers.x.price.input' must be greater than or equal to 0.",
        ),
        (
            '[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nprice = { input = nan, output = 0 }\n',
            "'m.providers.x.price.input' must be a finite number.",
        ),
        (
            '[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nretires = "soon"\n',
            "'m.providers.x.retires' must be a valid date.",
        ),
        (
            '[m]\ntitle = "M"\n[m.providers.x]\nid = "a"\nretires = 2026-01-01\n',
            "'m.providers.x' states what needs a source",
        ),
        (
            '[m]\ntitle = "M"\nsources = [{ traits = ["thinks"], at = "x", read = 2026-01-01 }]\n',
            "'m' gives a source for 'thinks', which it does not state.",
        ),
        (
            '[m]\ntitle = "M"\n[m.prompt_format]\nuser = "<|user|>"\n',
            "'m.prompt_format.user' must be a text with {content} where the turn's words stand.",
        ),
        ('["M\\u001b"]\ntitle = "M"\n', "models.toml: "),
        ("[m\n", "models.toml is not valid TOML"),
    ],
)
def test_mistakes_in_models_are_placed_and_explained(text, complaint):
    with pytest.raises(ConfigurationError) as caught:
        models(text)
    assert complaint in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused():
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        parse_models(b"\xff\xfe", "models.toml", OFFERS)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('base_url = "http://far.example/v1"', "p must use https"),
        (
            'base_url = "https://p.example/v1"\nkey_env = "sk-live-123"',
            "'p.key_env' must be the name of an environment",
        ),
        ('base_url = "https://p.example/v1"\npin = "other"', "'p.pin' must be 'openrouter', 'suffix' or 'vercel'."),
        ('base_url = "https://p.example/v1"\ntop_logprobs_max = 2.5', "'p.top_logprobs_max' must be a valid integer"),
        (
            'base_url = "https://p.example/v1"\nstream = true\n'
            'undocumented = [{ traits = ["stream"], at = "x", read = 2026-01-01 }]',
            "'p' calls 'stream' undocumented, which it states or which is no trait.",
        ),
        (
            'base_url = "https://p.example/v1"\nundocumented = [{ traits = ["title"], at = "x", read = 2026-01-01 }]',
            "'p' calls 'title' undocumented",
        ),
        ('base_url = "https://p.example/v1"\nbase = 1', "'p' has an unknown field 'base': did you mean base_url"),
        ('title = "Q"', "providers.toml is not valid TOML"),
    ],
)
def test_mistakes_in_providers_are_placed_and_keys_never_repeated(line, complaint):
    with pytest.raises(ConfigurationError) as caught:
        parse_providers(f'[p]\ntitle = "P"\n{line}\n'.encode(), "providers.toml")
    assert complaint in str(caught.value)
    assert "sk-live" not in str(caught.value)


def test_dialect_fields_are_read():
    text = """
[p]
title = "P"
base_url = "https://p.example/v1/"
logprobs = "integer"
top_logprobs_max = 5
after_temperature = true
min_tokens = 16
stream = true
"""
    provider = parse_providers(text.encode(), "providers.toml")["p"]
    assert provider.base_url == "https://p.example/v1"
    assert provider.dialect == Dialect("integer", 5, after_temperature=True, min_tokens=16, stream=True)
    stated = ("base_url", "logprobs", "top_logprobs_max", "after_temperature", "min_tokens", "stream")
    assert provider.unverified == stated


def test_what_a_provider_was_seen_not_to_document_is_read():
    text = """
[p]
title = "P"
base_url = "https://p.example/v1"
undocumented = [{ traits = ["min_tokens", "stream"], at = "its reference", read = 2026-11-29 }]
"""
    provider = parse_providers(text.encode(), "providers.toml")["p"]
    assert provider.undocumented == dict.fromkeys(("min_tokens", "stream"), Source("its reference", "2026-11-29"))
    assert provider.dialect == Dialect()


def test_sglang_gives_log_probabilities_of_what_is_sampled_from():
    assert {name for name, p in load_providers().items() if p.dialect.after_temperature} == {"sglang"}


ONE_OFFER = 'source = "a list"\nread = {}\n[offers.moonshot]\n"glm-5.1" = {{ id = "glm-5.1-new" }}\n'


def test_newer_offers_of_the_user_are_in_force(keep):
    keep(ONE_OFFER.format("2026-11-28"))
    assert get_model("glm-5.1").ids == {"moonshot": "glm-5.1-new"}


def test_offers_of_the_user_that_a_later_release_overtook_are_not(keep):
    shipped = load_offers()
    keep(ONE_OFFER.format("2026-01-01"))
    assert load_offers() == shipped


def test_damaged_offers_of_the_user_are_named_with_what_to_do(keep):
    keep("read = [")
    with pytest.raises(ConfigurationError, match=r"offers\.toml is not valid TOML.*Delete that file"):
        load_models()
