"""The traits of lab providers: small pieces that compose, each one way in which a real provider may deviate.

They compose in one fixed order whatever their order in a spec, that of `GROUPS`, the client's side first: an answer
is made by the deployment that routing chose, from the prompt and parameters as they were changed, then its
log-probabilities are changed, then it may be filtered or kept for later, and delayed or spoilt on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from qcheck.lab.traits.calls import Calls
from qcheck.lab.traits.content import Cache, Filter
from qcheck.lab.traits.delivery import Fail, Latency
from qcheck.lab.traits.log_probabilities import AfterTemperature, Lattice, Noise, NoLogprobs, Round, TopK
from qcheck.lab.traits.parameters import Ignore, MaxTokens, MinTokens, Reject, Temperature
from qcheck.lab.traits.prompt import Clock, DropReasoning, System, Template, Tools
from qcheck.lab.traits.routing import Base, Burst, From, Hours, ProbesHonest, Route, Sticky
from qcheck.lab.traits.trait import Forward, Trait

__all__ = ["GROUPS", "TRAITS", "compose", "make_trait"]

GROUPS: Final[Mapping[str, tuple[type[Trait], ...]]] = {
    "delivery": (Latency, Fail),
    "content": (Cache, Filter),
    "parameters": (Reject, Ignore, Temperature, MaxTokens, MinTokens),
    "log-probabilities": (NoLogprobs, TopK, Round, Lattice, Noise, AfterTemperature),
    "prompt": (DropReasoning, System, Template, Tools, Clock),
    "routing": (Sticky, Burst, Route, Hours, From, ProbesHonest, Base),
    "mock": (Calls,),
}
TRAITS: Final[Mapping[str, type[Trait]]] = {kind.name: kind for kinds in GROUPS.values() for kind in kinds}
_ORDER: Final = tuple(TRAITS)


def make_trait(name: str, value: str) -> Trait:
    """The trait of a (name, value) pair of a spec. Raises KeyError, ValueError for a value that it does not take."""
    build: Callable[..., Trait] = TRAITS[name]
    return build(*TRAITS[name].value.read(value))


def compose(traits: Iterable[Trait], engine: Forward) -> Forward:
    """`engine` with the traits around it, in their fixed order."""
    forward = engine
    for trait in sorted(traits, key=lambda trait: _ORDER.index(trait.name), reverse=True):
        forward = partial(trait, forward=forward)
    return forward
