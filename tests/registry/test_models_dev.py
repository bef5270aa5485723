import json
from datetime import date

import pytest

from qcheck.errors import DownloadError
from qcheck.registry.loader import Offers, load_models, load_offers, load_providers, parse_offers
from qcheck.registry.models_dev import Changes, changes, read_offers, to_toml
from qcheck.registry.rows import OfferRow, PriceRow

DAY = date(2026, 11, 28)
NONE_BEFORE = Offers("nowhere", DAY, {})
PRICE = PriceRow(input=1.0, output=2.5)


def listing(provider="novita-ai", **models):
    """models.dev's file with one provider."""
    return {provider: {"id": provider, "name": "P", "env": ["P_KEY"], "api": "https://p.example/v1", "models": models}}


def read(file, before=NONE_BEFORE):
    return read_offers(json.dumps(file).encode(), DAY, before)


def offered(*ids, provider="novita-ai", **fields):
    """The offers of one provider that lists these ids."""
    rows = {
        f"m{n}": {"id": id_, "cost": {"input": 1, "output": 2.5, "cache_read": 0.1}} | fields
        for n, id_ in enumerate(ids)
    }
    return next(iter(read(listing(provider, **rows)).by_provider.values()), {})


@pytest.mark.parametrize(
    ("model_id", "model", "declared"),
    [
        ("kimi-k2.6", "kimi-k2.6", None),
        ("moonshotai/Kimi-K2.6", "kimi-k2.6", None),
        ("accounts/fireworks/models/kimi-k2p6", "kimi-k2.6", None),
        ("moonshotai/Kimi-K2.6-TEE", "kimi-k2.6", None),
        ("zai-org/GLM-4.6-FP8", "glm-4.6", "fp8"),
        ("moonshotai/kimi-k2.6-nvfp4", "kimi-k2.6", "nvfp4"),
    ],
)
def test_ids_are_known_by_their_last_part(model_id, model, declared):
    assert offered(model_id) == {model: OfferRow(id=model_id, price=PRICE, declared=declared)}


@pytest.mark.parametrize("model_id", ["gpt-4", "kimi-k2.6-turbo", "kimi-k2.6:free", "my-kimi-k2.6", "kimi-k2"])
def test_ids_of_other_models_are_left_out(model_id):
    assert offered(model_id) == {}


def test_of_several_ids_the_plainest_is_taken():
    assert offered("org/glm-4.6-fp8", "org/glm-4.6", "glm-4.6-tee")["glm-4.6"].id == "org/glm-4.6"
    assert offered("org/glm-4.6-fp8", "other/glm-4.6-fp8")["glm-4.6"].id == "org/glm-4.6-fp8"


def test_deprecated_models_are_left_out():
    assert offered("glm-4.6", status="beta")
    assert offered("glm-4.6", status="deprecated") == {}


def test_a_price_of_zero_is_believed_of_those_alone_that_sell_plans():
    free = {"input": 0, "output": 0}
    assert offered("glm-4.6", cost=None)["glm-4.6"].price is None
    assert offered("glm-4.6", cost=free)["glm-4.6"].price is None
    assert offered("glm-4.6", cost=free, provider="zai-coding-plan")["glm-4.6"].price == PriceRow(input=0, output=0)


def test_an_aggregators_price_is_not_that_of_the_upstream_that_is_pinned():
    for gateway in ("openrouter", "vercel"):
        assert offered("z-ai/glm-4.6", provider=gateway) == {"glm-4.6": OfferRow(id="z-ai/glm-4.6")}


@pytest.mark.parametrize(
    "row",
    [
        None,
        "glm-4.6",
        {},
        {"id": 4.6},
        {"id": "org/glm-4.6\n"},
        {"id": "org/glm-4.6", "cost": {"input": -1, "output": 1}},
        {"id": "org/glm-4.6", "cost": {"input": 1e9, "output": 1}},
        {"id": "org/glm-4.6", "cost": {"input": "1", "output": []}},
        {"id": "x" * 300 + "/glm-4.6"},
        {"id": "\x1b[2Jorg/glm-4.6"},
    ],
)
def test_a_malformed_row_costs_only_itself(row):
    file = listing(bad=row, good={"id": "glm-4.5", "cost": {"input": 1, "output": 2.5}})
    assert set(read(file).by_provider["novita"]) == {"glm-4.5"}


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"groq": {}}', b"\xff", b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_such_file_is_refused(data):
    with pytest.raises(DownloadError, match=r"is not the file that models\.dev describes"):
        read_offers(data, DAY, NONE_BEFORE)


def test_a_file_that_lost_most_of_what_was_known_is_refused():
    before = Offers("s", DAY, {"novita": {name: OfferRow(id=name) for name in list(load_models())[:3]}})
    with pytest.raises(DownloadError, match=r"1 offers? where 3 are known; what was known before stays"):
        read(listing(good={"id": "glm-4.5"}), before)
    assert read(listing(a={"id": "glm-4.5"}, b={"id": "glm-4.6"}), before)


def test_neither_addresses_nor_key_variables_are_taken():
    file = listing(good={"id": "glm-4.5"})
    file["novita-ai"] |= {"api": "https://evil.example/v1", "env": ["HOME"]}
    assert "evil" not in to_toml(read(file))
    assert load_providers()["novita"].base_url == "https://api.novita.ai/openai/v1"


def test_offers_survive_being_written():
    hostile = 'q"\\uo]te'
    offers = Offers(hostile, DAY, {"novita": {"glm-4.6": OfferRow(id=hostile, price=PRICE, declared="fp8")}})
    assert parse_offers(to_toml(offers).encode(), "offers.toml") == offers
    shipped = load_offers()
    assert parse_offers(to_toml(shipped).encode(), "offers.toml") == shipped


def test_changes_are_counted():
    def of(**models):
        return Offers("s", DAY, {"novita": {name: OfferRow(id=i) for name, i in models.items()}})

    assert changes(of(a="a", b="b", c="c"), of(b="b", c="c2", d="d", e="e")) == Changes(new=2, gone=1, other=1)
