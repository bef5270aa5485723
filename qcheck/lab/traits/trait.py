"""What passes through the traits of a provider, and what a trait is.

A trait is a middleware around the engines: it passes on a request, changed or not, and passes back the answer,
changed or not; or it answers by itself. Nothing is edited in place: exchanges and replies are frozen, and the bodies
inside them are replaced by changed copies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from qcheck.lab.traits.values import NOTHING, Value

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Endpoint", "Exchange", "Forward", "Gate", "Reply", "Trait", "Wire", "error_body"]

Endpoint = Literal["chat/completions", "completions"]
Wire = Literal["whole", "reset", "truncated", "keepalive", "drip", "stall"]
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way to an engine.

    endpoint: where it was sent. asked: the body as it was sent. body: as the engine will get it. request: the hash of
    `asked`. occurrence: how often this provider saw the same body before. ordinal: counts its requests from 1 in
    order of arrival. key: the client's, "" without one. connection: a number of the client's connection. time: of
    arrival, UTC, on the provider's clock. deployment: which is going to answer. base: which is where the provider's
    own is not to. stream: the random numbers of the provider's seed under some words. lot: from [0, 1), decides the
    routing, None while it is not drawn.
    """

    endpoint: Endpoint
    asked: Body
    body: Body
    request: str
    occurrence: int
    ordinal: int
    key: str
    connection: int
    time: datetime
    deployment: str
    base: str
    stream: Callable[..., np.random.Generator]
    lot: float | None = None

    def rng(self, name: str) -> np.random.Generator:
        """Random numbers that depend on the seed, the provider, the body and its occurrence alone."""
        return self.stream(name, self.request, str(self.occurrence))

    def with_body(self, **fields: Any) -> Self:
        """The same with these fields put over the body."""
        return replace(self, body={**self.body, **fields})

    def without(self, *names: str) -> Self:
        """The same without these fields of the body."""
        return replace(self, body={name: value for name, value in self.body.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client gets.

    status: the HTTP status; None where none will be sent. body: a JSON object, or bytes that are none. deployment:
    whose answer it holds, None if it holds none of an engine that the client can read. wire: how it is sent. failure:
    which kind of `fail` it is, None for none. traits: the names of those that changed something.
    """

    status: int | None
    body: Body | bytes
    deployment: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wire: Wire = "whole"
    failure: str | None = None
    traits: frozenset[str] = frozenset()

    @property
    def choices(self) -> Sequence[Mapping[str, Any]]:
        """The choices of an answer, () if this is none."""
        return self.body.get("choices", ()) if self.status == 200 and isinstance(self.body, Mapping) else ()

    def with_body(self, **fields: Any) -> Self:
        """The same with these fields put over a JSON body."""
        assert isinstance(self.body, Mapping)
        return replace(self, body={**self.body, **fields})

    def by(self, trait: str) -> Self:
        """The same, marked as changed by `trait`."""
        return replace(self, traits=self.traits | {trait})


Forward = Callable[[Exchange], Awaitable[Reply]]


def error_body(status: int, message: str) -> Body:
    """The body of a refusal in OpenAI's form."""
    return {"error": {"code": status, "message": message}}


class Trait(ABC):
    """One way in which a provider is not what it seems; its docstring says which, to users too.

    name, example: in a spec. value: what it takes. One that keeps a state belongs to one provider.
    """

    __slots__ = ()
    name: ClassVar[str]
    example: ClassVar[str]
    value: ClassVar[Value] = NOTHING

    def _ask(self, exchange: Exchange) -> Exchange:
        return exchange

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        """`exchange` is what the client's side passed on, before `_ask`."""
        return reply

    async def __call__(self, exchange: Exchange, forward: Forward) -> Reply:
        """Answer an exchange with the help of `forward`, which passes it on; marks the reply if anything changed."""
        asked = self._ask(exchange)
        reply = await forward(asked)
        answered = self._answer(exchange, reply)
        return answered.by(self.name) if asked != exchange or answered != reply else answered


class Gate(Trait):
    """A condition under which the provider's own deployment answers; where it does not hold, the base does."""

    __slots__ = ()

    @abstractmethod
    def _opens(self, exchange: Exchange) -> bool: ...

    def _ask(self, exchange: Exchange) -> Exchange:
        return exchange if self._opens(exchange) else replace(exchange, deployment=exchange.base)
