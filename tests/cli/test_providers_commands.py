"""`qcheck providers`, and a comparison of hosted providers as it is planned without any key."""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from qcheck.jsonio import atomic_write
from qcheck.registry import loader
from qcheck.registry.openrouter import Listing, Upstream, listing_file
from qcheck.registry.rows import PriceRow

TEN = (
    "moonshot,deepinfra,novita,siliconflow,chutes,alibaba-cn,nvidia,"
    "openrouter/parasail,openrouter/moonshotai/int4,openrouter/baseten"
)


def rows(spoken):
    """The words of each line that was said."""
    return [line.split() for line in spoken.out.splitlines()]


@pytest.fixture
def anew():
    """A registry that is read anew, and again after the test."""
    for cached in (loader.load_offers, loader.load_models):
        cached.cache_clear()
    yield
    for cached in (loader.load_offers, loader.load_models):
        cached.cache_clear()


def test_who_serves_a_model_is_listed_with_ids_prices_and_retirement(qcheck):
    listed = rows(qcheck("providers", "list", "--model", "kimi-k2.6"))
    assert ["moonshot", "kimi-k2.6", "0.95", "4", "temperature", "0.6", "only"] in listed
    assert ["openrouter/UPSTREAM", "moonshotai/kimi-k2.6", "unknown", "unknown"] in listed
    assert ["together", "moonshotai/Kimi-K2.6", "1.2", "4.5", "retired", "2026-08-19"] in listed
    assert "released precision: INT4 (https://" in qcheck("providers", "list", "--model", "kimi-k2.6").out


def test_traits_are_shown_with_where_they_were_read(qcheck):
    shown = rows(qcheck("providers", "show", "deepseek"))
    assert ["key_env", "DEEPSEEK_API_KEY", "https://models.dev/api.json,", "read", "2026-07-02"] in shown
    assert ["min_tokens", "1", "not", "documented", "at"] in shown
    shown = rows(qcheck("providers", "show", "chutes"))
    assert ["thinking_off", "chat_template_kwargs", "unverified"] in shown
    assert ["stream", "no", "assumed"] in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "togther"], "unknown provider 'togther': did you mean together"),
        (["list", "--model", "kimi-k26"], "unknown model 'kimi-k26': did you mean kimi-k2.6"),
    ],
)
def test_misspellings_are_answered_with_the_nearest(qcheck, arguments, said):
    spoken = qcheck("providers", *arguments)
    assert (spoken.code, spoken.out) == (2, "")
    assert said in spoken.err


def test_ten_providers_are_planned_without_a_key_and_with_their_prices(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", TEN, "--dry-run")
    assert spoken.code == 0
    usd = {words[0]: words[7] for words in rows(spoken) if words[2:3] == ["logprobs"]}
    assert ["moonshot", *usd] == TEN.split(",")
    said = " ".join(spoken.out.split())
    assert "not judged: moonshot, by its logprobs: nobody knows whether those that are given are the model's" in said
    assert {name for name, dollars in usd.items() if dollars == "unknown"} == {n for n in usd if "/" in n}
    assert float(usd["novita"]) > float(usd["chutes"]) > float(usd["nvidia"]) == 0
    assert "openrouter/parasail, openrouter/moonshotai/int4, openrouter/baseten will charge" in said


@pytest.fixture
def listed():
    """What OpenRouter lists of Kimi K2.6, as if it had been read today."""
    model_id = "moonshotai/kimi-k2.6"
    price, lists = PriceRow(input=0.5, output=2.5), ("logprobs", "top_logprobs")
    upstreams = (
        Upstream(tag="novita/fp8", precision="fp8", price=price, parameters=lists),
        Upstream(tag="parasail", precision=None, price=None, parameters=()),
    )
    kept = Listing(model_id=model_id, read=datetime.now(UTC).date(), upstreams=upstreams)
    atomic_write(listing_file(model_id), kept.model_dump_json())


@pytest.mark.usefixtures("listed")
def test_an_upstream_is_shown_as_openrouter_lists_it(qcheck):
    spoken = qcheck("providers", "show", "openrouter/novita", "--model", "kimi-k2.6")
    assert (spoken.code, spoken.err) == (0, "")
    assert ["novita/fp8", "fp8", "0.5", "2.5", "yes"] in rows(spoken)
    assert "USD/Mtok: 0.5 in, 2.5 out" in spoken.out
    assert "declares: fp8 (https://openrouter.ai/api/v1/models/moonshotai/kimi-k2.6/endpoints" in spoken.out
    other = qcheck("providers", "show", "openrouter/novitta", "--model", "kimi-k2.6")
    assert "which has no such upstream" in " ".join(other.out.split())
    assert ["parasail", "unknown", "unknown", "unknown", "no"] in rows(other)
    assert "USD/Mtok: unknown" in other.out


@pytest.mark.usefixtures("listed")
def test_an_upstream_is_planned_at_the_price_that_openrouter_lists(qcheck):
    providers = "openrouter/novita,openrouter/parasail,deepinfra"
    spoken = qcheck("compare", "kimi-k2.6", "--providers", providers, "--dry-run")
    usd = {words[0]: words[7] for words in rows(spoken) if words[2:3] == ["logprobs"]}
    assert float(usd["openrouter/novita"]) > 0
    assert "openrouter/parasail" not in usd
    said = " ".join(spoken.out.split())
    assert "not judged: openrouter/parasail, by its logprobs: none are given" in said


@pytest.mark.usefixtures("listed")
def test_whom_nobody_is_left_to_compare_with_is_planned_no_probes(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "openrouter/novita,openrouter/parasail", "--dry-run")
    assert not [words for words in rows(spoken) if words[2:3] == ["logprobs"]]
    assert "not judged: openrouter/novita, nobody is left to compare it with" in " ".join(spoken.out.split())


@pytest.mark.parametrize("spec", ["openrouter/novitta", "openrouter/novita/fp4"])
@pytest.mark.usefixtures("listed")
def test_an_upstream_that_openrouter_does_not_list_is_pointed_out(qcheck, spec):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", f"{spec},deepinfra", "--dry-run")
    assert spoken.code == 0
    said = " ".join(spoken.err.split())
    assert f"OpenRouter lists no {spec} of moonshotai/kimi-k2.6" in said
    assert "but novita/fp8, parasail." in said


def test_a_list_that_cannot_be_read_leaves_prices_unknown(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "openrouter/novita,openrouter/parasail", "--dry-run")
    assert spoken.code == 0
    assert spoken.err.count("prices of upstreams there stay unknown") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("openrouter/novita",), "upstreams differ by model: name one"),
        (("moonshot", "--model", "kimi-k2.6"), "--model goes with an upstream"),
        (("moonshot/novita", "--model", "kimi-k2.6"), "moonshot is no aggregator"),
    ],
)
def test_an_upstream_is_shown_for_a_model(qcheck, arguments, complaint):
    spoken = qcheck("providers", "show", *arguments)
    assert (spoken.code, spoken.out) == (2, "")
    assert complaint in spoken.err


def test_a_gateway_is_planned_as_one_whose_upstreams_vary(qcheck):
    spoken = qcheck("compare", "qwen3-coder-next", "--providers", "kilo,novita", "--dry-run")
    assert "upstreams: kilo routes to unknown ones: none can be pinned, and who answers may vary" in spoken.out


def test_a_retired_model_is_refused_before_anything_is_sent(qcheck):
    spoken = qcheck("compare", "kimi-k2.6", "--providers", "moonshot,together", "--dry-run")
    assert (spoken.code, spoken.out) == (2, "")
    assert "together retired kimi-k2.6 on 2026-08-19; it is served by moonshot," in spoken.err


@pytest.fixture
def models_dev(monkeypatch):
    """A server in place of models.dev, which answers with what `answer` holds: a status and a body."""
    answer = [200, b""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr("qcheck.registry.models_dev.MODELS_DEV", f"http://127.0.0.1:{server.server_port}/api.json")
    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def api_file():
    """What models.dev would send to list what is known, but that moonshot serves Kimi K2.5 and at another price."""
    theirs = {name: there for there, name in loader.models_dev_names().items()}
    file = {
        theirs[provider]: {"models": {offer.id: {"id": offer.id} for offer in offers.values()}}
        for provider, offers in loader.load_offers().by_provider.items()
    }
    file["moonshotai"] = {"models": {"k": {"id": "kimi-k2.5", "cost": {"input": 7, "output": 8}}}}
    return json.dumps(file).encode()


@pytest.mark.usefixtures("anew")
def test_what_models_dev_publishes_is_kept_and_used(qcheck, models_dev):
    models_dev[1] = api_file()
    spoken = qcheck("providers", "update")
    assert (spoken.code, spoken.err) == (0, "")
    assert str(loader.user_offers()) in spoken.out
    loader.load_offers.cache_clear()
    loader.load_models.cache_clear()
    assert next(words[:4] for words in rows(qcheck("providers", "show", "moonshot")) if words[:1] == ["kimi-k2.5"]) == [
        "kimi-k2.5",
        "kimi-k2.5",
        "7",
        "8",
    ]


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b"", "answers HTTP 503"),
        (200, b"<html>", "is not the file that models.dev describes"),
        (200, b'{"moonshotai": {"models": {}}}', "lists 0 offers where"),
        (200, b" " * 50_000_001, "sends more than 50000000 bytes"),
    ],
)
def test_anything_else_changes_nothing(qcheck, models_dev, status, body, said):
    loader.user_offers().parent.mkdir(parents=True)
    loader.user_offers().write_text('source = "before"\nread = 2026-01-01\noffers = {}\n')
    models_dev[:] = [status, body]
    spoken = qcheck("providers", "update")
    assert (spoken.code, spoken.out) == (3, "")
    assert said in spoken.err
    assert [path.name for path in loader.user_offers().parent.iterdir()] == ["offers.toml"]
    assert "before" in loader.user_offers().read_text()


@pytest.mark.usefixtures("anew")
def test_a_damaged_copy_can_be_got_rid_of(qcheck):
    loader.user_offers().parent.mkdir(parents=True)
    loader.user_offers().write_bytes(b"\xff")
    spoken = qcheck("providers", "list")
    assert (spoken.code, spoken.out) == (2, "")
    assert f"{loader.user_offers()} is not UTF-8 text" in spoken.err
    assert "Delete that file" in spoken.err


def test_an_address_is_not_repeated(qcheck):
    spoken = qcheck("providers", "show", "mine=https://user:sk-secret-0123@h/v1?k=sk-secret-0123")
    assert (spoken.code, spoken.out) == (2, "")
    assert "secret" not in spoken.err
