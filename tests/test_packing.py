from __future__ import annotations

import json
import math
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck import packing
from qcheck.packing import Answer, pack, rounded, unpack
from qcheck.records import Position

TEXT = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates too: providers send them
LOGPROBS = st.floats(-9999, 0) | st.just(-math.inf)
KEYS = st.one_of(
    TEXT.map("=".__add__),
    st.binary(max_size=4).map(lambda raw: "x" + raw.hex()),
    st.integers().map("#{}".format),
    TEXT,
)
# Few keys in one example, so that lists share them.
POSITIONS = st.lists(KEYS, min_size=1, max_size=4).flatmap(
    lambda keys: st.lists(
        st.builds(
            Position,
            st.sampled_from(keys),
            st.none() | LOGPROBS,
            st.lists(st.tuples(st.sampled_from(keys), LOGPROBS), max_size=4).map(tuple),
        ),
        max_size=3,
    ).map(tuple)
)
ANSWERS = st.builds(Answer, st.none() | st.integers(-1, 10**12), POSITIONS, st.none() | TEXT)
RECORDINGS = st.dictionaries(TEXT, st.lists(ANSWERS, min_size=1, max_size=3).map(tuple), max_size=3)

LISTED = (("=a", -0.25), ("=b", -1.75), ("#3", -math.inf))
RECORDED = {
    "p": (Answer(9, (Position("=a", -0.25, LISTED), Position("=c", None, ())), "a c"), Answer(9, ())),
    "q": (Answer(None, (Position("=b", -1.75, LISTED),)),),
}


@given(RECORDINGS)
def test_what_is_packed_comes_back_as_rounded(recording: dict[str, tuple[Answer, ...]]) -> None:
    data = pack(recording)
    unpacked = unpack(data)
    assert list(unpacked) == list(recording)
    assert dict(unpacked) == {probe: tuple(map(rounded, repeats)) for probe, repeats in recording.items()}
    assert pack(unpacked) == data


def test_rounding_is_to_the_fifth_decimal() -> None:
    answer = Answer(1, (Position("=a", -1.234567, (("=a", -1.234567), ("=b", -math.inf))),))
    assert rounded(answer).positions == (Position("=a", -1.23457, (("=a", -1.23457), ("=b", -math.inf))),)


def test_a_probability_of_one_is_no_negative_zero() -> None:
    (answer,) = unpack(pack({"p": [Answer(1, (Position("=a", 0.0, (("=a", 0.0),)),))]}))["p"]
    assert math.copysign(1, answer.positions[0].top[0][1]) == 1


def test_equal_answers_are_stored_once() -> None:
    many = unpack(pack({f"p{i}": [RECORDED["p"][0]] * 50 for i in range(20)}))
    assert len(many.key) == len(LISTED)
    assert many["p7"] == (RECORDED["p"][0],) * 50


@pytest.mark.parametrize("logprob", [0.1, -1e6, math.inf, math.nan])
def test_what_is_no_log_probability_is_refused(logprob: float) -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        pack({"p": [Answer(1, (Position("=a", logprob, ()),))]})


def damaged(change: dict[str, object] | None = None, cut: int = 0, extra: bytes = b"") -> bytes:
    """`RECORDED`, packed after `change` of its header, without the last bytes of its columns, with extra ones."""
    line, _, body = zlib.decompress(pack(RECORDED)).partition(b"\n")
    header = json.dumps(json.loads(line) | (change or {})).encode()
    return zlib.compress(header + b"\n" + body[: len(body) - cut] + extra)


def test_an_unchanged_copy_is_read() -> None:
    assert dict(unpack(damaged())) == RECORDED


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cut off"),
        (b"PK\x03\x04", "does not inflate"),
        (damaged()[:-1], "cut off"),
        (damaged() + b"x", "after its end"),
        (damaged(cut=4), "shorter"),
        (damaged(extra=b"1234"), "longer"),
        (damaged({"format": 1}), "format"),
        (damaged({"format": True}), "format"),
        (damaged({"surplus": 1}), "surplus"),
        (damaged({"probes": ["p", 2]}), "probes.1"),
        (damaged({"probes": ["p", "p"]}), "twice"),
        (damaged({"probes": ["p", "q", "r"]}), "shorter"),
        (damaged({"texts": []}), "as many texts"),
        (damaged({"token_keys": ["=a"]}), "does not hold"),
        (zlib.compress(b"[]\n"), "dictionary"),
        (zlib.compress(b"{\n"), "property name"),
        (zlib.compress(b'{"probes": [NaN]}\n'), "NaN"),
        (zlib.compress(b"\xff\n"), "not UTF-8 text"),
    ],
)
def test_damage_is_named(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        unpack(data)
    assert "\n" not in str(caught.value)


@given(st.data())
def test_whatever_is_read_can_be_used(data: st.DataObject) -> None:
    """Any word of the columns may be replaced by any other: it is refused, or every answer can be made."""
    line, _, body = zlib.decompress(pack(RECORDED)).partition(b"\n")
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpacked = unpack(zlib.compress(line + b"\n" + bytes(changed)))
    except ValueError:
        return
    assert set(dict(unpacked)) == {"p", "q"}


def test_a_file_may_not_inflate_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"p": [Answer(1, (), "a" * 10_000)]})
    assert len(data) < 1_000
    monkeypatch.setattr(packing, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match="more than 10000 bytes"):
        unpack(data)


def test_a_first_line_is_not_parsed_whatever_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"p": [Answer(1, (), "a" * 10_000)]})
    assert unpack(data)["p"]
    monkeypatch.setattr(packing, "MAX_LINE", 10_000)
    with pytest.raises(ValueError, match="at most 10000 bytes"):
        unpack(data)
    with pytest.raises(ValueError, match="first line"):
        unpack(zlib.compress(b"{}"))
