"""From a user's word for a provider to the endpoint that is asked.

moonshot                  a provider of the registry
openrouter/novita         an aggregator, pinned to one upstream
openrouter/novita/fp8     … and to what that upstream declares as its precision
mine=https://host/v1      any endpoint, by a name of the user's own
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.registry.address import check_base_url
from qcheck.registry.config import EndpointSettings, UserConfig, table_of
from qcheck.registry.loader import load_providers
from qcheck.registry.openrouter import Listing
from qcheck.registry.types import UNTOLD, WRITTEN, Declared, Dialect, Endpoint, ModelProfile, Price, Provider, Resolver

__all__ = ["RegistryResolver", "check_told", "resolve_all"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FORMS = "name a provider (moonshot), an aggregator with an upstream (openrouter/novita), or name=https://host/v1."
_NAMES_SHOWN, _TAGS_SHOWN = 8, 12
# https://openrouter.ai/docs/features/provider-routing, "Quantization Levels"
_OPENROUTER_PRECISIONS = ("int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32", "unknown")


def _today() -> date:
    return datetime.now(UTC).date()


def _dialect(base: Dialect, settings: EndpointSettings, model: ModelProfile, name: str) -> Dialect:
    """`base` as the user's settings and the model want it. Raises ConfigurationError."""
    if not model.thinks or model.thinks_always:
        return replace(settings.dialect(base), thinking_off=None)
    told = model.thinking_off.get(name, base.thinking_off) or "unknown"
    dialect = settings.dialect(replace(base, thinking_off=told))
    if dialect.thinking_off in WRITTEN and model.prompt_format is None and settings.prompt_format is None:
        raise ConfigurationError(
            f"nobody knows the chat template of {model.name}, which thinking_off = {dialect.thinking_off!r} needs: "
            f"give {name} another one."
        )
    return dialect


@dataclass(frozen=True, slots=True)
class RegistryResolver:
    """Resolves what is in the registry, and `name=URL`, with what `qcheck.toml` says put over it.

    today: the day on which retirement dates are looked at. allow_http: whether a URL may be one of plain http on
    another machine. listing: what OpenRouter lists of a model's upstreams, by its id there; None where nobody knows.
    tell: takes a sentence on what may be a mistake, and may be none, as lists are a day old.
    """

    config: UserConfig
    today: date = field(default_factory=_today)
    allow_http: bool = False
    listing: Callable[[str], Listing | None] = lambda _: None
    tell: Callable[[str], None] = lambda _: None

    def names(self) -> tuple[str, ...]:
        """The providers of the registry."""
        return tuple(load_providers())

    def resolve(self, spec: str, model: ModelProfile) -> Endpoint | None:
        """The endpoint for `spec`, or None where the registry does not know it.

        Raises ConfigurationError where the word is wrongly put, or does not fit the model.
        """
        name, given_by_url, url = spec.partition("=")
        if given_by_url or "://" in spec:
            # A wrongly put URL may hold a key, so that nothing of it is repeated.
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    "an endpoint is given as name=https://host/v1; "
                    "its name is of at most 64 lower-case letters, digits, dots, dashes and underscores."
                )
            return self._by_url(name, url, model)
        head, *route = spec.split("/")
        provider = load_providers().get(head)
        if provider is None:
            return None
        if provider.dialect.pin:
            return self._routed(provider, spec, route, model)
        if route:
            why = "lets no upstream be pinned" if provider.aggregator else "is no aggregator"
            raise ConfigurationError(f"{head} {why}: name it without {'/'.join(route)!r}.")
        return self._known(provider, self.config.settings(head, model.name), model)

    def _by_url(self, name: str, url: str, model: ModelProfile) -> Endpoint:
        if name in load_providers():
            raise ConfigurationError(f"{name} is a provider that qcheck knows: give the URL another name.")
        settings = self.config.settings(name, model.name)
        base_url = check_base_url(url, name, allow_http=self.allow_http)
        endpoint = Endpoint(
            name=name,
            display=base_url,
            base_url=base_url,
            model_id=settings.model_id or model.ids.get(name),
            key_env=settings.key_env,
            dialect=_dialect(Dialect(), settings, model, name),
            temperature=model.temperature.get(name, 0.0),
            thinks_always=model.thinks_always,
            prompt_format=model.prompt_format,
            date_string=settings.date_string if model.dated_template else None,
            allow_http=self.allow_http,
        )
        return self._as_stated(endpoint, settings)

    def _routed(self, provider: Provider, spec: str, route: Sequence[str], model: ModelProfile) -> Endpoint:
        if not route:
            raise ConfigurationError(
                f"{provider.name} sends each request wherever it likes: pin one upstream, as in {provider.name}/novita."
            )
        upstream, *precisions = route
        if not _NAME.fullmatch(upstream) or len(precisions) > 1:
            raise ConfigurationError(f"{spec!r} is not an upstream, nor an upstream and a precision: {_FORMS}")
        if precisions and provider.dialect.pin != "openrouter":
            raise ConfigurationError(f"{provider.name} does not route by precision: write {provider.name}/{upstream}.")
        if unknown := set(precisions) - set(_OPENROUTER_PRECISIONS):
            raise ConfigurationError(
                f"{unknown.pop()!r} is no precision of {provider.name}: {', '.join(_OPENROUTER_PRECISIONS)}."
            )
        settings = self.config.settings(spec, model.name)
        endpoint = replace(
            self._known(provider, settings, model),
            name=spec,
            display=f"{provider.base_url} ({', '.join(route)})",
            price=None,  # that of the aggregator is of whatever upstream it likes
            declared=None,
            unpinned=False,
        )
        if provider.dialect.pin == "suffix":
            endpoint = replace(endpoint, model_id=f"{endpoint.model_id}:{upstream}")
        elif provider.dialect.pin == "vercel":
            endpoint = replace(endpoint, extra_body={"providerOptions": {"gateway": {"only": [upstream]}}})
        else:
            endpoint = self._by_openrouter(endpoint, upstream, precisions, settings)
        return self._as_stated(endpoint, settings)

    def _by_openrouter(
        self, endpoint: Endpoint, upstream: str, precisions: Sequence[str], settings: EndpointSettings
    ) -> Endpoint:
        """`endpoint` as OpenRouter routes to `upstream` alone, and of it to what declares the precision, if one is."""
        if listing := self.listing(endpoint.model_id or ""):
            if not listing.pinned(upstream, *precisions):
                tags = ", ".join(u.tag for u in listing.upstreams[:_TAGS_SHOWN]) or "nobody"
                self.tell(f"OpenRouter lists no {endpoint.name} of {listing.model_id} ({listing.read}), but {tags}.")
            endpoint = _as_listed(endpoint, listing, (upstream, *precisions), settings)
        if precisions and precisions[0] != "unknown":  # it answers at all only if that is what it declares
            source = "OpenRouter, which routes by the precision that upstreams declare"
            endpoint = replace(endpoint, declared=Declared(precisions[0], source, self.today.isoformat()))
        pin = {"only": [upstream], "allow_fallbacks": False}
        return replace(endpoint, extra_body={"provider": pin | ({"quantizations": precisions} if precisions else {})})

    def _known(self, provider: Provider, settings: EndpointSettings, model: ModelProfile) -> Endpoint:
        """The endpoint of a registry provider. Raises ConfigurationError where it does not serve the model."""
        model_id = settings.model_id or model.ids.get(provider.name)
        if settings.model_id is None and model.retired(provider.name, self.today):
            raise ConfigurationError(
                f"{provider.name} retired {model.name} on {model.retires[provider.name]}; "
                f"{self._elsewhere(provider, model)}."
            )
        if model_id is None and not provider.local:
            raise ConfigurationError(
                f"no id of {model.name} at {provider.name} is known; {self._elsewhere(provider, model)}. "
                f"Give it as model_id under {table_of(provider.name, model.name)} in qcheck.toml."
            )
        listed = settings.model_id in (None, model.ids.get(provider.name))  # what is listed, is of that id
        endpoint = Endpoint(
            name=provider.name,
            display=provider.base_url,
            base_url=provider.base_url,
            model_id=model_id,
            key_env=settings.key_env or provider.key_env,
            dialect=_dialect(provider.dialect, settings, model, provider.name),
            price=model.prices.get(provider.name) if listed else None,
            declared=model.declared.get(provider.name) if listed else None,
            temperature=model.temperature.get(provider.name, 0.0),
            thinks_always=model.thinks_always,
            prompt_format=model.prompt_format,
            date_string=settings.date_string if model.dated_template else None,
            unpinned=provider.aggregator,
        )
        return self._as_stated(endpoint, settings)

    def _as_stated(self, endpoint: Endpoint, settings: EndpointSettings) -> Endpoint:
        """`endpoint` with the price, the precision and the chat template that the user states."""
        price = settings.price.price() if settings.price else endpoint.price
        stated = Declared(settings.declared, "qcheck.toml", self.today.isoformat()) if settings.declared else None
        form = settings.prompt_format.prompt_format() if settings.prompt_format else endpoint.prompt_format
        return replace(endpoint, price=price, declared=stated or endpoint.declared, prompt_format=form)

    def _elsewhere(self, provider: Provider, model: ModelProfile) -> str:
        """Who else serves the model, the best known first."""
        others = [
            p for p in load_providers() if p in model.ids and not model.retired(p, self.today) and p != provider.name
        ]
        if not others:
            return "no other provider of it is known"
        more = f" and {len(others) - _NAMES_SHOWN} more (`qcheck providers list --model {model.name}`)"
        return f"it is served by {', '.join(others[:_NAMES_SHOWN])}" + (more if len(others) > _NAMES_SHOWN else "")


def _as_listed(endpoint: Endpoint, listing: Listing, route: Sequence[str], settings: EndpointSettings) -> Endpoint:
    """`endpoint` with what OpenRouter lists of the upstream that `route` pins: of several, what holds for each."""
    upstreams = listing.pinned(*route)
    prices = [u.price for u in upstreams if u.price]
    if prices and len(prices) == len(upstreams):
        dearest = Price(max(p.input for p in prices), max(p.output for p in prices))
        endpoint = replace(endpoint, price=dearest)
    precisions = {u.precision for u in upstreams}
    precision = precisions.pop() if len(precisions) == 1 else None
    if precision:
        endpoint = replace(endpoint, declared=Declared(precision, listing.source, listing.read.isoformat()))
    if settings.top_logprobs_max is None and any(u.gives_logprobs is False for u in upstreams):
        endpoint = replace(endpoint, dialect=replace(endpoint.dialect, top_logprobs_max=0))
    return endpoint


def check_told(endpoints: Sequence[Endpoint], model: ModelProfile) -> None:
    """Raise ConfigurationError where nobody knows how the model is kept from thinking, and nothing will find it out."""
    if name := next((e.name for e in endpoints if e.dialect.thinking_off in UNTOLD), None):
        raise ConfigurationError(
            f"{model.name} thinks unless told not to, and what it thinks is not what is compared: say how {name} is "
            f"told, with thinking_off under {table_of(name, model.name)} in qcheck.toml (docs/dialects.md); "
            "`qcheck providers check` finds it out."
        )


def resolve_all(specs: Sequence[str], model: ModelProfile, resolvers: Sequence[Resolver]) -> tuple[Endpoint, ...]:
    """The endpoints for `specs`, in order; the first resolver that knows a word resolves it.

    Raises UnknownNameError with the nearest names of all resolvers, ConfigurationError where a name stands twice.
    """
    endpoints: dict[str, Endpoint] = {}
    for spec in specs:
        found = (resolver.resolve(spec, model) for resolver in resolvers)
        endpoint = next((candidate for candidate in found if candidate is not None), None)
        if endpoint is None:
            raise UnknownNameError("provider", spec, (n for r in resolvers for n in r.names()), f"Or {_FORMS}")
        if endpoint.name in endpoints:
            raise ConfigurationError(f"provider {endpoint.name} is given twice: name it once.")
        endpoints[endpoint.name] = replace(endpoint, spec=spec)
    return tuple(endpoints.values())
