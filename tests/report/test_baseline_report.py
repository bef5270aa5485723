import re
from dataclasses import replace
from pathlib import Path

import pytest

from qcheck.baselines import (
    Baseline,
    BaselineManifest,
    DeploymentEntry,
    RecordedFile,
    SuiteEntry,
)
from qcheck.report.baseline import render
from qcheck.report.paper import Paper
from qcheck.tailcounts import FORMAT, CalibrationTable, TailCount, TailEvent

DIGEST = "sha256:" + "0" * 64


def deployment(name, role):
    return DeploymentEntry(
        name=name,
        role=role,
        description=f"how {name} is served",
        provenance="self-hosted",
        recorded="2026-11-23T18:45:00+00:00",
        endpoint="https://a.example/v1",
        reported_model=None,
        fingerprint=None,
        repeats=2,
        temperature=0.0,
        answers=RecordedFile(path=f"deployments/{name}.answers", hash=DIGEST, probes=744),
        calibration=None,
    )


@pytest.fixture
def table():
    def event(score, threshold, honest, fp8, int4):
        count = TailCount(
            clusters=1440,
            honest={"one": honest, "two": honest},
            honest_any=honest,
            variant_clusters=1440,
            shown={"fp8": fp8, "int4": int4},
        )
        return TailEvent(score=score, threshold=threshold, counts={"all": count})

    return CalibrationTable(
        format=FORMAT,
        noise_factor=1.5,
        noise_unit=0.018,
        most=1.0,
        noise_rms=0.0123,
        envelope_kl=0.000456,
        variant_kl={"fp8": 0.0021, "int4": 0.031},
        events=[
            event("size", 0.02, 20, 1300, 1439),
            event("size", 0.1, 0, 200, 1400),
            event("direction", 0.5, 3, 900, 1000),
        ],
    )


def baseline(table):
    manifest = BaselineManifest(
        format=2,
        model="lab-tiny",
        suite=SuiteEntry(name="logprobs", version="1.0.0", hash=DIGEST),
        deployments=[deployment("one", "reference"), deployment("two", "reference"), deployment("fp8", "variant")],
    )
    return Baseline("lab-tiny", Path("baselines/lab-tiny"), manifest, DIGEST, table)


def test_golden(table, golden):
    golden("baseline.txt", render(baseline(table), 0.01, Paper(100)))


@pytest.mark.parametrize(
    ("counts", "every", "apart"),
    [((1, 0, 8), 9, "8 of the 9"), ((2, 4, 3), 9, ""), ((0, 0, 4), 4, ""), ((8, 0, 8), 9, "")],
)
def test_a_deployment_that_alone_bounds_all_is_named(table, counts, every, apart):
    honest = dict(zip(("one", "two", "three"), counts, strict=True))
    count = table.events[1].counts["all"].model_copy(update={"honest": honest, "honest_any": every})
    frequent = count.model_copy(update={"honest": {"one": 9, "two": 0, "three": 90}, "honest_any": 99})
    events = [
        event.model_copy(update={"counts": {"all": count if rare else frequent}})
        for event, rare in zip(table.events, (False, True, True), strict=True)
    ]
    text = " ".join(render(baseline(table.model_copy(update={"events": events})), 0.01, Paper(100)).split())
    found = re.findall(r"apart: three has (.*?) prompts", text)
    assert found == [apart or "90 of the 99"]


def test_of_two_deployments_none_stands_apart(table):
    honest = {"one": 0, "two": 20}
    lone = table.events[0].counts["all"].model_copy(update={"honest": honest})
    events = [e.model_copy(update={"counts": {"all": lone}}) for e in table.events]
    assert "apart" not in render(baseline(table.model_copy(update={"events": events})), 0.01, Paper(100))


def test_without_a_table_there_is_no_envelope():
    assert "none: the references hardly differ" in render(baseline(None), 0.01, Paper(100))
    alone = baseline(None)
    alone = replace(alone, manifest=alone.manifest.model_copy(update={"deployments": alone.manifest.deployments[:1]}))
    assert "none: an envelope takes at least two reference deployments" in render(alone, 0.01, Paper(100))


def test_where_answers_are_graded_the_envelope_is_in_items(table):
    loss = table.events[0].model_copy(update={"score": "loss", "threshold": 0.5})
    graded = table.model_copy(
        update={"noise_unit": None, "noise_rms": None, "envelope_kl": None, "variant_kl": {}, "events": [loss]}
    )
    text = render(baseline(graded), 0.01, Paper(100))
    assert "honest deployments are wrong where all others are right on at most 4.0 % of probes" in text
    assert re.search(r"int4 +– +99 %", text)
