"""The main job on real engines with the shipped baseline."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qcheck.errors import BaselineError, ConfigurationError, RunFolderError
from qcheck.jobs.compare import Settings, clients, compare, make_manifest
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.reference import Reference, choose_references
from qcheck.jobs.verify import verify
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.registry.types import Endpoint
from qcheck.result import Result, json_schema, result_to_json
from qcheck.run.budget import Limits
from qcheck.suites import Suite, shipped_folder

EXPECTED = {
    "honest": "consistent",
    "honest-b": "consistent",
    "q4_k_m": "deviates",
    "q2_k": "deviates",
    "finetuned": "deviates",
    "honest?system=Be+brief.": "deviates",
    "q4_k_m?route=0.1": "deviates",
}


FEW = Settings(3, tolerance=0.3)  # which few requests show


def verdicts(result: Result) -> dict[str, str]:
    return {p.name: p.verdict for p in result.providers}


def test_verdicts_follow_the_weights_not_names_or_ports(lab: Lab, run: Any) -> None:
    """Names are dealt out anew, each endpoint is called what another one is; every other one is at another port."""
    names = list(EXPECTED)
    shifted = names[3:] + names[:3]
    with Lab(seed=12) as other:
        labs = [(lab, other)[i % 2] for i in range(len(names))]
        endpoints = [
            replace(where.endpoint(real), name=f"p-{shown}")
            for where, real, shown in zip(labs, names, shifted, strict=True)
        ]
        assert len({e.base_url.split("/")[2] for e in endpoints}) == 2
        result, folder = run(endpoints)
    assert verdicts(result) == {f"p-{shown}": EXPECTED[real] for real, shown in zip(names, shifted, strict=True)}
    assert result.exit_code == 1
    for provider, real in zip(result.providers, names, strict=True):
        if provider.verdict == "deviates":
            assert provider.likely_cause is not None
            assert provider.deviating.answers >= 2 or provider.decided_by == "finding"
            named = provider.nearest[0].probability >= 0.5 and provider.nearest[0].variant != "none of these"
            assert (provider.routing_fraction.estimate is not None) == named
        else:
            assert provider.routing_fraction.high <= 0.05
            assert real.startswith("honest")
    jsonschema.validate(result_to_json(result), json_schema())
    assert verify(folder).differences == ()


def test_causes_are_named(lab: Lab, run: Any) -> None:
    result, _ = run([lab.endpoint(n) for n in ("q4_k_m", "q2_k", "finetuned", "honest?system=Be+brief.")])
    causes = [p.likely_cause.text for p in result.providers if p.likely_cause]
    assert [c.split()[-1] for c in causes[:3]] == ["q4_k_m", "q2_k", "finetuned"]
    assert "hidden system prompt" in causes[3]


def test_a_tampered_result_or_journal_does_not_verify(lab: Lab, run: Any) -> None:
    _, folder = run([lab.endpoint("honest")], settings=FEW)
    path = folder.path / "result.json"
    written = path.read_text()
    path.write_text(written.replace('"consistent"', '"deviates"', 1))
    assert verify(folder).differences
    path.write_text(written)
    assert verify(folder).differences == ()
    manifest = folder.path / "manifest.json"
    kept = manifest.read_text()
    bound = json.loads(kept)["suites"][0]["envelope"]["levels"]["full"][2]["null_bounds"]["words"]
    manifest.write_text(kept.replace(str(bound), str(bound * 1.5), 1))
    assert any("envelope" in d for d in verify(folder).differences)
    manifest.write_text(kept)
    lines = folder.journal.read_text().splitlines()
    folder.journal.write_text("\n".join(lines[:-6]) + "\n")
    assert verify(folder).differences
    first, second, *rest = lines
    one, two = json.loads(first), json.loads(second)
    one["probe_id"], two["probe_id"] = two["probe_id"], one["probe_id"]
    folder.journal.write_text("\n".join([json.dumps(one), json.dumps(two), *rest]) + "\n")
    with pytest.raises(RunFolderError, match="does not follow the run's plan"):
        verify(folder)
    path.unlink()
    with pytest.raises(RunFolderError, match="resume"):
        verify(folder)


def test_where_nobody_listens_a_provider_is_unavailable_and_the_others_go_on(lab: Lab, run: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    dead = Endpoint("dead", "nowhere", f"http://127.0.0.1:{port}/v1", "lab-tiny", None)
    result, _ = run([dead, lab.endpoint("honest")])
    assert verdicts(result) == {"dead": "unavailable", "lab/honest": "consistent"}
    assert result.exit_code == 3
    assert result.providers[0].unavailable_reason


def test_noise_in_every_answer_is_not_taken_for_other_weights(lab: Lab, run: Any) -> None:
    """Nor is a live reference's; 4-bit weights behind less noise than they deviate by are found all the same."""
    names = ["honest-b?noise=0.1", "honest-b?noise=0.1&k=5", "q4_k_m?noise=0.02", "q4_k_m"]
    result, folder = run([lab.endpoint(name) for name in names])
    assert [p.verdict for p in result.providers] == ["inconclusive", "inconclusive", "deviates", "deviates"]
    assert [p.stop_reason for p in result.providers][:2] == ["unsteady", "unsteady"]
    assert all("asked again" in p.summary for p in result.providers[:2])
    assert verify(folder).differences == ()
    live = Reference(None, live=lab.endpoint("honest?noise=0.2"))
    result, folder = run([lab.endpoint("honest-b"), lab.endpoint("honest-f32")], live)
    assert {p.verdict for p in result.providers} == {"inconclusive"}
    assert verify(folder).differences == ()


def test_a_live_reference_needs_more_than_the_margin(lab: Lab, run: Any) -> None:
    live = Reference(live=lab.endpoint("honest"))
    result, folder = run([lab.endpoint("honest-b"), lab.endpoint("q2_k")], live)
    assert verdicts(result) == {"lab/honest-b": "consistent", "lab/q2_k": "deviates"}
    assert result.reference.kind == "live"
    assert result.reference.margin_nats
    other = result.providers[1]
    assert "nats/token from the reference where it deviates" in (other.likely_cause.text if other.likely_cause else "")
    assert other.routing_fraction.estimate is None
    assert verify(folder).differences == ()


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["honest", "honest-b"], [["honest", "honest-b"]]),
        (["honest", "q2_k"], [["honest"], ["q2_k"]]),
        (["honest", "honest-b", "finetuned"], [["finetuned"], ["honest", "honest-b"]]),
        (["honest", "q2_k", "finetuned"], [["finetuned"], ["honest"], ["q2_k"]]),
    ],
)
def test_without_a_reference_nobody_is_accused(lab: Lab, run: Any, names: list[str], groups: list[list[str]]) -> None:
    result, folder = run([lab.endpoint(n) for n in names], Reference())
    assert [[m.removeprefix("lab/") for m in g] for g in result.groups or ()] == groups
    assert set(verdicts(result).values()) == {"inconclusive"}
    assert result.exit_code == 3
    assert verify(folder).differences == ()


def test_limits_end_a_run_undecided_and_say_what_is_missing(lab: Lab, run: Any) -> None:
    result, folder = run([lab.endpoint("honest")], settings=Settings(3, limits=Limits(max_requests=20)))
    provider = result.providers[0]
    assert (provider.verdict, provider.stop_reason, provider.requests) == ("inconclusive", "max_requests", 20)
    assert provider.needed_requests
    assert str(provider.needed_requests) in provider.summary
    assert provider.summary.endswith(
        "stopped, as no more requests may be sent (--max-requests, or a plan that pays for them)"
    )
    assert verify(folder).differences == ()


def test_a_run_that_was_cut_short_goes_on_with_higher_limits(lab: Lab, run: Any) -> None:
    endpoints = [lab.endpoint("honest")]
    whole, _ = run(endpoints, settings=FEW)
    _, folder = run(endpoints, settings=replace(FEW, limits=Limits(max_requests=5)))
    manifest = RunManifest.parse(folder.read_manifest())

    async def further() -> Result:
        limits = Limits(max_requests=100).over(manifest.budget_limits())
        async with clients(endpoints, {}, 4) as askers:
            return await compare(folder, manifest, manifest.load_panels(), endpoints, askers, limits=limits)

    result = asyncio.run(further())
    assert verdicts(result) == verdicts(whole) == {"lab/honest": "consistent"}
    assert result.providers[0].deviating == whole.providers[0].deviating
    assert verify(folder).differences == ()


def test_a_live_reference_that_is_not_there_is_told_of(lab: Lab, run: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    dead = Endpoint("dead", "nowhere", f"http://127.0.0.1:{port}/v1", "lab-tiny", None)
    live = Reference(live=dead)
    result, folder = run([lab.endpoint("honest")], reference=live)
    assert result.providers[0].stop_reason == "reference unavailable"
    assert "stopped, as the reference is not there any more (dead: cannot connect" in result.providers[0].summary
    assert verify(folder).differences == ()


def test_resuming_asks_nothing_twice_and_ends_the_same(lab: Lab, run: Any) -> None:
    endpoints = [lab.endpoint("honest"), lab.endpoint("q4_k_m")]
    whole, folder = run(endpoints, settings=FEW)
    lines = folder.journal.read_text().splitlines(keepends=True)
    folder.journal.write_text("".join(lines[: len(lines) // 3]) + lines[-1][:40])
    (folder.path / "result.json").unlink()
    manifest = RunManifest.parse(folder.read_manifest())

    async def again() -> Result:
        async with clients(endpoints, {}, 4) as askers:
            return await compare(folder, manifest, manifest.load_panels(), endpoints, askers)

    resumed = asyncio.run(again())
    assert [(p.verdict, p.log_e_value, p.deviating) for p in resumed.providers] == [
        (p.verdict, p.log_e_value, p.deviating) for p in whole.providers
    ]
    rows = map(json.loads, folder.journal.read_text().splitlines())
    answered = [(r["provider"], r["seq"], r.get("scores")) for r in rows]
    assert len(answered) == len(set(answered))


def test_what_cannot_be_compared_is_refused_before_anything_is_sent(
    lab: Lab, suite: Suite, shipped: Reference, tmp_path: Path
) -> None:
    model, honest = get_model("lab-tiny"), lab.endpoint("honest")

    def manifest(reference: Reference, settings: Settings) -> RunManifest:
        return make_manifest("r", datetime.now(UTC), model, [honest], [(suite, reference)], settings)

    with pytest.raises(ConfigurationError, match="second provider"):
        manifest(Reference(), Settings(1))
    with pytest.raises(ConfigurationError, match="live reference"):
        manifest(Reference(live=honest), Settings(1))
    with pytest.raises(ConfigurationError, match="alpha"):
        manifest(shipped, Settings(1, alpha=0.0))
    other = get_model("kimi-k2.6")
    with pytest.raises(BaselineError, match="record"):
        choose_references("lab-tiny", other, [suite], [shipped_folder("baselines")], [], {})
    assert choose_references(None, other, [suite], [shipped_folder("baselines")], [], {}) == (Reference(),)
