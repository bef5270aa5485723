"""Live references in every order of arrival: a run, its replay and what is resumed of it say the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_fold import ASKED, PANELS, attempt
from virtual_time import in_virtual_time

from qcheck.jobs.fold import RunFold, folded
from qcheck.records import Attempt, Message, Request
from qcheck.run.budget import Budget, Limits
from qcheck.run.execute import AskedAgain, Settled, Stopped, execute
from qcheck.run.journal import Journal, read_journal, settled_requests, settled_scores
from qcheck.run.lane import resumable
from qcheck.run.plan import PlanItem
from qcheck.suites import Probe
from qcheck.verdict import Rules

REQUESTS, MORE = 40, 150
SUITE = replace(ASKED, probes=tuple(Probe(f"p{i}", f"c{i}", "evaluation", ()) for i in range(MORE)))
SERVED = (
    ("far",),
    ("far", "x"),
    ("far", "elsewhere"),
    ("far", "elsewhere", "noise"),
    ("x",),
    ("far", "far", "far", "x"),
)
RARELY = ("far", "far", "x", "x", "x")  # by less than half, so that two must stand
REFERENCES = (("x",), ("x",), ("x",) * 9 + ("noise",))
AGAIN = 99  # tokens, by which a request is known here that is asked again
Verdicts = dict[str, tuple[str, float, bool | None]]


def request_for(item: PlanItem) -> Request:
    return Request(item.probe_id, (Message("user", "2+2?"),), 1, 0.0, 5)


def drawn(*key: object) -> float:
    """A number between 0 and 1 that depends on the key alone."""
    return random.Random(repr(key)).random()


@dataclass
class Asker:
    """Everybody; what is answered to a request, or whether it fails, depends on the world, and how soon on `order`."""

    world: World
    order: int
    sent: int = 0

    async def ask(self, request: Request, provider: str, seq: int) -> AsyncIterator[Attempt]:
        world, again = self.world, request.max_tokens == AGAIN
        self.sent += 1
        await asyncio.sleep(world.delays_s[provider] * (0.2 + 2 * drawn(self.order, provider, seq, again)))
        if drawn(world.seed, provider, seq, again, "fails") < world.failing[provider]:
            yield attempt(provider, seq, None)
            return
        kinds = world.serves[provider]
        yield attempt(provider, seq, kinds[int(drawn(world.seed, provider, seq, again) * len(kinds))])


class World:
    """One or two providers and a live reference, drawn at random. rarely: whether all of them deviate, now and then."""

    def __init__(self, seed: int, *, rarely: bool = False) -> None:
        rng, self.seed, self.requests = random.Random(seed), seed, MORE if rarely else REQUESTS
        self.names = ["a", "b"][: rng.choice([1, 2])]
        self.rules = Rules(0.01, 0.0, len(self.names), 0.05, until=rng.choice(["either", "deviates", "consistent"]))
        self.serves = {name: RARELY if rarely else rng.choice(SERVED) for name in self.names}
        self.serves["live"] = rng.choice(REFERENCES)
        self.failing = {name: rng.choice([0, 0, 0.1, 0.3]) for name in self.names} | {"live": rng.choice([0, 0, 0.1])}
        self.delays_s = {name: rng.choice([0.1, 1.0, 5.0]) for name in (*self.names, "live")}
        limited = (Limits(max_requests=rng.randint(3, 30)), Limits(deadline_s=rng.uniform(2, 60)))
        self.failing_ever = any(self.failing.values())
        self.limits = rng.choice((Limits(), Limits(), *limited))

    def run(self, path: Path, order: int) -> tuple[Verdicts, int]:
        """Run, or go on; the verdicts that the run has reached, and how many requests were sent."""
        fold, asker = self.fold(), Asker(self, order)

        def again(name: str) -> tuple[int, dict[str, Request]] | None:
            for seq in fold.asks_again(name):
                request = replace(request_for(PlanItem(name, seq, f"p{seq}")), max_tokens=AGAIN)
                return seq, dict.fromkeys(fold.asked_again(name), request)
            return None

        async def main() -> None:
            with Journal.open(path) as journal:
                before = read_journal(path)
                events = execute(
                    [PlanItem(name, i, f"p{i}") for i in range(self.requests) for name in (*self.names, "live")],
                    dict.fromkeys((*self.names, "live"), asker),
                    request_for,
                    journal,
                    answered=resumable(settled_requests(before)),
                    budget=Budget(self.limits, {}, before),
                    should_stop=fold.should_stop,
                    ask_again=again,
                    scores=settled_scores(a for a in before if a.outcome == "answered"),
                    together=True,
                    clock=asyncio.get_running_loop().time,
                )
                async with contextlib.aclosing(events):
                    async for event in events:
                        if isinstance(event, Settled):
                            fold.settle(event.attempt, event.scores)
                        elif isinstance(event, AskedAgain):
                            fold.settle_again(event.provider, event.attempts)
                        elif isinstance(event, Stopped):
                            fold.end(event.provider)

        in_virtual_time(main())
        return verdicts(fold), asker.sent

    def fold(self) -> RunFold:
        panels = [replace(panel, suite=SUITE) for panel in PANELS]
        return RunFold(dict.fromkeys(self.names, panels), self.rules, live="live")

    def replayed(self, path: Path) -> Verdicts:
        """What the journal says."""
        fold = self.fold()
        folded(fold, read_journal(path))
        return verdicts(fold)


def verdicts(fold: RunFold) -> Verdicts:
    """By provider its verdict, the logarithm of its e-value, and whether a deviating answer stands."""
    found = {}
    for name, provider in fold.providers.items():
        (observed,) = provider.claims().observed
        found[name] = provider.decide().verdict, round(observed.log_e, 9), observed.stands
    return found


@pytest.mark.parametrize(
    ("seed", "rarely"), [*((seed, False) for seed in range(24)), *((seed, True) for seed in range(6))]
)
def test_a_run_its_replay_and_its_resumption_agree(seed: int, rarely: bool, tmp_path: Path) -> None:
    world, path = World(seed, rarely=rarely), tmp_path / "journal.jsonl"
    reached, _ = world.run(path, order=1)
    assert world.replayed(path) == reached
    gone = "unavailable" in {verdict for verdict, *_ in reached.values()}
    failed = any(a.scores and a.outcome == "failed" for a in read_journal(path))  # these are asked once more
    again, sent = world.run(path, order=2)
    assert world.replayed(path) == again
    if world.limits == Limits() and not (gone or failed):
        assert (again, sent) == (reached, 0)


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_was_cut_off_anywhere_ends_as_if_it_had_not_been(seed: int, tmp_path: Path) -> None:
    world, path = World(1000 + seed), tmp_path / "journal.jsonl"
    world.limits = Limits()
    reached, _ = world.run(path, order=1)
    lines = path.read_bytes().splitlines(keepends=True)
    for keep in random.Random(seed).sample(range(len(lines)), 3):
        path.write_bytes(b"".join(lines[:keep]))
        resumed, _ = world.run(path, order=3 + keep)
        assert world.replayed(path) == resumed
        if not world.failing_ever:
            assert resumed == reached
        assert max(Counter((a.provider, a.scores, a.seq) for a in read_journal(path) if a.response).values()) == 1
