"""Traits that decide which deployment answers. Several gates together open only where each of them does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from qcheck.jsonio import canonical
from qcheck.lab.traits.trait import Exchange, Gate, Trait
from qcheck.lab.traits.values import HOURS, TEXT, Value, number, one_of, whole
from qcheck.records import turns

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Base", "Burst", "From", "Hours", "ProbesHonest", "Route", "Sticky"]


@dataclass(frozen=True, slots=True)
class Sticky(Trait):
    """The draw of `route` is made once for each API key, or once for each connection."""

    name: ClassVar = "sticky"
    example: ClassVar = "sticky=key"
    value: ClassVar = one_of("key", "connection")
    by: Literal["key", "connection"]

    def _ask(self, exchange: Exchange) -> Exchange:
        whose = exchange.key if self.by == "key" else str(exchange.connection)
        return replace(exchange, lot=exchange.stream(self.name, self.by, whose).random())


@dataclass(slots=True)
class Burst(Trait):
    """Each draw of `route` holds for a geometric number of requests in a row, of this mean."""

    name: ClassVar = "burst"
    example: ClassVar = "burst=20"
    value: ClassVar = whole(2, 1_000_000)
    length: int
    _lots: list[float] = field(default_factory=list, init=False)
    _rng: np.random.Generator | None = field(default=None, init=False)

    def _ask(self, exchange: Exchange) -> Exchange:
        if self._rng is None:
            self._rng = exchange.stream(self.name)
        while len(self._lots) < exchange.ordinal:  # by arrival, even where requests overtake each other on the way
            draws_anew = not self._lots or self._rng.random() < 1 / self.length
            self._lots.append(self._rng.random() if draws_anew else self._lots[-1])
        return replace(exchange, lot=self._lots[exchange.ordinal - 1])


@dataclass(frozen=True, slots=True)
class Base(Trait):
    """The deployment that answers where the named one does not; `honest` unless given."""

    name: ClassVar = "base"
    example: ClassVar = "base=honest-b"
    value: ClassVar = TEXT
    deployment: str  # read by `qcheck.lab.spec`, which knows the deployments of the model


@dataclass(frozen=True, slots=True)
class Route(Gate):
    """The named deployment gets this share of the requests, drawn at random."""

    name: ClassVar = "route"
    example: ClassVar = "route=0.05"
    value: ClassVar = number(0, 1)
    share: float

    def _opens(self, exchange: Exchange) -> bool:
        lot = exchange.rng(self.name).random() if exchange.lot is None else exchange.lot
        return lot < self.share


@dataclass(frozen=True, slots=True)
class Hours(Gate):
    """The named deployment answers only between these hours of the day, UTC."""

    name: ClassVar = "hours"
    example: ClassVar = "hours=9-17"
    value: ClassVar = HOURS
    first: int
    end: int

    def _opens(self, exchange: Exchange) -> bool:
        open_hours = (self.end - self.first) % 24 or 24
        return (exchange.time.hour - self.first) % 24 < open_hours


@dataclass(frozen=True, slots=True)
class From(Gate):
    """The named deployment answers only from this request on, the first being 1."""

    name: ClassVar = "from"
    example: ClassVar = "from=100"
    value: ClassVar = whole(1, 1_000_000_000)
    ordinal: int

    def _opens(self, exchange: Exchange) -> bool:
        return exchange.ordinal >= self.ordinal


@cache
def _read_suites(text: str) -> tuple[frozenset[bytes]]:
    from qcheck.suites import list_suites, load_suite  # noqa: PLC0415 - loads pydantic, for this trait alone

    suites = [load_suite(name) for name in ([text] if text else list_suites())]
    return (frozenset(_conversation(turns(probe.messages)) for suite in suites for probe in suite.probes),)


def _conversation(messages: Any) -> bytes:
    return canonical(messages)


_SUITES: Final = Value("no value for the shipped suites, or one suite's name or folder", _read_suites)


@dataclass(frozen=True, slots=True)
class ProbesHonest(Gate):
    """Prompts that are known as probes never reach the named deployment; of the shipped suites, or of one folder."""

    name: ClassVar = "probes_honest"
    example: ClassVar = "probes_honest"
    value: ClassVar = _SUITES
    probes: frozenset[bytes]

    def _opens(self, exchange: Exchange) -> bool:
        return _conversation(exchange.asked.get("messages")) not in self.probes
