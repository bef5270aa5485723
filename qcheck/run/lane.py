"""One provider's part of a plan: which request is next, whose turn it is to be settled, and why it ends.

Nothing here sends or waits. Requests are known by their index in the provider's part of the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qcheck.records import Attempt
from qcheck.run.availability import Availability
from qcheck.run.plan import PlanItem

__all__ = ["Lane", "Settled", "make_lanes", "resumable"]


@dataclass(frozen=True, slots=True)
class Settled:
    """A request that was answered or failed, in its turn: evidence. scores: the attempts that scored the answer."""

    attempt: Attempt
    scores: tuple[Attempt, ...] = ()


@dataclass(slots=True, eq=False)
class Lane:
    """The state of one provider.

    All before `head` is settled; `ready` waits for its turn; nothing is sent from `end` on, for `reason`.
    waits: nothing more is settled or sent before one that was settled has been asked again. stopped: nothing more is
    settled. given_up: what was in flight at `give_up_at` is not waited for.
    """

    provider: str
    items: Sequence[PlanItem]
    ready: dict[int, Settled]
    deadline_at: float = math.inf
    give_up_at: float = math.inf
    end: int = field(init=False)
    reason: str = "exhausted"
    head: int = 0
    in_flight: set[int] = field(default_factory=set)
    waits: bool = False
    stopped: bool = False
    given_up: bool = False
    _unsent: int = 0
    _available: Availability = field(default_factory=Availability)

    def __post_init__(self) -> None:
        self.end = len(self.items)
        for index, settled in list(self.ready.items()):
            self.receive(index, settled)

    @property
    def finished(self) -> bool:
        """Whether nothing more will come of it."""
        return not self.in_flight and (self.stopped or self.given_up or self.head >= self.end)

    @property
    def unavailable(self) -> bool:
        """Whether it is of no use to ask on, by what has been settled."""
        return self._available.reason is not None

    @property
    def begun(self) -> bool:
        """Whether a request has been answered or has failed."""
        return bool(self.head or self.ready)

    def receive(self, index: int, settled: Settled) -> None:
        """Keep a settled request until its turn. Nothing is sent beyond a fatal one."""
        self.ready[index] = settled
        if settled.attempt.fatal:
            self.end = min(self.end, index + 1)

    def settle_next(self) -> Settled | None:
        """The request whose turn it is, if it is settled."""
        if self.stopped or self.waits or self.head not in self.ready:
            return None
        settled = self.ready.pop(self.head)
        self.head += 1
        self._available.update(settled.attempt)
        return settled

    def settles(self, index: int) -> bool:
        """Whether the request of that index may still come to be settled."""
        return not (self.stopped or self.given_up) and index < self.end

    def next_to_send(self, window: int) -> int | None:
        """The first request neither sent nor answered, if it is at most `window` beyond the earliest unsettled one."""
        index = self._first_unsent()
        held = self.stopped or self.waits
        return None if held or index >= self.end or index > self.head + window else index

    def send(self, index: int) -> None:
        """Count `index` as sent; the complement of one for what is asked again."""
        self.in_flight.add(index)
        self._unsent = max(self._unsent, index + 1)

    def close(self, reason: str) -> None:
        """Send nothing more; what was sent is still settled."""
        unsent = self._first_unsent()
        if not self.stopped and unsent < self.end:
            self.end, self.reason = unsent, reason

    def cut(self, index: int, reason: str) -> None:
        """Settle only what comes before `index`, whose request was given up; send nothing more."""
        if not self.stopped and index < self.end:
            self.end, self.reason = index, reason

    def stop(self, reason: str, give_up_at: float) -> None:
        """Settle nothing more."""
        self.stopped, self.reason, self.give_up_at = True, reason, give_up_at

    def give_up_now(self, now: float, grace_s: float) -> bool:
        """Close at the deadline; true once, when the time for what is in flight has run out."""
        if now >= self.deadline_at:
            self.close("deadline")
            self.give_up_at = min(self.give_up_at, self.deadline_at + grace_s)
            self.deadline_at = math.inf
        if now < self.give_up_at:
            return False
        self.give_up_at = math.inf
        self.given_up = True
        if not self.stopped:
            self.reason = "deadline"
        return True

    def _first_unsent(self) -> int:
        while self._unsent < self.head or self._unsent in self.ready:
            self._unsent += 1
        return self._unsent


def make_lanes(
    plan: Sequence[PlanItem], answered: Mapping[tuple[str, int], Settled], deadline_at: float = math.inf
) -> list[Lane]:
    """A lane for each provider of the plan, with what an earlier process has already settled."""
    parts: dict[str, list[PlanItem]] = {}
    for item in plan:
        parts.setdefault(item.provider, []).append(item)
    lanes = []
    for provider, items in parts.items():
        earlier = {i: answered[key] for i, item in enumerate(items) if (key := (provider, item.seq)) in answered}
        lanes.append(Lane(provider, items, earlier, deadline_at))
    return lanes


def resumable(settled: Mapping[tuple[str, int], Attempt]) -> dict[tuple[str, int], Attempt]:
    """What of the settled requests a run that goes on need not ask again: all but those on which a provider ended.

    These are the failures by which it became unavailable, in a row or fatal, and all after them: credits may have been
    bought since, or an outage have ended.
    """
    kept = dict(settled)
    for provider in {name for name, _ in settled}:
        available = Availability()
        while available.reason is None and (attempt := settled.get((provider, available.requests))) is not None:
            available.update(attempt)
        if available.reason is not None:
            first = available.requests - available.in_a_row
            kept = {k: a for k, a in kept.items() if k[0] != provider or k[1] < first or a.outcome != "failed"}
    return kept
