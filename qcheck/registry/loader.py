"""Providers and models as `data/` has them, and what `qcheck providers update` has read since.

providers.toml and models.toml are written by hand. offers.toml, which says who serves which model under which id and at
what price, comes from models.dev (`models_dev.py`); the newer one of the shipped and the user's is in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from pydantic import TypeAdapter

from qcheck.errors import ConfigurationError, UnknownNameError
from qcheck.places import data_folder
from qcheck.registry.address import check_base_url
from qcheck.registry.rows import (
    MODEL_TRAITS,
    PROVIDER_TRAITS,
    ModelRow,
    Name,
    OfferRow,
    OffersFile,
    ProviderRow,
    ServedRow,
    by_trait,
    parse_toml,
)
from qcheck.registry.types import Declared, Dialect, ModelProfile, Provider

__all__ = [
    "Offers",
    "get_model",
    "load_models",
    "load_offers",
    "load_providers",
    "model_names",
    "models_dev_names",
    "parse_models",
    "parse_offers",
    "parse_providers",
    "user_offers",
]

_DATA = "qcheck/registry/data/"


@dataclass(frozen=True, slots=True)
class Offers:
    """Who serves which model: `by_provider[provider][model]`, as `source` had it on the day `read`."""

    source: str
    read: date
    by_provider: Mapping[str, Mapping[str, OfferRow]]


def _provider_rows(data: bytes, where: str) -> dict[str, ProviderRow]:
    return parse_toml(data, where, TypeAdapter(dict[Name, ProviderRow]))


def _model_rows(data: bytes, where: str) -> dict[str, ModelRow]:
    return parse_toml(data, where, TypeAdapter(dict[Name, ModelRow]))


def parse_providers(data: bytes, where: str) -> Mapping[str, Provider]:
    """Providers by name, in file order. Raises ConfigurationError."""
    rows = _provider_rows(data, where)
    return MappingProxyType({name: _provider(name, row, where) for name, row in rows.items()})


def _provider(name: str, row: ProviderRow, where: str) -> Provider:
    sources = by_trait(row.sources)
    return Provider(
        name=name,
        title=row.title,
        base_url=check_base_url(row.base_url, f"{where}: {name}"),
        key_env=row.key_env,
        docs=row.docs,
        dialect=row.dialect(Dialect(pin=row.pin)),
        aggregator=row.aggregator or row.pin is not None,
        plan=row.plan,
        local=row.local,
        sources=sources,
        unverified=tuple(t for t in PROVIDER_TRAITS if t in row.model_fields_set and t not in sources),
        undocumented=by_trait(row.undocumented),
    )


def parse_offers(data: bytes, where: str) -> Offers:
    """The offers of a file. Raises ConfigurationError."""
    file = parse_toml(data, where, TypeAdapter(OffersFile))
    return Offers(file.source, file.read, file.offers)


def parse_models(data: bytes, where: str, offers: Offers) -> Mapping[str, ModelProfile]:
    """Model profiles by name, in file order, with the ids and prices of `offers`. Raises ConfigurationError."""
    rows = _model_rows(data, where)
    return MappingProxyType({name: _model(name, row, offers) for name, row in rows.items()})


def _model(name: str, row: ModelRow, offers: Offers) -> ModelProfile:
    offered = {p: models[name] for p, models in offers.by_provider.items() if name in models}
    served = {p: ServedRow(id=offer.id).over(offer) for p, offer in offered.items()}
    served |= {p: known.over(offered.get(p)) for p, known in row.providers.items()}
    sources = by_trait(row.sources)
    return ModelProfile(
        name=name,
        title=row.title,
        released_precision=row.released_precision,
        first_party=row.first_party,
        ids={p: s.id for p, s in served.items()},
        prices={p: s.price.price() for p, s in served.items() if s.price},
        temperature={p: s.temperature for p, s in served.items() if s.temperature is not None},
        retires={p: s.retires for p, s in served.items() if s.retires},
        declared={p: _declared(s, offers) for p, s in served.items() if s.declared},
        thinking_off={p: s.thinking_off for p, s in served.items() if s.thinking_off},
        thinks=row.thinks != "never",
        thinks_always=row.thinks == "always",
        prompt_format=row.prompt_format.prompt_format() if row.prompt_format else None,
        dated_template=row.dated_template,
        sources=sources,
        unverified=tuple(trait for trait in MODEL_TRAITS if trait not in sources),
    )


def _declared(served: ServedRow, offers: Offers) -> Declared:
    at, read = (served.source.at, served.source.read) if served.source else (f"the id {served.id}", offers.read)
    return Declared(served.declared or "", at, read.isoformat())


def _shipped(name: str) -> bytes:
    return (files("qcheck.registry") / "data" / name).read_bytes()


def user_offers() -> Path:
    """Where `qcheck providers update` keeps what it read."""
    return data_folder() / "registry" / "offers.toml"


@cache
def load_providers() -> Mapping[str, Provider]:
    """The shipped providers by name."""
    return parse_providers(_shipped("providers.toml"), _DATA + "providers.toml")


@cache
def load_offers() -> Offers:
    """The shipped offers, or those of `qcheck providers update` where they are newer. Raises ConfigurationError."""
    shipped = parse_offers(_shipped("offers.toml"), _DATA + "offers.toml")
    path = user_offers()
    if not path.exists():
        return shipped
    try:
        updated = parse_offers(path.read_bytes(), str(path))
    except (OSError, ConfigurationError) as error:
        raise ConfigurationError(f"{error} Delete that file and give `qcheck providers update` again.") from None
    return max(shipped, updated, key=lambda offers: offers.read)


@cache
def load_models() -> Mapping[str, ModelProfile]:
    """The shipped model profiles by name, with the ids and prices of `load_offers`."""
    return parse_models(_shipped("models.toml"), _DATA + "models.toml", load_offers())


def get_model(name: str) -> ModelProfile:
    """The profile of a model. Raises UnknownNameError with the nearest names."""
    models = load_models()
    if name not in models:
        raise UnknownNameError("model", name, models, "`qcheck providers list` names all.")
    return models[name]


def model_names() -> Mapping[str, str]:
    """Every name that a model goes by, in lower case, and its own name."""
    rows = _model_rows(_shipped("models.toml"), _DATA + "models.toml")
    return {alias: name for name, row in rows.items() for alias in (name, *row.aka)}


def models_dev_names() -> Mapping[str, str]:
    """What models.dev calls a provider, and its name here."""
    rows = _provider_rows(_shipped("providers.toml"), _DATA + "providers.toml")
    return {row.models_dev or name: name for name, row in rows.items() if not row.local}
