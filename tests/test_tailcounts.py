from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qcheck.tailcounts import FORMAT, CalibrationTable


def count(**change: Any) -> dict[str, Any]:
    return {
        "clusters": 200,
        "honest": {"one": 3, "two": 4},
        "honest_any": 5,
        "variant_clusters": 150,
        "shown": {"fp8": 90, "int4": 150},
    } | change


def event(score: str, **change: Any) -> dict[str, Any]:
    return {"score": score, "threshold": 0.1, "counts": {"all": count()}} | change


def table(**change: Any) -> dict[str, Any]:
    kl = {"fp8": 0.002, "int4": 0.03}
    usual = {
        "noise_factor": 1.5,
        "noise_unit": 0.01,
        "most": 1.0,
        "noise_rms": 0.01,
        "envelope_kl": 0.0004,
        "variant_kl": kl,
    }
    return {"format": FORMAT} | usual | {"events": [event("size"), event("direction")]} | change


def test_a_table_that_agrees_with_itself_is_read() -> None:
    read = CalibrationTable.model_validate(table())
    assert read.clusters == {"all": 200}
    assert (read.variants, read.watchable) == (("fp8", "int4"), (0,))
    assert (read.null_probabilities, read.visibilities) == (2, 2)


def test_events_of_one_threshold_are_bounded_once() -> None:
    def bounded(events: list[dict[str, Any]]) -> tuple[int, int]:
        read = CalibrationTable.model_validate(table(events=events))
        return read.null_probabilities, read.visibilities

    same, further = [event("flip")] * 4, event("flip", threshold=0.2)
    assert bounded(same) == (1, 2)
    assert bounded([*same[:3], further]) == (2, 4)
    elsewhere = [{**e, "view": "top5"} for e in (*same[:3], further)]
    assert bounded([*same, *elsewhere]) == (2, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": FORMAT - 1}, "another version"),
        ({"events": []}, "at least 1 item"),
        ({"noise_factor": 0.9}, "greater than or equal to 1"),
        ({"noise_rms": float("inf")}, "finite"),
        ({"events": [event("size", threshold=float("nan"))]}, "finite"),
        ({"events": [event("size", counts={})]}, "at least 1 item"),
        ({"events": [event("flip"), event("flip", counts={"all": count(honest_any=7)})]}, "the same counts"),
        ({"events": [event("size"), event("q4")]}, "Input should be 'size', 'steady', 'direction'"),
        ({"events": [event("size"), event("size", view="top5"), event("direction", view="top5")]}, "as many events"),
        ({"noise_unit": 0.0}, "greater than 0"),
        ({"events": [event("direction")]}, "one event at least is of the score size, flip or loss"),
        ({"events": [event("size"), event("direction", counts={"words": count()})]}, "the same strata"),
        ({"events": [event("size", counts={"a": count(), "b": count(shown={"fp8": 1})})]}, "the same variants"),
        ({"events": [event("size", counts={"all": count(clusters=0)})]}, "greater than 0"),
        ({"events": [event("size", counts={"all": count(honest={"one": -1})})]}, "greater than or equal to 0"),
        ({"events": [event("size", counts={"all": count(honest_any=3)})]}, "honest_any"),
        ({"events": [event("size", counts={"all": count(honest_any=201)})]}, "honest_any"),
        ({"events": [event("size", counts={"all": count(shown={"fp8": 151, "int4": 2})})]}, "more clusters"),
    ],
)
def test_a_table_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CalibrationTable.model_validate(table(**change))
