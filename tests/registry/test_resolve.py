import re
from dataclasses import dataclass, replace
from datetime import date
from typing import get_args

import pytest

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.config import UserConfig
from qcheck.registry.loader import get_model, load_models, load_providers
from qcheck.registry.openrouter import Listing, Upstream
from qcheck.registry.resolve import RegistryResolver, check_told, resolve_all
from qcheck.registry.rows import PriceRow
from qcheck.registry.types import Declared, Endpoint, ModelProfile, Price, ThinkingSwitch

KIMI = get_model("kimi-k2.6")
TINY = get_model("lab-tiny")
FP8 = Declared("fp8", "the id m-fp8", "2026-11-28")


def resolver(today=date(2026, 11, 28), listing=lambda _: None, **providers):
    return RegistryResolver(UserConfig.model_validate({"providers": providers}), today, listing=listing)


def of_kimi(**settings):
    """The table of qcheck.toml that says this of Kimi K2.6."""
    return {"models": {"kimi-k2.6": settings}}


def resolve(spec, model=KIMI, **settings):
    found = resolver(**settings).resolve(spec, model)
    assert found is not None
    return found


def test_registry_name():
    endpoint = resolve("moonshot")
    assert endpoint.model_id == "kimi-k2.6"
    assert endpoint.key_env == "MOONSHOT_API_KEY"
    assert endpoint.price == Price(0.95, 4.0)
    assert endpoint.temperature == 0.6
    assert endpoint.dialect.thinking_off == "thinking.type"
    assert endpoint.declared is None


def test_pinned_upstream():
    endpoint = resolve("openrouter/novita")
    assert endpoint.name == "openrouter/novita"
    assert endpoint.display == "https://openrouter.ai/api/v1 (novita)"
    assert endpoint.model_id == "moonshotai/kimi-k2.6"
    assert endpoint.extra_body == {"provider": {"only": ["novita"], "allow_fallbacks": False}}
    assert endpoint.price is None
    assert endpoint.declared is None
    assert endpoint.temperature == 0.0


def test_pinned_upstream_and_precision_which_it_thereby_declares():
    endpoint = resolve("openrouter/novita/fp8")
    assert endpoint.extra_body == {
        "provider": {"only": ["novita"], "allow_fallbacks": False, "quantizations": ["fp8"]},
    }
    assert endpoint.declared is not None
    assert endpoint.declared.precision == "fp8"
    assert resolve("openrouter/novita/unknown").declared is None


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("openrouter", r"pin one upstream, as in openrouter/novita"),
        ("openrouter/", "not an upstream"),
        ("openrouter/Novita", "not an upstream"),
        ("openrouter/novita\x1b[2J", "not an upstream"),
        ("openrouter/novita/fp8/x", "not an upstream"),
        ("openrouter/novita/fp9", r"'fp9' is no precision of openrouter: int4,"),
        ("moonshot/novita", "moonshot is no aggregator"),
        ("moonshot=https://host.example/v1", "give the URL another name"),
        ("Mine=https://host.example/v1", "lower-case"),
        ("=https://host.example/v1", "lower-case"),
        ("https://user:canary@host.example/v1", "name=https://host/v1"),
        ("https://host.example/v1?key=canary", "name=https://host/v1"),
        ("mine=https://host.example/v1?key=canary", "mine must have no user"),
        ("mine=http://host.example/v1", "https"),
    ],
)
def test_wrongly_put(spec, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        resolve(spec, mine={"thinking_off": "none"})
    assert "canary" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_an_answer_is_begun_only_where_the_template_is_known():
    known = get_model("lab-thinking")
    for switch in ("completions", "partial"):
        endpoint = resolve("mine=http://127.0.0.1:9/v1", known, mine={"thinking_off": switch})
        assert endpoint.prompt_format == known.prompt_format
        with pytest.raises(ConfigurationError, match=rf"nobody knows the chat template of kimi-k2.6, .*'{switch}'"):
            resolve("mine=http://127.0.0.1:9/v1", KIMI, mine={"thinking_off": switch})


def test_a_provider_without_the_model_says_who_has_it():
    model = ModelProfile("m", "M", None, None, ids={"openrouter": "x/m"})
    with pytest.raises(ConfigurationError, match=r"no id of m at moonshot is known; it is served by openrouter\. Give"):
        resolve("moonshot", model)
    with pytest.raises(ConfigurationError, match="no other provider of it is known"):
        resolve("moonshot", TINY)


def test_a_model_is_refused_from_the_day_on_which_it_is_retired():
    assert resolve("together", today=date(2026, 8, 18)).model_id == "moonshotai/Kimi-K2.6"
    with pytest.raises(ConfigurationError, match=r"together retired kimi-k2\.6 on 2026-08-19; .* by moonshot, openr"):
        resolve("together", today=date(2026, 8, 19))


def test_who_serves_it_instead_is_said_without_who_retired_it_too():
    with pytest.raises(ConfigurationError) as caught:
        resolve("together", today=date(2026, 8, 19))
    assert "fireworks" in str(caught.value)
    with pytest.raises(ConfigurationError) as caught:
        resolve("together", today=date(2026, 9, 25))
    assert "fireworks" not in str(caught.value)
    assert re.search(r" and \d+ more \(`qcheck providers list --model kimi-k2\.6`\)\.$", str(caught.value))


def test_an_id_of_the_users_own_is_not_retired():
    assert resolve("together", together=of_kimi(model_id="me/Kimi")).model_id == "me/Kimi"


def test_an_upstream_pinned_behind_the_id():
    endpoint = resolve("huggingface/novita", get_model("kimi-k2-thinking"))
    assert endpoint.name == "huggingface/novita"
    assert endpoint.display == "https://router.huggingface.co/v1 (novita)"
    assert endpoint.model_id == "moonshotai/Kimi-K2-Thinking:novita"
    assert endpoint.extra_body == {}
    assert endpoint.price is None
    with pytest.raises(ConfigurationError, match="does not route by precision: write huggingface/novita"):
        resolve("huggingface/novita/fp8", get_model("kimi-k2-thinking"))


def test_an_upstream_of_vercels_gateway():
    endpoint = resolve("vercel/novita")
    assert endpoint.extra_body == {"providerOptions": {"gateway": {"only": ["novita"]}}}
    assert (endpoint.model_id, endpoint.price, endpoint.unpinned) == ("moonshotai/kimi-k2.6", None, False)
    with pytest.raises(ConfigurationError, match="does not route by precision: write vercel/novita"):
        resolve("vercel/novita/fp8")


def test_a_precision_that_the_id_names_is_declared():
    price = {"novita": Price(1.0, 2.0)}
    model = replace(KIMI, ids={"novita": "m-fp8"}, declared={"novita": FP8}, prices=price)
    endpoint = resolve("novita", model)
    assert (endpoint.declared, endpoint.price) == (FP8, Price(1.0, 2.0))
    another = resolve("novita", model, novita=of_kimi(model_id="m"))
    assert (another.declared, another.price) == (None, None)
    assert resolve("novita", model, novita=of_kimi(declared="fp4")).declared == Declared(
        "fp4", "qcheck.toml", "2026-11-28"
    )


def test_what_is_said_of_one_model_is_not_said_of_another():
    settings = of_kimi(model_id="me/Kimi", price={"input": 1.0, "output": 2.0}, thinking_off="none")
    for spec in ("moonshot", "mine=https://host.example/v1"):
        kimi = resolve(spec, KIMI, moonshot=settings, mine=settings)
        assert (kimi.model_id, kimi.price, kimi.dialect.thinking_off) == ("me/Kimi", Price(1.0, 2.0), "none")
    other = resolve("moonshot", get_model("kimi-k2.5"), moonshot=settings)
    assert (other.model_id, other.dialect.thinking_off) == ("kimi-k2.5", "thinking.type")
    assert resolve("mine=https://host.example/v1", TINY, mine=settings).model_id is None


def upstream(tag, price=(1.0, 2.0), precision="fp8", parameters=("logprobs", "top_logprobs")):
    return Upstream(
        tag=tag,
        precision=precision,
        price=price and PriceRow(input=price[0], output=price[1]),
        parameters=parameters,
    )


def listed(spec, *upstreams, **settings):
    """The endpoint for a word, where OpenRouter lists these upstreams of Kimi K2.6."""
    listing = Listing(model_id="moonshotai/kimi-k2.6", read=date(2026, 11, 27), upstreams=upstreams)
    found = resolver(listing={listing.model_id: listing}.get, **settings).resolve(spec, KIMI)
    assert found is not None
    return found


def test_price_and_precision_of_an_upstream_are_those_that_openrouter_lists_for_it():
    endpoint = listed("openrouter/novita", upstream("parasail", (9.0, 9.0)), upstream("novita"), upstream("novitas"))
    assert endpoint.price == Price(1.0, 2.0)
    source = "https://openrouter.ai/api/v1/models/moonshotai/kimi-k2.6/endpoints"
    assert endpoint.declared == Declared("fp8", source, "2026-11-27")
    assert endpoint.dialect.top_logprobs_max == 20


def test_of_several_upstreams_of_one_name_what_holds_for_each_is_taken():
    two = upstream("novita/fp8"), upstream("novita/int4", (3.0, 1.0), "int4", ("temperature",))
    endpoint = listed("openrouter/novita", *two)
    assert (endpoint.price, endpoint.declared, endpoint.dialect.top_logprobs_max) == (Price(3.0, 2.0), None, 0)
    pinned = listed("openrouter/novita/fp8", *two)
    assert (pinned.price, pinned.dialect.top_logprobs_max) == (Price(1.0, 2.0), 20)


@pytest.mark.parametrize("upstreams", [(), (upstream("parasail"),), (upstream("novita", None, None, None),)])
def test_what_openrouter_does_not_list_is_unknown(upstreams):
    endpoint = listed("openrouter/novita", *upstreams)
    assert (endpoint.price, endpoint.declared, endpoint.dialect.top_logprobs_max) == (None, None, 20)


def test_what_the_user_says_goes_over_what_openrouter_lists():
    said = {"top_logprobs_max": 5} | of_kimi(price={"input": 7.0, "output": 8.0}, declared="bf16")
    endpoint = listed("openrouter/novita", upstream("novita", parameters=()), **{"openrouter/novita": said})
    assert (endpoint.price, endpoint.dialect.top_logprobs_max) == (Price(7.0, 8.0), 5)
    assert endpoint.declared is not None
    assert endpoint.declared.precision == "bf16"


def test_a_gateway_without_a_pin_is_one_whose_upstreams_vary():
    model = replace(KIMI, ids={"zenmux": "moonshotai/kimi-k2.6", "novita": "m"}, thinking_off={"zenmux": "none"})
    assert resolve("zenmux", model).unpinned
    assert not resolve("openrouter/novita").unpinned
    assert not resolve("moonshot").unpinned
    with pytest.raises(ConfigurationError, match="zenmux lets no upstream be pinned: name it without 'novita'"):
        resolve("zenmux/novita", model)


def test_a_model_that_always_thinks_is_not_told_not_to():
    for spec in ("moonshot", "openrouter/novita", "mine=https://host.example/v1"):
        endpoint = resolve(spec, get_model("kimi-k2-thinking"))
        assert (endpoint.dialect.thinking_off, endpoint.thinks_always) == (None, True)


def test_what_a_model_wants_said_at_a_provider_goes_over_what_the_provider_wants():
    model = ModelProfile(
        "m", "M", None, None, ids={"moonshot": "m"}, thinks=True, thinking_off={"moonshot": "enable_thinking"}
    )
    assert resolve("moonshot", model).dialect.thinking_off == "enable_thinking"
    assert resolve("moonshot", model, moonshot={"thinking_off": "none"}).dialect.thinking_off == "none"


def test_local_engines_need_no_id():
    assert resolve("llamacpp", TINY).model_id is None
    assert resolve("vllm", TINY).dialect.thinking_off is None


def test_by_url():
    endpoint = resolve("mine=http://127.0.0.1:9000/v1/", TINY)
    assert endpoint == Endpoint("mine", "http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1", None, None)


def test_by_url_with_an_id_from_the_profile():
    model = ModelProfile("m", "M", None, None, ids={"mine": "org/M"})
    assert resolve("mine=https://host.example/v1", model).model_id == "org/M"


def test_settings_go_over_everything():
    settings = {
        "key_env": "MINE_KEY",
        "logprobs": "integer",
        "top_logprobs_max": 5,
        "max_tokens": "max_completion_tokens",
        "thinking_off": "enable_thinking",
    } | of_kimi(model_id="org/Model", price={"input": 1.0, "output": 2.0})
    for spec in ("mine=https://host.example/v1", "moonshot", "openrouter/novita"):
        endpoint = resolve(spec, **dict.fromkeys(["mine", "moonshot", "openrouter/novita"], settings))
        assert (endpoint.key_env, endpoint.model_id, endpoint.price) == ("MINE_KEY", "org/Model", Price(1.0, 2.0))
        dialect = endpoint.dialect
        assert (dialect.logprobs, dialect.top_logprobs_max) == ("integer", 5)
        assert (dialect.max_tokens, dialect.thinking_off) == ("max_completion_tokens", "enable_thinking")


def test_a_date_is_given_to_models_whose_template_renders_one():
    for dated, given in ((True, "26 Jul 2024"), (False, None)):
        model = ModelProfile("m", "M", None, None, ids={"moonshot": "org/M"}, dated_template=dated)
        for spec in ("mine=https://host.example/v1", "moonshot"):
            pinned = {"date_string": "26 Jul 2024"}
            assert resolve(spec, model, mine=pinned, moonshot=pinned).date_string == given


def test_how_a_thinking_model_is_told_may_be_unknown():
    told, untold = (resolve("mine=https://host.example/v1", mine=m) for m in ({"thinking_off": "none"}, {}))
    assert (told.dialect.thinking_off, untold.dialect.thinking_off) == ("none", "unknown")
    check_told([told], KIMI)
    with pytest.raises(ConfigurationError, match=r"thinking_off under \[providers\.mine\.models"):
        check_told([told, untold], KIMI)


@pytest.mark.parametrize("name", [m.name for m in load_models().values() if m.thinks and m.ids])
def test_a_thinking_model_resolves_wherever_it_is_served(name):
    """Nobody needs to configure anything: what the registry does not know is found out at the endpoint."""
    model, providers = get_model(name), load_providers()
    specs = [
        f"{p}/novita" if p in providers and providers[p].dialect.pin else p if p in providers else f"{p}=https://h/v1"
        for p in model.ids
        if not model.retired(p, date(2026, 11, 28))
    ]
    endpoints = resolve_all(specs, model, [resolver()])
    assert len(endpoints) == len(specs) > 0
    ways = {e.dialect.thinking_off for e in endpoints}
    assert ways <= ({None} if model.thinks_always else {"unknown", *get_args(ThinkingSwitch)})


@dataclass(frozen=True, slots=True)
class LabResolver:
    def resolve(self, spec, model):
        return Endpoint(spec, spec, "http://127.0.0.1:1", None, None) if spec == "lab/q4_k_m" else None

    def names(self):
        return ("lab/q4_k_m",)


def test_resolve_all_asks_every_resolver_and_keeps_the_order():
    found = resolve_all(["openrouter/novita", "lab/q4_k_m", "moonshot"], KIMI, [resolver(), LabResolver()])
    assert [e.name for e in found] == ["openrouter/novita", "lab/q4_k_m", "moonshot"]


def test_resolve_all_suggests_over_all_resolvers():
    with pytest.raises(UnknownNameError, match=r"'lab/q4_k_n': did you mean lab/q4_k_m"):
        resolve_all(["lab/q4_k_n"], KIMI, [resolver(), LabResolver()])
    with pytest.raises(UnknownNameError, match="did you mean moonshot"):
        resolve_all(["moonshoot"], KIMI, [resolver(), LabResolver()])


def test_resolve_all_refuses_a_name_twice():
    with pytest.raises(ConfigurationError, match="moonshot is given twice"):
        resolve_all(["moonshot", "moonshot"], KIMI, [resolver()])
