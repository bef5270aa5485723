"""Text that live deployments score, in a run: over real sockets, on a small random model and on real engines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from open_endpoint import listening
from scoring_endpoint import ScoringEndpoint

from qcheck.errors import ConfigurationError
from qcheck.jobs.compare import Settings, clients, compare, make_manifest, start_run
from qcheck.jobs.discover import Discovery
from qcheck.jobs.estimate import estimate
from qcheck.jobs.inquiry import Inquiry
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.reference import Reference, choose_references
from qcheck.jobs.rehearsal import planned, rehearse
from qcheck.jobs.verify import verify
from qcheck.jsonio import pretty
from qcheck.lab.supervisor import Lab
from qcheck.records import Attempt
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint, Price, PromptFormat
from qcheck.result import ProviderResult, Result
from qcheck.run.budget import Budget, Limits
from qcheck.run.folder import RunFolder
from qcheck.run.journal import read_journal
from qcheck.suites import FOLDS, Suite, load_suite, save_suite

MODEL = get_model("lab-tiny")
VERBATIM = PromptFormat(user="{content}", assistant="{content}", system="{content}", answer="", no_thought="")
PLAIN = Dialect(plain_samples="vllm")
AT_MOST, FREE = Limits(max_requests=16), Price(0.0, 0.0)


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A small suite like the shipped one: what it asks, and of texts half as long."""
    folder = tmp_path_factory.mktemp("suites") / "small"
    shipped, base = load_suite("scored").manifest, load_suite("logprobs")
    probes = [p for p in base.probes if p.stratum == shipped.stratum]
    few = [p for fold in FOLDS for p in [p for p in probes if p.fold == fold][:30]]
    save_suite(folder / "base", base.manifest.model_copy(update={"name": "base"}), few)
    about = shipped.model_copy(update={"name": "small", "of": "base", "max_tokens": 16})
    (folder / "suite.json").write_bytes(pretty(about.model_dump(exclude_none=True)).encode())
    return load_suite(str(folder))


@dataclass
class Scene:
    """Providers, by name, and who scores their texts; all of them listen where `endpoints` says."""

    suite: Suite
    folder: RunFolder
    providers: dict[str, ScoringEndpoint]
    references: dict[str, ScoringEndpoint]
    variants: dict[str, ScoringEndpoint]
    limits: Limits = AT_MOST
    price: Price = FREE
    dialect: Dialect = PLAIN

    @asynccontextmanager
    async def endpoints(self) -> AsyncIterator[dict[str, Endpoint]]:
        async with AsyncExitStack() as stack:
            yield {
                name: await stack.enter_async_context(
                    listening(
                        it.application(),
                        name=name,
                        spec=name,
                        display=name,
                        price=self.price,
                        prompt_format=VERBATIM,
                        dialect=self.dialect,
                    )
                )
                for name, it in (self.providers | self.references | self.variants).items()
            }

    async def run(self) -> Result:
        """Begin the run, or go on with it."""
        async with self.endpoints() as found:
            providers, references, variants = (
                tuple(found[name] for name in names) for names in (self.providers, self.references, self.variants)
            )
            asked = [(self.suite, Reference(scored_by=references, variants=variants))]
            settings = Settings(5, limits=self.limits)
            if not (self.folder.path / "manifest.json").exists():
                now = datetime.now(UTC)
                start_run(self.folder, make_manifest(self.folder.run_id, now, MODEL, providers, asked, settings))
            manifest = RunManifest.parse(self.folder.read_manifest())
            everyone = [*providers, *references, *variants]
            async with clients(everyone, {}, 4) as askers:
                return await compare(self.folder, manifest, manifest.load_panels(), everyone, askers)


@pytest.fixture
def scene(tmp_path: Path, scored: Suite) -> Any:
    def built(providers: dict[str, ScoringEndpoint], **changes: Any) -> Scene:
        number = len(list(tmp_path.iterdir()))
        them = {"references": {"ours": ScoringEndpoint()}, "variants": {"int4": ScoringEndpoint(deviation=0.8)}}
        return Scene(scored, RunFolder.create(tmp_path, f"r{number}"), providers, **(them | changes))

    return built


def of(result: Result, name: str) -> ProviderResult:
    return next(p for p in result.providers if p.name == name)


def kinds(provider: ProviderResult) -> set[str]:
    return {finding.kind for finding in provider.findings}


def test_the_variant_that_is_looked_for_deviates_and_the_reference_does_not(scene: Any) -> None:
    parties = scene({"honest": ScoringEndpoint(), "other": ScoringEndpoint(deviation=0.8)})
    result = asyncio.run(parties.run())
    honest, other = of(result, "honest"), of(result, "other")
    assert (honest.verdict, other.verdict) == ("inconclusive", "deviates")
    assert other.decided_by == "evidence"
    assert "within 0.04 nats of the live references" in other.summary
    assert result.reference.variants == ("int4",)
    assert result.reference.margin_nats == 0.04
    assert verify(parties.folder).differences == ()
    body = parties.providers["other"].chats[0]
    assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (1.0, 1, -1, 16)
    attempts = read_journal(parties.folder.journal)
    answers = {by: {a.seq for a in attempts if (a.provider, a.scores) == (by, None)} for by in ("honest", "other")}
    for scorer in ("ours", "int4"):
        assert {a.seq for a in attempts if (a.provider, a.scores) == (scorer, "honest")} == answers["honest"]
        of_other = {a.seq for a in attempts if (a.provider, a.scores) == (scorer, "other")}
        assert len(of_other) >= other.evidence[0].requests  # what was in flight when it was decided need not be scored
        assert of_other <= answers["other"]
    assert result.totals.requests == len(attempts)


def test_who_is_not_known_to_draw_plainly_is_asked_for_nothing_and_judged_with_care(scene: Any) -> None:
    parties = scene({"other": ScoringEndpoint(deviation=0.8)}, dialect=Dialect(), limits=Limits(max_requests=6))
    careful = of(asyncio.run(parties.run()), "other")
    assert "top_p" not in parties.providers["other"].chats[0]
    (withheld,) = [finding.text for finding in careful.findings if finding.kind == "withheld"]
    assert "cuts the tail" in withheld
    plain = scene({"other": ScoringEndpoint(deviation=0.8)}, limits=Limits(max_requests=6))
    assert of(asyncio.run(plain.run()), "other").log_e_value > careful.log_e_value


def test_of_two_references_the_nearer_one_counts(scene: Any) -> None:
    references = {"ours": ScoringEndpoint(), "theirs": ScoringEndpoint(deviation=0.8)}
    parties = scene({"other": ScoringEndpoint(deviation=0.8)}, references=references)
    result = asyncio.run(parties.run())
    assert of(result, "other").verdict == "inconclusive"
    assert result.reference.deployments == ("ours", "theirs")


@pytest.mark.parametrize("keep", [1, 2, 8])
def test_a_run_goes_on_where_scores_are_missing(scene: Any, keep: int) -> None:
    """The journal of a killed run may end anywhere; nothing that was answered or scored is asked again."""
    parties = scene({"honest": ScoringEndpoint()}, limits=Limits(max_requests=6))
    whole = asyncio.run(parties.run())
    lines = parties.folder.journal.read_bytes().splitlines(keepends=True)
    parties.folder.journal.write_bytes(b"".join(lines[:keep]))
    kept = read_journal(parties.folder.journal)
    for party in (parties.providers["honest"], parties.references["ours"], parties.variants["int4"]):
        party.chats.clear()
        party.scored.clear()
    again = asyncio.run(parties.run())
    assert len(read_journal(parties.folder.journal)) == 18
    own = [a for a in kept if a.scores is None]
    assert len(parties.providers["honest"].chats) == 6 - len(own)
    assert len(parties.references["ours"].scored) == 6 - sum(a.provider == "ours" for a in kept)
    assert of(again, "honest").deviating.of == of(whole, "honest").deviating.of == 6
    assert verify(parties.folder).differences == ()


def test_an_answer_without_its_scores_is_no_evidence_in_a_replay(scene: Any) -> None:
    parties = scene({"other": ScoringEndpoint(deviation=0.8)}, limits=Limits(max_requests=6))
    asyncio.run(parties.run())
    lines = parties.folder.journal.read_bytes().splitlines(keepends=True)
    first = next(i for i, a in enumerate(read_journal(parties.folder.journal)) if a.provider == "ours" and a.seq == 0)
    parties.folder.journal.write_bytes(b"".join(lines[:first] + lines[first + 1 :]))
    assert of(verify(parties.folder).result, "other").deviating.of == 0


def test_scoring_that_fails_never_accuses_and_ends_the_asking(scene: Any) -> None:
    parties = scene({"other": ScoringEndpoint(deviation=0.8)}, references={"ours": ScoringEndpoint(scores=1)})
    result = asyncio.run(parties.run())
    other = of(result, "other")
    assert (other.verdict, other.stop_reason) == ("inconclusive", "reference unavailable")
    assert "scoring_ended" in kinds(other)
    assert len(parties.providers["other"].chats) < 16
    assert verify(parties.folder).differences == ()


@pytest.mark.parametrize("usd", [0.0015, 0.004])
def test_scoring_is_paid_from_the_same_budget(scene: Any, usd: float) -> None:
    limits = Limits(budget_usd=usd)
    parties = scene({"honest": ScoringEndpoint()}, limits=limits, price=Price(1.0, 1.0))
    result = asyncio.run(parties.run())
    attempts = read_journal(parties.folder.journal)
    assert sum(a.charged_usd or 0.0 for a in attempts) <= usd
    assert of(result, "honest").stop_reason == "budget"
    assert any(a.scores for a in attempts)
    assert result.totals.cost_usd == pytest.approx(sum(a.charged_usd or 0.0 for a in attempts))
    assert verify(parties.folder).differences == ()


def rehearsed(scorer: ScoringEndpoint, suite: Suite, left_s: float | None = None) -> tuple[str | None, list[Attempt]]:
    attempts: list[Attempt] = []

    async def once() -> str | None:
        async with listening(scorer.application(), prompt_format=VERBATIM) as endpoint:
            asking = Inquiry(endpoint, None, Budget(Limits(), {}), seq=-3, on_attempt=attempts.append)
            return await rehearse(asking, suite, left_s)

    return asyncio.run(once()), attempts


def test_who_scores_must_find_again_what_it_has_said(scored: Suite) -> None:
    why, attempts = rehearsed(ScoringEndpoint(), scored)
    assert why is None
    assert [a.seq for a in attempts] == [-3, -4, -5, -6, -7, -8]
    endpoint = Endpoint("e", "e", "http://127.0.0.1:9/v1", "m", None, price=Price(1.0, 1.0), prompt_format=VERBATIM)
    plan = planned(Discovery(2, 3, 0.0), endpoint, scored)
    assert (plan.fewest, plan.most) == (8, 9)
    assert plan.cost_usd is not None and plan.cost_usd > 0


@pytest.mark.parametrize(
    ("scorer", "words"),
    [
        (ScoringEndpoint(template="Be brief. "), "another prompt"),
        (ScoringEndpoint(template="Be brief. ", forgotten=True), "another prompt"),
        (ScoringEndpoint(echoes=False), "echo"),
        (ScoringEndpoint(scores=0), "out of memory"),
    ],
    ids=["another prompt", "another one at first", "no echo", "refused"],
)
def test_a_scorer_that_cannot_be_used_is_found_out_before_anybody_is_asked(
    scored: Suite, scorer: ScoringEndpoint, words: str
) -> None:
    why, _ = rehearsed(scorer, scored)
    assert why is not None and words in why


def test_a_rehearsal_ends_with_the_deadline(scored: Suite) -> None:
    slow = ScoringEndpoint(pause_s=30.0)
    why, attempts = rehearsed(slow, scored, left_s=0.2)
    assert why is not None and "within 0.2 s" in why
    assert [a.response for a in attempts] == [None]
    why, attempts = rehearsed(slow, scored, left_s=0.0)
    assert why is not None and "no time" in why
    assert not attempts


def test_the_plan_counts_what_is_scored(scored: Suite) -> None:
    url = "http://127.0.0.1:9/v1"
    a, b, ours, int4 = (
        Endpoint(n, n, url, "m", None, spec=n, price=Price(1.0, 2.0), prompt_format=VERBATIM)
        for n in ("a", "b", "ours", "int4")
    )
    asked = [(scored, Reference(scored_by=(ours,), variants=(int4,)))]
    settings = Settings(1, limits=Limits(max_requests=30))
    manifest = make_manifest("r", datetime.now(UTC), MODEL, [a, b], asked, settings)
    plan = estimate(manifest, manifest.load_panels())
    assert [(p.name, p.role, p.requests_max) for p in plan.providers] == [
        ("a", "provider", 30), ("b", "provider", 30), ("ours", "reference", 60), ("int4", "variant", 60),
    ]  # fmt: skip
    assert plan.requests_max == 180
    assert all(p.cost_usd for p in plan.providers)
    assert "never agreement" in plan.detectability


def test_the_plan_holds_who_scores_to_the_limit(scored: Suite) -> None:
    """It may be asked so often for itself, and again for each provider."""
    provider = Endpoint("p", "p", "http://127.0.0.1:9/v1", "m", None, price=Price(1.0, 2.0))
    ours = replace(provider, name="ours", prompt_format=VERBATIM)
    manifest = make_manifest(
        "r",
        datetime.now(UTC),
        MODEL,
        [provider],
        [(scored, Reference(scored_by=(ours,)))],
        Settings(1, limits=Limits(max_requests=9)),
    )
    plan = estimate(manifest, manifest.load_panels(), {"ours": Discovery(8, 20, 0.0)})
    assert [(p.suite, p.requests_max) for p in plan.providers if p.name == "ours"] == [("discovery", 9), ("small", 9)]
    assert plan.requests_max == 27
    with pytest.raises(ConfigurationError, match=r"--max-requests 9 .* ours can score texts.*: allow 10 or more"):
        estimate(manifest, manifest.load_panels(), {"ours": Discovery(10, 20, 0.0)})


def choose(suite: Suite, reference: str | None, variants: str | None = None, **changes: Any) -> Reference:
    class Everybody:
        def resolve(self, spec: str, _model: Any) -> Endpoint:
            form = {"prompt_format": VERBATIM} | changes
            return Endpoint(spec, spec, "http://127.0.0.1:9/v1", "m", None, **form)

        def names(self) -> tuple[str, ...]:
            return ()

    (found,) = choose_references(reference, MODEL, [suite], [], [Everybody()], {}, (), variants)
    return found


def test_live_deployments_are_named_on_the_command_line(scored: Suite, suite: Suite) -> None:
    found = choose(scored, "live:a, live:b", "live:c")
    assert [e.name for e in found.endpoints] == ["a", "b", "c"]
    assert [e.name for e in found.variants] == ["c"]
    for bad, words in (
        ((scored, "live:a,b", None), "number 2 is none"),
        ((scored, "live:a", "c"), "--variant takes live deployments"),
        ((suite, "live:a", "live:c"), "--suite scored"),
        ((suite, "live:a,live:b", None), "name one"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            choose(*bad)
    with pytest.raises(ConfigurationError, match=r"chat template as prompt_format under \[providers\.a\.models"):
        choose(scored, "live:a", prompt_format=None)


def manifest_of(suite: Suite, reference: Reference, provider: Endpoint) -> Any:
    return make_manifest("r", datetime.now(UTC), MODEL, [provider], [(suite, reference)], Settings(1))


def test_what_cannot_be_scored_is_refused_beforehand(scored: Suite) -> None:
    provider = Endpoint("p", "p", "http://127.0.0.1:9/v1", "m", None)
    ours = replace(provider, name="ours", prompt_format=VERBATIM)
    refused: Sequence[tuple[Reference, Endpoint, str]] = (
        (choose(scored, None), provider, "--reference live:NAME"),
        (Reference(scored_by=(ours,)), replace(provider, thinks_always=True), "thinks first"),
        (Reference(scored_by=(ours,)), replace(provider, temperature=0.6), "temperature 0.6 alone"),
        (Reference(scored_by=(ours,)), replace(provider, name="ours"), "leave it out"),
        (Reference(scored_by=(ours,), variants=(ours,)), provider, "twice"),
    )
    for reference, asked, words in refused:
        with pytest.raises(ConfigurationError, match=words):
            manifest_of(scored, reference, asked)


def test_a_4_bit_deployment_deviates_and_an_honest_one_on_another_engine_does_not(lab: Lab, run: Any) -> None:
    """On real engines; nine in ten runs need 21 requests at most (`python -m benchmarks scored`)."""
    asked = [
        replace(endpoint, dialect=replace(endpoint.dialect, plain_samples="llama.cpp"))
        for endpoint in lab.endpoints(["honest-b", "int4"], "lab-twin")
    ]
    ours, theirs = lab.endpoints(["honest-torch-f32", "int4-bf16"], "lab-twin")
    reference = Reference(scored_by=(ours,), variants=(theirs,))
    verdicts = []
    for endpoint, most in zip(asked, (8, 100), strict=True):
        settings = Settings(3, limits=Limits(max_requests=most))
        result, folder = run([endpoint], reference, settings, load_suite("scored"), model=get_model("lab-twin"))
        verdicts.append(result.providers[0])
        assert verify(folder).differences == ()
    honest, int4 = verdicts
    assert (honest.verdict, int4.verdict) == ("inconclusive", "deviates")
    assert honest.log_e_value < math.log(3)
    assert int4.deviating.answers >= 2
