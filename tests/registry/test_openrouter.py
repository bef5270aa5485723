import json
from datetime import date

import pytest

from qcheck.errors import DownloadError
from qcheck.registry.openrouter import Listing, Upstream, listing_file, read_listing
from qcheck.registry.rows import PriceRow

DAY = date(2026, 11, 28)
MODEL = "moonshotai/kimi-k2.6"
ROW = {
    "name": "Novita | moonshotai/kimi-k2.6",
    "provider_name": "NovitaAI",
    "tag": "novita/int4",
    "quantization": "int4",
    "pricing": {"prompt": "0.00000057", "completion": "0.0000023", "request": "0", "discount": 0},
    "supported_parameters": ["temperature", "logprobs", "top_logprobs"],
}


def read(*rows):
    return read_listing(json.dumps({"data": {"id": MODEL, "endpoints": rows}}).encode(), MODEL, DAY)


def test_an_upstream_is_read_as_openrouter_documents_it():
    listing = read(ROW)
    parameters = ("temperature", "logprobs", "top_logprobs")
    price = PriceRow(input=0.57, output=2.3)
    upstream = Upstream(tag="novita/int4", precision="int4", price=price, parameters=parameters)
    assert listing == Listing(model_id=MODEL, read=DAY, upstreams=(upstream,))
    assert upstream.gives_logprobs
    assert Listing.model_validate_json(listing.model_dump_json()) == listing


@pytest.mark.parametrize(
    "pricing",
    [
        None,
        {},
        {"prompt": "0.1", "completion": "x"},
        {"prompt": "-1", "completion": "-1"},
        {"prompt": "nan", "completion": "0"},
        {"prompt": "1e9", "completion": "0"},
        {"prompt": "0.000001", "completion": "0.000001", "request": "0.01"},
    ],
)
def test_a_price_that_is_not_one_of_tokens_alone_is_unknown(pricing):
    assert read(ROW | {"pricing": pricing}).upstreams[0].price is None


@pytest.mark.parametrize(
    "row", [None, [], "novita", {}, {"tag": 7}, ROW | {"tag": "\x1b[2Jnovita"}, ROW | {"quantization": "f\u202ep8"}]
)
def test_an_upstream_that_does_not_hold_what_it_should_costs_only_itself(row):
    assert [u.tag for u in read(row, ROW).upstreams] == ["novita/int4"]


def test_what_is_not_said_is_unknown():
    (upstream,) = read({"tag": "novita", "quantization": "unknown"}).upstreams
    assert (upstream.precision, upstream.price, upstream.gives_logprobs) == (None, None, None)
    assert read(ROW | {"supported_parameters": ["logprobs"]}).upstreams[0].gives_logprobs is False


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b"{}", b'{"data": []}', b'{"data": {"endpoints": {}}}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_such_list_is_refused(data):
    with pytest.raises(DownloadError, match="is not the list that OpenRouter describes"):
        read_listing(data, MODEL, DAY)


def test_a_pin_names_an_upstream_as_a_whole():
    tags = "novita", "novita/fp8", "novita-ai", "parasail/fp8"
    listing = read(*(ROW | {"tag": tag, "quantization": tag.partition("/")[2] or "unknown"} for tag in tags))
    assert [u.tag for u in listing.pinned("novita")] == ["novita", "novita/fp8"]
    assert [u.tag for u in listing.pinned("novita", "fp8")] == ["novita/fp8"]
    assert [u.tag for u in listing.pinned("novita", "unknown")] == ["novita"]


@pytest.mark.parametrize("model_id", ["", "kimi", "../../etc/passwd", "a/../b", "a/b?key=1", "a/b/c", "a/b#", "a b/c"])
def test_what_can_be_no_id_there_is_neither_asked_for_nor_kept(model_id):
    assert listing_file(model_id) is None
