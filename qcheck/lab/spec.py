"""How a provider of the lab is named: `lab/DEPLOYMENT`, and what is not as it seems, `?TRAIT[=VALUE]&…`.

    lab/q4_k_m                        a deployment alone
    lab/q4_k_m?route=0.05&sticky=key  5 % of the keys get it, all others `honest`
    lab/honest?round=2&k=5            the honest deployment, its log-probabilities rounded and cut

Values are URL-encoded, so that a spec holds no comma and no space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.lab.catalog import PREFIX, deployments_of
from qcheck.lab.traits import GROUPS, TRAITS, make_trait
from qcheck.lab.traits.parameters import MaxTokens, MinTokens
from qcheck.lab.traits.routing import Base, Burst, Route, Sticky
from qcheck.lab.traits.trait import Gate

__all__ = ["ProviderSpec", "TraitInfo", "known_traits", "parse_spec"]

USUAL_BASE: Final = "honest"
_PLAIN: Final = ":/"  # stand in values as they are
_GATES: Final = tuple(name for name, kind in TRAITS.items() if issubclass(kind, Gate))


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider of the lab. spec: its one text, without "lab/". traits: (name, value) in the order of the spec."""

    spec: str
    model: str
    deployment: str
    traits: tuple[tuple[str, str], ...] = ()

    @property
    def base(self) -> str:
        """The deployment that answers what is routed past the provider's own."""
        return dict(self.traits).get(Base.name, USUAL_BASE)

    @property
    def deployments(self) -> tuple[str, ...]:
        """All that may answer, the provider's own first."""
        return (self.deployment, self.base) if _is_routed(self.traits) else (self.deployment,)


class TraitInfo(NamedTuple):
    """A trait for people: its name, one in use, what it does, and the group that it belongs to."""

    name: str
    example: str
    about: str
    group: str


def known_traits() -> tuple[TraitInfo, ...]:
    """All traits, in the order in which they compose, the client's side first."""
    return tuple(
        TraitInfo(kind.name, kind.example, " ".join((kind.__doc__ or "").split()), group)
        for group, kinds in GROUPS.items()
        for kind in kinds
    )


def parse_spec(spec: str, model: str) -> ProviderSpec:
    """The provider that `spec` names, with or without "lab/", of a lab model.

    Raises UnknownNameError for a model, deployment or trait that there is none of, ConfigurationError for a value
    that a trait does not take and for traits that do not go together.
    """
    deployment, has_traits, query = spec.removeprefix(PREFIX).partition("?")
    known = deployments_of(model)
    if deployment not in known:
        prefix = PREFIX if spec.startswith(PREFIX) else ""  # as it was given
        raise UnknownNameError("lab deployment", prefix + deployment, [prefix + name for name in known])
    traits = tuple(_trait(item) for item in query.split("&")) if has_traits else ()
    parsed = ProviderSpec(_text(deployment, traits), model, deployment, traits)
    _check_together(parsed)
    if parsed.base not in known:
        raise UnknownNameError("lab deployment", parsed.base, known)
    return parsed


def _trait(item: str) -> tuple[str, str]:
    name, _, encoded = item.partition("=")
    if name not in TRAITS:
        raise UnknownNameError("lab trait", name, TRAITS, "`qcheck lab list` says what each of them does.")
    kind = TRAITS[name]
    try:
        value = unquote_plus(encoded, errors="strict")
        quote_plus(value)
        make_trait(name, value)
    except ValueError:
        raise ConfigurationError(f"{item!r}: {name} takes {kind.value.takes}, as in {kind.example}.") from None
    return name, value


def _text(deployment: str, traits: Sequence[tuple[str, str]]) -> str:
    items = (f"{name}={quote_plus(value, safe=_PLAIN)}" if value else name for name, value in traits)
    return deployment + ("?" + "&".join(items) if traits else "")


def _is_routed(traits: Sequence[tuple[str, str]]) -> bool:
    return any(name in _GATES for name, _ in traits)


def _check_together(spec: ProviderSpec) -> None:
    """Raise ConfigurationError for traits that contradict or need each other."""
    names = [name for name, _ in spec.traits]
    where = PREFIX + spec.spec
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(f"{where}: {twice} stands twice; give it once.")
    if Sticky.name in names and Burst.name in names:
        raise ConfigurationError(f"{where}: draws are either sticky or come in bursts; leave one of them out.")
    for name in (Sticky.name, Burst.name):
        if name in names and Route.name not in names:
            raise ConfigurationError(
                f"{where}: {name} says how {Route.name} draws; add a share, as in {Route.example}."
            )
    values = dict(spec.traits)
    if {MaxTokens.name, MinTokens.name} <= set(names) and int(values[MaxTokens.name]) < int(values[MinTokens.name]):
        raise ConfigurationError(
            f"{where}: no answer has at most {values[MaxTokens.name]} and at least {values[MinTokens.name]} tokens; "
            f"raise {MaxTokens.name} or lower {MinTokens.name}."
        )
    if Base.name in names and not _is_routed(spec.traits):
        raise ConfigurationError(f"{where}: nothing is routed to the {Base.name}; add one of {', '.join(_GATES)}.")
    if _is_routed(spec.traits) and spec.base == spec.deployment:
        raise ConfigurationError(
            f"{where}: {spec.base} would answer all requests; name the deployment that is to answer some of them, "
            f"as in {PREFIX}q4_k_m?{Route.example}, or another {Base.name}."
        )
