"""A pool is asked, resumably and within its limits, and a suite is made of what tells most."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from qcheck.baselines import Baseline
from qcheck.errors import BaselineError, SuiteError
from qcheck.evidence.choice import NEAR_TIE, SEPARATING, Criteria
from qcheck.jobs.mine import MIN_CHOSEN, Mined, Source, Wanted, ask, check, draw_pool, mine, worst_cases_usd
from qcheck.jobs.record import RecordingError
from qcheck.records import Attempt, Position, Request, Response
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint, Price
from qcheck.run.budget import Limits
from qcheck.suites import FOLDS, Suite, load_suite

PROMPTS = 600


def _share(text: str, salt: str) -> float:
    """A number from 0 to 1 that depends on what is asked."""
    return hashlib.sha256(f"{salt} {text}".encode()).digest()[0] / 256


class Formula:
    """Says yes or no by how much it prefers yes: honest ones from 0 to 1 nats; `turned`, a share of prompts, the other.

    Gone after `limit` requests.
    """

    def __init__(self, *, turned: float = 0.0, salt: str = "", noise: float = 0.0, limit: int = 10**9) -> None:
        self.turned, self.salt, self.noise, self.limit, self.asked = turned, salt, noise, limit, 0

    @staticmethod
    def leads(text: str, tokens: int) -> list[float]:
        """By how many nats each token is preferred."""
        return [0.001 + _share(text, "lead" * n) for n in range(1, tokens + 1)]

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncIterator[Attempt]:
        self.asked += 1
        started = "2026-11-23T00:00:00Z"
        if self.asked > self.limit:
            yield Attempt(provider, seq, request.probe_id, 0, started, 0.0, "failed", error="gone", fatal=True)
            return
        text = request.messages[-1].content
        words = ("no", "yes") if _share(text, self.salt) < self.turned else ("yes", "no")
        positions = []
        for lead in self.leads(text, request.max_tokens):
            total = math.log(1 + math.exp(-lead - self.noise) + math.exp(-8))
            top = ((f"={words[0]}", -total), (f"={words[1]}", -lead - self.noise - total), ("=rest", -8 - total))
            positions.append(Position(*top[0], top))
        response = Response(words[0] * len(positions), tuple(positions), 3, 1, None, "stop", "m", None)
        yield Attempt(provider, seq, request.probe_id, 0, started, 0.1, "answered", 200, response=response)


@pytest.fixture
def pool(tmp_path: Path) -> Suite:
    file = tmp_path / "prompts.jsonl"
    clusters = [f"c{i // 2 if i < 100 else i}" for i in range(PROMPTS)]
    rows = ({"cluster": clusters[i], "messages": [{"role": "user", "content": f"Say {i}."}]} for i in range(PROMPTS))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return draw_pool(str(file), "greedy", None, 1, tmp_path / "made" / "pool")


def source(name: str, price: float | None = 0.0) -> Source:
    endpoint = Endpoint(
        name, f"there:{name}", "http://127.0.0.1:9/v1", "m", None, price=None if price is None else Price(price, price)
    )
    return Source(endpoint, name, "variant" if name.startswith("v") else "reference")


def asked(pool: Suite, askers: dict[str, Formula], limits: Limits = Limits()) -> Baseline:  # noqa: B008
    return asyncio.run(ask(pool, [source(name) for name in askers], get_model("lab-tiny"), askers, 4, limits))


def everyone() -> dict[str, Formula]:
    return {"h1": Formula(), "h2": Formula(noise=0.002), "v1": Formula(turned=0.9, salt="v1", noise=-0.001)}


def made(pool: Suite, askers: dict[str, Formula], criteria: Criteria, seed: int = 0) -> Mined:
    wanted = Wanted("made", "greedy", criteria, None, seed, "made by a test")
    return mine(wanted, pool, asked(pool, askers), [source(name) for name in askers], pool.folder.parent)


def test_a_suite_of_separating_probes_and_near_ties(pool: Suite) -> None:
    mined = made(pool, everyone(), Criteria(0.5, (0.0, 0.45)))
    suite = load_suite(str(pool.folder.parent))
    assert suite == mined.suite
    assert suite.manifest.observes == ["greedy_text", "prompt_tokens"]
    assert (suite.manifest.max_tokens, suite.manifest.top_logprobs) == (1, 20)
    assert suite.manifest.generator is not None
    assert suite.manifest.generator.startswith("made by a test; chosen from 600 answered prompts")
    for probe in suite.probes:
        text = probe.messages[-1].content
        if probe.stratum == SEPARATING:
            assert _share(text, "lead") > 0.499
            assert _share(text, "v1") < 0.9
        else:
            assert _share(text, "lead") < 0.45
    separating, near = mined.strata
    assert (separating.name, near.name) == (SEPARATING, NEAR_TIE)
    assert separating.flips == {"v1": separating.chosen}
    assert 0.7 < near.flips["v1"] / near.chosen < 1
    assert mined.second_flip("v1", 1.0) == 2
    tenth = mined.second_flip("v1", 0.1)
    assert tenth is not None
    assert 15 <= tenth <= 20  # 17 where every answer shows


def test_folds_share_no_cluster_and_are_of_the_usual_sizes(pool: Suite) -> None:
    mined = made(pool, everyone(), Criteria(0.5, (0.0, 0.45)))
    folds = [{p.cluster for p in mined.suite.fold(fold)} for fold in FOLDS]
    assert sum(map(len, folds)) == len(set.union(*folds)) == len(mined.suite.probes)  # one prompt of each
    shares = [len(fold) / sum(map(len, folds)) for fold in folds]
    assert shares == pytest.approx([0.30, 0.12, 0.58], abs=0.02)
    for stratum in mined.strata:
        assert stratum.evaluation == sum(p.stratum == stratum.name for p in mined.suite.fold("evaluation"))


def test_the_seed_deals_the_folds_and_nothing_else_depends_on_chance(pool: Suite, tmp_path: Path) -> None:
    recorded = asked(pool, everyone())
    sources = [source(name) for name in everyone()]

    def suite(seed: int, name: str) -> Suite:
        wanted = Wanted("made", "greedy", Criteria(0.3, None), None, seed, "made by a test")
        return mine(wanted, pool, recorded, sources, tmp_path / name).suite

    first, again, other = suite(1, "first"), suite(1, "again"), suite(2, "other")
    assert first.hash == again.hash != other.hash
    assert {p.id for p in first.probes} == {p.id for p in other.probes}


def test_nobody_is_asked_anything_twice(pool: Suite) -> None:
    gone = everyone() | {"h2": Formula(noise=0.002, limit=100)}
    with pytest.raises(RecordingError, match="h2: 100 of 600"):
        asked(pool, gone)
    back = everyone()
    recorded = asked(pool, back)
    assert Counter({name: one.asked for name, one in back.items()}) == {"h1": 0, "h2": PROMPTS - 100, "v1": 0}
    assert {d.name for d in recorded.manifest.deployments} == {"h1", "h2", "v1"}


def test_what_was_recorded_of_somebody_else_is_not_taken_for_it(pool: Suite) -> None:
    asked(pool, {"h1": Formula(), "h2": Formula()})
    elsewhere = Source(Endpoint("h1", "elsewhere", "http://127.0.0.1:9/v1", "m", None), "h1", "reference")
    with pytest.raises(BaselineError, match="h1 is recorded already"):
        asyncio.run(ask(pool, [elsewhere], get_model("lab-tiny"), {"h1": Formula()}, 4, Limits()))


def test_another_pool_in_the_same_folder_is_refused(pool: Suite, tmp_path: Path) -> None:
    asked(pool, {"h1": Formula(), "h2": Formula()})
    fewer = draw_pool(str(tmp_path / "prompts.jsonl"), "greedy", 10, 1, pool.folder)
    with pytest.raises(SuiteError, match="answers to other prompts"):
        asked(fewer, {"h1": Formula(), "h2": Formula()})


def test_variants_that_are_not_named_now_do_not_choose(pool: Suite) -> None:
    sources = [source(name) for name in ("h1", "h2", "v1")]
    recorded = asked(pool, everyone() | {"v2": Formula(turned=1.0)})
    mined = mine(
        Wanted("made", "greedy", Criteria(0.3, None), None, 0, ""), pool, recorded, sources, pool.folder.parent
    )
    assert list(mined.strata[0].flips) == ["v1"]


def test_too_few_probes_say_how_many_prompts_would_do(pool: Suite) -> None:
    with pytest.raises(SuiteError, match=rf"0 separating ones were found, and an envelope takes {MIN_CHOSEN}"):
        made(pool, {"h1": Formula(), "h2": Formula(), "v2": Formula()}, Criteria(0.3, None))
    with pytest.raises(SuiteError, match=r"ask about [0-9]+ prompts"):
        made(pool, everyone(), Criteria(0.9, None))
    assert not (pool.folder.parent / "suite.json").exists()


def test_a_kind_with_too_few_probes_is_left_out(pool: Suite) -> None:
    mined = made(pool, everyone(), Criteria(0.3, (0.0, 0.05)))
    assert [s.name for s in mined.strata] == [SEPARATING]
    assert 0 < mined.few[NEAR_TIE] < MIN_CHOSEN
    assert {p.stratum for p in mined.suite.probes} == {SEPARATING}


def test_prompts_whose_path_is_followed_for_log_probabilities(pool: Suite, tmp_path: Path) -> None:
    longer = draw_pool(str(tmp_path / "prompts.jsonl"), "logprobs", None, 1, tmp_path / "longer" / "pool")
    askers = {"h1": Formula(), "h2": Formula(noise=0.002)}
    wanted = Wanted("made", "logprobs", Criteria(0.1, None), None, 0, "made by a test")
    mined = mine(wanted, longer, asked(longer, askers), [source(name) for name in askers], longer.folder.parent)
    assert mined.suite.manifest.observes == ["logprobs", "prompt_tokens"]
    assert mined.suite.manifest.max_tokens == longer.manifest.max_tokens == 4
    assert mined.strata[0].unchosen == {}
    taken = {p.id for p in mined.suite.probes}
    sure = {p.id for p in longer.probes if min(Formula.leads(p.messages[-1].content, 4)) > 0.1}
    assert taken <= sure
    assert {p.cluster for p in mined.suite.probes} == {p.cluster for p in longer.probes if p.id in sure}
    assert len({p.cluster for p in mined.suite.probes}) == len(taken)  # one prompt of each
    fewer = replace(wanted, size=200)
    some = mine(fewer, longer, asked(longer, askers), [source(name) for name in askers], tmp_path / "some").suite
    most_open = max(Formula.leads(p.messages[-1].content, 1)[0] for p in some.probes)
    left = [p for p in mined.suite.probes if p.id not in {q.id for q in some.probes}]
    assert most_open <= min(Formula.leads(p.messages[-1].content, 1)[0] for p in left)


def test_a_third_reference_says_how_often_it_parts_from_the_others(pool: Suite, tmp_path: Path) -> None:
    longer = draw_pool(str(tmp_path / "prompts.jsonl"), "logprobs", None, 1, tmp_path / "longer" / "pool")
    askers = {"h1": Formula(), "h2": Formula(noise=0.002), "h3": Formula(turned=0.1, salt="h3")}
    wanted = Wanted("made", "logprobs", Criteria(0.05, None), None, 0, "")
    mined = mine(wanted, longer, asked(longer, askers), [source(name) for name in askers], longer.folder.parent)
    parts = {name: flips / of for name, (flips, of) in mined.strata[0].unchosen.items()}
    assert parts.keys() == askers.keys()
    assert (parts["h1"], parts["h2"]) == (0, 0)
    assert 0.05 < parts["h3"] < 0.2


def test_what_cannot_give_a_suite_is_refused_before_anything_is_asked(pool: Suite, tmp_path: Path) -> None:
    sources = [source("h1").endpoint, replace(source("h2").endpoint, dialect=Dialect(top_logprobs_max=1))]
    wanted = Wanted("made", "greedy", Criteria(0.3, None), MIN_CHOSEN, 0, "")
    check(wanted, pool, sources[:1])
    with pytest.raises(SuiteError, match=r"^h2 gives no log-probabilities of two tokens"):
        check(wanted, pool, sources)
    with pytest.raises(SuiteError, match=f"an envelope takes {MIN_CHOSEN}"):
        check(replace(wanted, size=MIN_CHOSEN - 1), pool, sources[:1])
    asked(pool, {"h1": Formula(), "h2": Formula()})
    check(wanted, pool, sources[:1])
    longer = draw_pool(str(tmp_path / "prompts.jsonl"), "logprobs", None, 1, pool.folder)
    with pytest.raises(SuiteError, match="other prompts, or of another length"):
        check(wanted, longer, sources[:1])


def test_a_pool_is_priced_and_a_budget_split(pool: Suite) -> None:
    sources = [source("h1", 1.0), source("h2", 3.0), source("v1", None)]
    costs = worst_cases_usd(pool, sources)
    assert costs["v1"] is None
    assert costs["h1"] is not None
    assert costs["h2"] == pytest.approx(3 * costs["h1"])
    askers = {"h1": Formula(), "h2": Formula()}
    budget = Limits(budget_usd=0.0048)  # half of what the tokens that are used in the end cost
    with pytest.raises(RecordingError, match="then: budget"):
        asyncio.run(ask(pool, sources[:2], get_model("lab-tiny"), askers, 4, budget))
    spent = sum(one.asked * (4 * price) / 1e6 for one, price in zip(askers.values(), (1.0, 3.0), strict=True))
    assert spent <= 0.0048
    assert all(0 < one.asked < PROMPTS for one in askers.values())


def test_a_pool_may_be_a_suite_of_which_some_prompts_are_drawn(tmp_path: Path) -> None:
    shipped = {p.id: p for p in load_suite("answers").probes}
    pool = draw_pool("answers", "greedy", 50, 3, tmp_path)
    assert len(pool.probes) == 50
    assert all(shipped[p.id].messages == p.messages and shipped[p.id].cluster == p.cluster for p in pool.probes)
    assert draw_pool("answers", "greedy", 50, 3, tmp_path) == pool
    assert draw_pool("answers", "greedy", 50, 4, tmp_path) != pool
    assert not list(tmp_path.iterdir())
