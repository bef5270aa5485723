"""Traits that change the log-probabilities of an answer; the tokens stay as the engine chose them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from qcheck.lab.traits.trait import Exchange, Reply, Trait
from qcheck.lab.traits.values import number, whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AfterTemperature", "Lattice", "NoLogprobs", "Noise", "Round", "TopK"]

Entry = Mapping[str, Any]  # a token with its `logprob`, and a position's own with its `top_logprobs`

WHOLE_VOCABULARY: Final = 1 << 16  # more than any model of the lab has
USUALLY_LISTED: Final = 20  # by the engines, where a chat asks for logprobs and gives no number


def _edited(reply: Reply, edit: Callable[[Entry], Entry]) -> Reply:
    """`reply` with each position of each choice edited; where there is none, as it is."""
    if not any(choice.get("logprobs") for choice in reply.choices):
        return reply

    def edited(choice: Mapping[str, Any]) -> Mapping[str, Any]:
        positions = (choice.get("logprobs") or {}).get("content")
        if not positions:
            return choice
        # The first token of a prompt that is echoed follows nothing and has no number.
        return {**choice, "logprobs": {"content": [p if p["logprob"] is None else edit(p) for p in positions]}}

    return reply.with_body(choices=[edited(choice) for choice in reply.choices])


def _mapped(position: Entry, value_of: Callable[[Entry], float]) -> Entry:
    """`position` with each log-probability replaced, those that are listed in falling order again."""

    top = [{**entry, "logprob": value_of(entry)} for entry in position["top_logprobs"]]
    falling = sorted(top, key=lambda entry: -entry["logprob"])
    return {**position, "logprob": value_of(position), "top_logprobs": falling}


class _Digits(Trait):
    """Replaces each log-probability by a coarser one."""

    __slots__ = ()

    @abstractmethod
    def _coarser(self, logprob: float) -> float: ...

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        # + 0.0 turns a minus zero into a zero
        return _edited(reply, lambda p: _mapped(p, lambda entry: self._coarser(entry["logprob"]) + 0.0))


@dataclass(frozen=True, slots=True)
class NoLogprobs(Trait):
    """Log-probabilities are null, with HTTP 200."""

    name: ClassVar = "no_logprobs"
    example: ClassVar = "no_logprobs"

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        if not any(choice.get("logprobs") for choice in reply.choices):
            return reply
        return reply.with_body(choices=[{**choice, "logprobs": None} for choice in reply.choices])


@dataclass(frozen=True, slots=True)
class TopK(Trait):
    """At most so many alternatives are listed at a position."""

    name: ClassVar = "k"
    example: ClassVar = "k=5"
    value: ClassVar = whole(0, 1000)
    k: int

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        return _edited(reply, lambda p: {**p, "top_logprobs": p["top_logprobs"][: self.k]})


@dataclass(frozen=True, slots=True)
class Round(_Digits):
    """Log-probabilities are rounded to so many digits after the point."""

    name: ClassVar = "round"
    example: ClassVar = "round=2"
    value: ClassVar = whole(0, 10)
    digits: int

    def _coarser(self, logprob: float) -> float:
        return round(logprob, self.digits)


@dataclass(frozen=True, slots=True)
class Lattice(_Digits):
    """Log-probabilities are rounded to multiples of one over this number."""

    name: ClassVar = "lattice"
    example: ClassVar = "lattice=8"
    value: ClassVar = whole(1, 1 << 16)
    steps: int

    def _coarser(self, logprob: float) -> float:
        return round(logprob * self.steps) / self.steps


@dataclass(frozen=True, slots=True)
class Noise(Trait):
    """Gaussian noise of this standard deviation, in nats, on the log-probabilities that are listed."""

    name: ClassVar = "noise"
    example: ClassVar = "noise=0.02"
    value: ClassVar = number(0, 10)
    sd_nats: float

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        rng = exchange.rng(self.name)
        return _edited(reply, lambda position: self._noised(position, rng))

    def _noised(self, position: Entry, rng: np.random.Generator) -> Entry:
        # The token that was taken stands in the list as well, with the same value.
        shifts: defaultdict[Any, float] = defaultdict(lambda: float(rng.normal(0.0, self.sd_nats)))
        return _mapped(position, lambda e: min(0.0, e["logprob"] + shifts[e.get("id"), e["token"]]))


@dataclass(frozen=True, slots=True)
class AfterTemperature(Trait):
    """Log-probabilities are those after dividing the logits by this temperature."""

    name: ClassVar = "after_temperature"
    example: ClassVar = "after_temperature=0.6"
    value: ClassVar = number(0.01, 100)
    temperature: float

    def _ask(self, exchange: Exchange) -> Exchange:
        if not _listed(exchange):
            return exchange
        if exchange.endpoint == "completions":
            return exchange.with_body(logprobs=WHOLE_VOCABULARY)
        return exchange.with_body(logprobs=True, top_logprobs=WHOLE_VOCABULARY)

    def _answer(self, exchange: Exchange, reply: Reply) -> Reply:
        k = _listed(exchange)
        return _edited(reply, lambda position: self._tempered(position, k)) if k else reply

    def _tempered(self, position: Entry, k: int) -> Entry:
        scaled = [e["logprob"] / self.temperature for e in position["top_logprobs"]]
        normaliser = _log_sum_exp(scaled)
        tempered = _mapped(position, lambda e: min(0.0, e["logprob"] / self.temperature - normaliser))
        return {**tempered, "top_logprobs": tempered["top_logprobs"][:k]}


def _listed(exchange: Exchange) -> int:
    """How many alternatives a request asks for; where it is none, the engines give no log-probabilities at all."""
    asked, top = exchange.body.get("logprobs") or 0, exchange.body.get("top_logprobs")
    if exchange.endpoint == "completions" or not asked:
        return int(asked)
    return USUALLY_LISTED if top is None else int(top)


def _log_sum_exp(values: Sequence[float]) -> float:
    largest = max(values)
    return largest + math.log(math.fsum(math.exp(value - largest) for value in values))
