"""Each provider is judged by the strongest observable that it offers, and told what its silence costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from offers import OFFER

from qcheck.errors import RunFolderError
from qcheck.jobs.compare import Settings, budget_of, clients, compare, start_run
from qcheck.jobs.discover import Found, discover
from qcheck.jobs.estimate import estimate
from qcheck.jobs.known import KnownOffer, with_offer
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.promise import Question, may_be_asked
from qcheck.jobs.reference import Reference
from qcheck.jobs.strongest import choose, text_suites
from qcheck.jobs.verify import verify
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint
from qcheck.result import Result, json_schema, result_to_json
from qcheck.run.budget import Limits
from qcheck.run.folder import RunFolder
from qcheck.run.journal import Journal
from qcheck.suites import Suite, load_suite, shipped_folder

Asked = Sequence[tuple[Suite, Reference]]
MODEL = get_model("lab-tiny")
GIVES = Endpoint("gives", "x", "http://127.0.0.1:9/v1", "m", None)
SILENT = replace(GIVES, name="silent")
NONE = OFFER.model_copy(update={"top_logprobs_max": 0, "listed": 0})


def question(asked: Asked, *providers: Endpoint, automatic: bool = True, **settings: Any) -> Question:
    now = datetime.now(UTC)
    return Question("r", now, MODEL, providers, tuple(asked), automatic, Settings(3, **settings))


def found(endpoint: Endpoint, offer: KnownOffer | None) -> Found:
    return Found(with_offer(endpoint, offer), offer)


def promised(asked: Asked, *offers: KnownOffer | None, **settings: Any) -> RunManifest:
    """What is promised where the n-th provider has the n-th offer."""
    providers = [replace(GIVES, name=f"p{i}") for i in range(len(offers))]
    return question(asked, *providers, **settings).promise(
        [found(p, o) for p, o in zip(providers, offers, strict=True)]
    )


def test_text_suites_are_those_with_an_envelope_and_those_that_can_show_agreement_first(both: Asked) -> None:
    names = [suite.name for suite, _ in text_suites(MODEL, [shipped_folder("baselines")])]
    assert names == ["lab-answers", "samples"]
    assert text_suites(get_model("kimi-k2.6"), [shipped_folder("baselines")]) == ()
    asked = may_be_asked(both[0], MODEL, [shipped_folder("baselines")])
    assert [suite.name for suite, _ in asked] == ["logprobs", *names]
    assert may_be_asked((both[0][0], Reference(live=GIVES)), MODEL, [shipped_folder("baselines")])[1:] == ()


@pytest.mark.parametrize(
    ("offer", "suites"),
    [
        (OFFER, ("logprobs",)),
        (NONE, ("lab-answers",)),
        (NONE.model_copy(update={"greedy": None}), ()),
        (NONE.model_copy(update={"greedy": False}), ()),
        (NONE.model_copy(update={"temperature": 0.6, "greedy": False}), ()),
        (OFFER.model_copy(update={"temperature": 0.6, "after_temperature": True}), ()),
        (OFFER.model_copy(update={"temperature": 0.6, "after_temperature": False}), ("logprobs",)),
        (None, ("logprobs",)),  # silence neither accuses nor reassures
    ],
)
def test_what_is_offered_decides(both: Asked, offer: KnownOffer | None, suites: tuple[str, ...]) -> None:
    endpoint = with_offer(SILENT, offer)
    chosen = choose([endpoint], {"silent": offer} if offer else {}, both, MODEL, presume=False)["silent"]
    assert chosen.suites == suites
    assert (chosen.unjudged is None) == bool(suites)


def test_a_plan_presumes_that_text_will_do(both: Asked) -> None:
    known = replace(SILENT, dialect=Dialect(top_logprobs_max=0))
    assert choose([known], {}, both, MODEL, presume=True)["silent"].suites == ("lab-answers",)


def test_samples_are_for_whom_one_temperature_alone_is_accepted() -> None:
    asked = text_suites(MODEL, [shipped_folder("baselines")])
    pinned = NONE.model_copy(update={"temperature": 1.0, "greedy": False})
    endpoint = with_offer(SILENT, pinned)
    assert choose([endpoint], {"silent": pinned}, asked, MODEL, presume=False)["silent"].suites == ("samples",)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"temperature": 1.0, "greedy": False}, "the reference was not recorded at that"),
        ({"greedy": False}, "it was not seen to decode greedily"),
        ({"greedy": None}, "it was not seen to decode greedily"),
    ],
)
def test_a_suite_that_is_named_is_no_measure_of_who_samples(both: Asked, found: dict[str, Any], says: str) -> None:
    manifest = promised(both[1:], NONE.model_copy(update=found), automatic=False)
    (provider,) = manifest.providers
    assert manifest.suites_of(provider) == ()
    assert says in (provider.unjudged or "")
    greedy = promised(both[1:], NONE.model_copy(update={"greedy": True}), automatic=False)
    assert greedy.suites_of(greedy.providers[0]) == ("lab-answers",)


def test_nobody_is_asked_beside_a_reference_that_shows_nothing(both: Asked) -> None:
    """It would cost, and show nothing: lists at a temperature that nobody knows the meaning of."""
    live = replace(GIVES, name="live", temperature=0.6)
    for automatic in (True, False):
        asked = question([(both[0][0], Reference(live=live))], GIVES, automatic=automatic)
        for presume in (True, False):
            manifest = asked.promise([found(GIVES, OFFER), found(live, None)], presume=presume)
            (provider,) = manifest.providers
            assert manifest.suites_of(provider) == ()
            assert "because of the reference live (nobody knows" in (provider.unjudged or "")
    told = replace(live, dialect=Dialect(after_temperature=False))
    asked = question([(both[0][0], Reference(live=told))], GIVES, automatic=False)
    manifest = asked.promise([found(GIVES, OFFER), found(told, None)])
    assert manifest.suites_of(manifest.providers[0]) == ("logprobs",)


def test_the_plan_counts_no_probes_of_whom_nobody_is_left_to_compare(both: Asked) -> None:
    mute = replace(SILENT, dialect=Dialect(thinking_off="never"))
    asked = question([(both[0][0], Reference())], GIVES, mute)
    manifest = asked.promise([found(GIVES, OFFER), found(mute, None)], presume=True)
    before = asked.discovery([found(GIVES, OFFER), found(mute, None)])
    plan = estimate(manifest, manifest.load_panels(), before)
    assert [(p.name, p.suite) for p in plan.providers] == [("gives", "discovery")]
    assert plan.requests_max == before["gives"].most
    assert plan.unjudged["gives"] == "nobody is left to compare it with"
    assert "the model thinks first there" in plan.unjudged["silent"]
    third = replace(GIVES, name="third")
    more = question([(both[0][0], Reference())], GIVES, mute, third)
    manifest = more.promise([found(GIVES, OFFER), found(mute, None), found(third, OFFER)], presume=True)
    plan = estimate(manifest, manifest.load_panels())
    probes = len(both[0][0].fold("evaluation"))
    assert [(p.name, p.requests_max) for p in plan.providers] == [("gives", probes), ("third", probes)]


def test_the_plan_counts_no_probes_of_a_reference_with_which_nobody_is_compared(both: Asked) -> None:
    live = replace(GIVES, name="live", temperature=0.6)
    asked = question([(both[0][0], Reference(live=live))], GIVES)
    manifest = asked.promise([found(GIVES, OFFER), found(live, None)], presume=True)
    plan = estimate(manifest, manifest.load_panels())
    assert (plan.providers, plan.requests_max) == ((), 0)
    assert plan.unjudged.keys() == {"gives"}


def test_who_has_everything_pays_nothing_for_the_others(both: Asked) -> None:
    alone, mixed = promised(both, OFFER), promised(both, OFFER, NONE)
    assert [mixed.suites_of(p) for p in mixed.providers] == [("logprobs",), ("lab-answers",)]
    assert [suite.weight for suite in mixed.suites] == [1.0, 1.0]
    assert mixed.suites[0].envelope == alone.suites[0].envelope
    assert mixed.share == 1
    # The calibration bounds of both suites may fail, whichever provider they are of.
    assert mixed.delta == pytest.approx(2 * alone.delta)
    explicit = promised(both, OFFER, NONE, automatic=False)
    assert [suite.weight for suite in explicit.suites] == [0.5, 0.5]
    assert explicit.share == 2


def test_a_manifest_with_a_suite_that_is_not_there_is_refused(both: Asked) -> None:
    row = promised(both, OFFER).model_dump(mode="json")
    row["providers"][0]["suites"] = ["other"]
    with pytest.raises(RunFolderError, match="suites"):
        RunManifest.parse(row)
    del row["providers"][0]["suites"]  # as manifests were before
    assert RunManifest.parse(row).suites_of(RunManifest.parse(row).providers[0]) == ("logprobs",)


@pytest.mark.parametrize(
    ("offer", "says"),
    [
        (OFFER, None),
        (OFFER.model_copy(update={"listed": 5}), "5 tokens are listed at a position instead of 20: with all of them"),
        (OFFER.model_copy(update={"listed": 4}), "as it is not at all"),
        (OFFER.model_copy(update={"lattice": 0.125}), "log-probabilities lie on a grid of 0.125 nats: with all"),
        (NONE, "no log-probabilities are compared (none are given): with them a 5.0 % share of fp8 would show after"),
        (None, None),
    ],
)
def test_what_is_withheld_is_said_with_its_cost(both: Asked, offer: KnownOffer | None, says: str | None) -> None:
    said = promised(both, offer).providers[0].withheld
    assert len(said) == (says is not None)
    assert says is None or says in said[0]


def test_what_shows_sooner_is_the_fuller_list(both: Asked) -> None:
    (said,) = promised(both, NONE).providers[0].withheld
    full = int(said.split("would show after about ")[1].split()[0])
    (coarse,) = promised(both, OFFER.model_copy(update={"listed": 5})).providers[0].withheld
    assert full < int(coarse.split("as it is after about ")[1].split()[0])
    assert "in its answers a 5.0 % share of finetuned after" in said


def test_the_plan_says_who_is_asked_what(both: Asked) -> None:
    asked = question(both, GIVES, SILENT, limits=Limits(max_requests=50))
    known = [found(GIVES, OFFER), found(SILENT, NONE)]
    manifest = asked.promise(known)
    plan = estimate(manifest, manifest.load_panels(), asked.discovery(known), detectability=False)
    assert [(p.name, p.suite) for p in plan.providers] == [
        ("gives", "discovery"),
        ("gives", "logprobs"),
        ("silent", "discovery"),
        ("silent", "lab-answers"),
    ]
    assert [p.requests_max for p in plan.providers if p.suite != "discovery"] == [49, 48]
    assert plan.requests_max == 100
    assert plan.found == {"gives": "2026-11-28", "silent": "2026-11-28"}


def conducted(tmp_path: Path, asked: Question, *endpoints: Endpoint) -> tuple[Result, RunFolder, RunManifest]:
    """A whole run: what is offered is found out, promised and asked."""
    folder = RunFolder.create(tmp_path, "r")
    plan = asked.promise([found(endpoint, None) for endpoint in endpoints], presume=True)

    async def run() -> tuple[Result, RunManifest]:
        with Journal.open(folder.journal) as journal:
            budget = budget_of(plan, endpoints)
            seen = await discover(endpoints, {}, {}, budget, journal.append, texts=asked.texts)
        manifest = asked.promise(seen)
        start_run(folder, manifest)
        everyone = [it.endpoint for it in seen]
        async with clients(everyone, {}, 4) as askers:
            return await compare(folder, manifest, manifest.load_panels(), everyone, askers), manifest

    result, manifest = asyncio.run(run())
    return result, folder, manifest


def test_each_is_judged_by_what_it_offers_in_one_run(lab: Lab, both: Asked, tmp_path: Path) -> None:
    endpoints = [lab.endpoint(name) for name in ("honest-b", "finetuned?reject=logprobs")]
    asked = question(both, *endpoints, tolerance=0.3)
    result, folder, _ = conducted(tmp_path, asked, *endpoints)
    honest, silent = result.providers
    assert (honest.verdict, silent.verdict) == ("consistent", "deviates")
    assert [{e.suite for e in p.evidence} for p in result.providers] == [{"logprobs"}, {"lab-answers"}]
    assert (honest.discovery, silent.discovery) == (2, 5)
    assert honest.requests >= honest.deviating.of + 2
    assert [f.kind for f in silent.findings if f.kind == "withheld"] == ["withheld"]
    assert silent.offered is not None
    assert (silent.offered.top_logprobs, silent.offered.greedy) == (0, True)
    rows = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    assert len(rows) == result.totals.requests
    jsonschema.validate(result_to_json(result), json_schema())
    assert verify(folder).differences == ()


@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize(
    ("way", "why"), [("never", "whatever it is told"), ("not found", "in qcheck.toml, under [providers.silent.models")]
)
def test_who_cannot_be_judged_is_asked_nothing_and_told_how(
    tmp_path: Path, suite: Suite, shipped: Reference, way: Any, why: str, automatic: bool
) -> None:
    known = replace(SILENT, dialect=Dialect(thinking_off=way))
    asked = replace(question([(suite, shipped)], known), automatic=automatic)
    result, folder, manifest = conducted(tmp_path, asked, known)
    (provider,) = result.providers
    assert (provider.verdict, provider.stop_reason, provider.requests) == ("inconclusive", "not judged", 0)
    assert why in provider.summary
    assert result.exit_code == 3
    assert manifest.providers[0].unjudged is not None
    assert verify(folder).differences == ()


def test_an_explicit_suite_that_does_not_fit_what_was_found_is_not_asked(both: Asked) -> None:
    pinned = NONE.model_copy(update={"temperature": 0.6, "greedy": False})
    sampled = [asked for asked in text_suites(MODEL, [shipped_folder("baselines")]) if asked[0].name == "samples"]
    manifest = promised(sampled, pinned, OFFER, automatic=False)
    assert [manifest.suites_of(p) for p in manifest.providers] == [(), ("samples",)]
    assert "temperature 0.6 alone is accepted" in str(manifest.providers[0].unjudged)


def test_suites_of_ones_own_are_found_where_suite_new_writes_them(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites" / "broken").mkdir(parents=True)
    (tmp_path / "suites" / "broken" / "suite.json").write_text("{}")
    copy = tmp_path / "suites" / "mine"
    copy.mkdir()
    about = json.loads((load_suite("samples").folder / "suite.json").read_text())
    (copy / "suite.json").write_text(json.dumps(about | {"name": "mine", "temperature": 0.6}))
    names = [suite.name for suite, _ in text_suites(MODEL, [shipped_folder("baselines")])]
    assert names == ["lab-answers", "samples", "mine"]
