"""Recording from a real engine: resumable, atomic, calibrated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_endpoint import listening
from thinking_endpoint import ThinkingEndpoint

from qcheck.baselines import BaselineManifest, load_baseline
from qcheck.errors import BaselineError
from qcheck.jobs.compare import clients
from qcheck.jobs.record import Recording, RecordingError, find_out, recalibrate, record
from qcheck.jobs.reference import Reference
from qcheck.lab.supervisor import Lab
from qcheck.records import Attempt, Position, Request, Response
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint, Price
from qcheck.run.budget import Limits
from qcheck.run.execute import Asker
from qcheck.suites import Suite, load_suite


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A suite of 20 evaluation, 30 selection and 110 calibration probes, short ones."""
    folder = tmp_path_factory.mktemp("small")
    shipped = load_suite("logprobs")
    manifest = json.loads((shipped.folder / "suite.json").read_text()) | {"name": "small", "max_tokens": 2}
    (folder / "suite.json").write_text(json.dumps(manifest))
    wanted = {"evaluation": 20, "selection": 30, "calibration": 110}
    lines = []
    for line in (shipped.folder / "probes.jsonl").read_text().splitlines():
        probe = json.loads(line)
        if probe["stratum"] == "words" and wanted[probe["fold"]]:
            wanted[probe["fold"]] -= 1
            lines.append(line)
    (folder / "probes.jsonl").write_text("\n".join(lines) + "\n")
    return load_suite(str(folder))


class Failing:
    """Passes requests on until `limit` of them were asked; then the endpoint is gone."""

    def __init__(self, inner: Asker, limit: int) -> None:
        self.inner, self.limit, self.asked = inner, limit, 0

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncIterator[Attempt]:
        self.asked += 1
        if self.asked > self.limit:
            yield Attempt(
                provider, seq, request.probe_id, 0, "2026-11-23T00:00:00Z", 0.0, "failed", error="gone", fatal=True
            )
            return
        async for attempt in self.inner.ask(request, provider, seq):
            yield attempt


def _record(lab: Lab, suite: Suite, what: Recording, provider: str, limit: int = 10**9) -> tuple[BaselineManifest, int]:
    endpoint = replace(lab.endpoint(provider), date_string="01 Feb 2026")

    async def go() -> tuple[BaselineManifest, int]:
        async with clients([endpoint], {}, 4) as askers:
            failing = Failing(askers[endpoint.name], limit)
            return await record(what, get_model("lab-tiny"), suite, endpoint, failing), failing.asked

    return asyncio.run(go())


def test_an_interrupted_recording_goes_on_and_the_envelope_is_calibrated(
    lab: Lab, small: Suite, tmp_path: Path
) -> None:
    """Within a limit of as many requests as it takes: what failed is asked again."""
    folder = tmp_path / "baseline"
    what = Recording(
        folder, "one", "first", "reference", "self-hosted", repeats=2, limits=Limits(max_requests=2 * 20 + 30 + 110)
    )
    with pytest.raises(RecordingError, match="run the same command again"):
        _record(lab, small, what, "honest", limit=50)
    assert not (folder / "manifest.json").exists()
    manifest, asked = _record(lab, small, what, "honest")
    assert asked == 2 * 20 + 30 + 110 - 50
    assert manifest.deployments[0].date_string == "01 Feb 2026"
    assert not list(folder.glob(".recording*"))
    assert not recalibrate(folder, small)

    _record(lab, small, Recording(folder, "two", "second", "reference", "self-hosted"), "honest-bf16")
    _record(lab, small, Recording(folder, "bad", "variant", "variant", "self-hosted"), "q2_k")
    assert recalibrate(folder, small)
    baseline = load_baseline(folder)
    assert baseline.table is not None
    assert [d.name for d in baseline.manifest.deployments] == ["one", "two", "bad"]
    size = next(e for e in baseline.table.events if e.score == "size")
    (count,) = size.counts.values()
    assert count.clusters == 110
    assert count.shown["bad"] > 100
    assert max(count.honest.values()) < 20
    assert len(manifest.deployments) == 1


def test_beside_a_server_that_was_recorded_twice_nobody_honest_deviates(
    lab: Lab, small: Suite, tmp_path: Path, run: Any
) -> None:
    folder = tmp_path / "baseline"
    for name in ("one", "again"):
        _record(lab, small, Recording(folder, name, "", "reference", "self-hosted", repeats=1), "honest")
    with pytest.raises(BaselineError, match=r"one, again differ by 0\.0001 nats .* one that computes in bfloat16"):
        recalibrate(folder, small)
    asked = [replace(lab.endpoint(name), date_string="01 Feb 2026") for name in ("honest-bf16", "q2_k")]
    result, _ = run(asked, Reference(load_baseline(folder)), asked=small)
    assert [p.verdict for p in result.providers] == ["inconclusive", "deviates"]  # by more than the margin


def test_another_suite_or_recording_under_the_same_name_is_refused(lab: Lab, small: Suite, tmp_path: Path) -> None:
    what = Recording(tmp_path, "one", "first", "reference", "self-hosted", repeats=1)
    with pytest.raises(RecordingError):
        _record(lab, small, what, "honest", limit=5)
    with pytest.raises(BaselineError, match="unfinished recording"):
        _record(lab, small, Recording(tmp_path, "one", "x", "variant", "self-hosted", repeats=1), "honest")
    _record(lab, small, what, "honest")
    with pytest.raises(BaselineError, match="--out"):
        _record(lab, load_suite("logprobs"), what, "honest", limit=5)


def test_answers_that_were_paid_for_stay_whoever_they_are_of(lab: Lab, small: Suite, tmp_path: Path) -> None:
    what = Recording(tmp_path, "one", "first", "reference", "self-hosted", repeats=1)
    with pytest.raises(RecordingError):
        _record(lab, small, what, "honest", limit=5)
    work = tmp_path / ".recording-one"
    kept = (work / "journal.jsonl").read_bytes()
    (work / "recording.json").unlink()
    with pytest.raises(BaselineError, match="of another endpoint with the same name"):
        _record(lab, small, what, "honest")
    assert (work / "journal.jsonl").read_bytes() == kept
    (work / "recording.json").write_bytes(b"{")
    with pytest.raises(BaselineError, match="is damaged: remove it to begin anew"):
        _record(lab, small, what, "honest")
    assert (work / "journal.jsonl").read_bytes() == kept


class Instant:
    """Answers at once; `meanwhile` happens before the first answer."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]] | None = None) -> None:
        self.meanwhile = meanwhile

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncIterator[Attempt]:
        if self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        response = Response("a", (Position("a", -0.1, (("a", -0.1), ("b", -2.0))),), 3, 1, None, "stop", "m", None)
        yield Attempt(
            provider, seq, request.probe_id, 0, "2026-11-23T00:00:00Z", 0.1, "answered", 200, response=response
        )


async def test_two_recordings_into_one_folder_at_a_time_lose_nobody(small: Suite, tmp_path: Path) -> None:
    endpoint = Endpoint("mine", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", "m", None)
    model = get_model("lab-tiny")

    async def second() -> None:
        await record(Recording(tmp_path, "two", "", "reference", "self-hosted"), model, small, endpoint, Instant())

    first = Recording(tmp_path, "one", "", "reference", "self-hosted")
    await record(first, model, small, endpoint, Instant(second))
    assert [d.name for d in load_baseline(tmp_path).manifest.deployments] == ["two", "one"]


async def test_what_a_limit_ended_goes_on_with_a_higher_one(small: Suite, tmp_path: Path) -> None:
    endpoint, model = (
        Endpoint("mine", "https://h", "https://h", "m", None, price=Price(0.0, 0.0)),
        get_model("lab-tiny"),
    )
    what = Recording(tmp_path, "one", "", "reference", "third-party")
    needed = what.requests(small)
    with pytest.raises(RecordingError, match=rf"100 of {needed} .* with a higher --max-requests"):
        await record(what, model, small, endpoint, Instant())
    more = replace(what, limits=Limits(max_requests=needed))
    assert [d.name for d in (await record(more, model, small, endpoint, Instant())).deployments] == ["one"]


@pytest.mark.parametrize("observes", [["logprobs"], ["logprobs", "answers"]])
async def test_text_is_recorded_where_the_suite_observes_answers(
    small: Suite, tmp_path: Path, observes: list[str]
) -> None:
    suite = replace(small, manifest=small.manifest.model_copy(update={"observes": observes}))
    endpoint = Endpoint("mine", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1", "m", None)
    what = Recording(tmp_path, "one", "", "reference", "self-hosted")
    await record(what, get_model("lab-tiny"), suite, endpoint, Instant())
    baseline = load_baseline(tmp_path)
    reference = baseline.probe(suite.fold("evaluation")[0].id)
    calibration = baseline.calibration_answers(0)
    assert reference is not None
    assert calibration is not None
    text = "a" if "answers" in observes else None
    assert reference.answers[0][0].text == text
    assert {answer.text for answer in calibration.values()} == {text}


async def test_what_is_found_out_first_counts_and_is_asked_once(small: Suite, tmp_path: Path) -> None:
    served, model = ThinkingEndpoint(way="enable_thinking"), get_model("lab-tiny")
    what = Recording(tmp_path, "one", "", "reference", "self-hosted", repeats=1)
    async with listening(served.application(), dialect=Dialect(thinking_off="unknown")) as untold:
        endpoint = await find_out(what, model, small, untold, None)
        asked = len(served.asked)
        assert (endpoint.dialect.thinking_off, asked) == ("enable_thinking", 6)
        assert await find_out(what, model, small, untold, None) == endpoint
        assert len(served.asked) == asked
        needed = what.requests(small) + asked
        few, enough = (replace(what, limits=Limits(max_requests=n)) for n in (asked, needed))
        async with clients([endpoint], {}, 4) as askers:
            with pytest.raises(RecordingError, match=r"0 of \d+ .* with a higher --max-requests"):
                await record(few, model, small, endpoint, askers[endpoint.name])
            manifest = await record(enough, model, small, endpoint, askers[endpoint.name])
    assert len(served.asked) == needed
    (deployment,) = manifest.deployments
    assert deployment.thinking_off == "enable_thinking"


async def test_what_shows_nothing_that_the_suite_observes_is_not_recorded(small: Suite, tmp_path: Path) -> None:
    what = Recording(tmp_path, "one", "", "reference", "self-hosted")
    for served, why in (
        (ThinkingEndpoint(), "no way was found to keep the model from thinking"),
        (ThinkingEndpoint(by_default=False, refused=("logprobs",)), "none are given"),
    ):
        async with listening(served.application(), dialect=Dialect(thinking_off="unknown")) as endpoint:
            with pytest.raises(RecordingError, match=why):
                await find_out(replace(what, name=f"n{len(why)}"), get_model("lab-tiny"), small, endpoint, None)
    assert not (tmp_path / "manifest.json").exists()
