"""Offers out of models.dev's published API file: which provider serves which model, under which id, at what price.

Only that is taken from it. Addresses, key variables and dialects come with qcheck: a file from the network must not be
able to send a key elsewhere.

https://github.com/anomalyco/models.dev describes the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from qcheck.errors import DownloadError
from qcheck.jsonio import loads
from qcheck.registry.loader import Offers, load_providers, model_names, models_dev_names
from qcheck.registry.rows import ModelId, OfferRow, PriceRow
from qcheck.registry.types import Provider

__all__ = ["MODELS_DEV", "Changes", "changes", "read_offers", "to_toml"]

MODELS_DEV = "https://models.dev/api.json"
MIN_SHARE = 0.5  # of the offers known before: a file with fewer is a defect, no update
_SOURCE = f"models.dev ({MODELS_DEV}), MIT licence"
_DECIMAL_POINT = re.compile(r"(?<=\d)p(?=\d)")  # Fireworks writes kimi-k2p6
_PRECISION = re.compile(r"-(fp8|fp4|nvfp4|mxfp4|int8|int4|awq)$")
_Usd = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class _Cost(BaseModel):
    input: _Usd
    output: _Usd


class _Listed(BaseModel):
    """A model of a provider. What is not named here is ignored."""

    id: ModelId
    status: str | None = None
    cost: _Cost | None = None


class _Lists(BaseModel):
    """A provider. Its models are looked at one by one, so that a mistake in one does not cost the others."""

    models: dict[str, object]


@dataclass(frozen=True, slots=True)
class Changes:
    """How many offers are new, gone, and at another price or under another id."""

    new: int
    gone: int
    other: int


def read_offers(data: bytes, today: date, before: Offers) -> Offers:
    """The offers of known models at known providers in the API file.

    What models.dev calls deprecated is left out, as are entries that do not hold what they should, and prices that
    nobody should count on: those of aggregators, which are of whatever upstream answers, and a price of 0 at a provider
    that is not known to sell plans, where it stands for a trial or for an unknown one. Raises DownloadError where
    `data` is no such file, or lists much less than `before`.
    """
    try:
        providers = TypeAdapter(dict[str, _Lists]).validate_python(loads(data))
    except (ValueError, RecursionError):
        raise DownloadError(
            f"{MODELS_DEV} is not the file that models.dev describes; what was known before stays."
        ) from None
    names, known = model_names(), load_providers()
    here = {name: providers[theirs] for theirs, name in models_dev_names().items() if theirs in providers}
    found = {name: dict(sorted(_best(_offers(lists, names, known[name])).items())) for name, lists in here.items()}
    offers = Offers(_SOURCE, today, {name: models for name, models in found.items() if models})
    if (listed := _count(offers)) < MIN_SHARE * _count(before):
        raise DownloadError(
            f"{MODELS_DEV} lists {listed} offers where {_count(before)} are known; what was known before stays."
        )
    return offers


def _offers(lists: _Lists, names: Mapping[str, str], provider: Provider) -> Iterator[tuple[str, OfferRow]]:
    for row in lists.models.values():
        try:
            listed = _Listed.model_validate(row)
        except ValidationError:
            continue
        model, declared = _named(listed.id, names)
        if model is None or listed.status == "deprecated":
            continue
        yield model, OfferRow(id=listed.id, price=_price(listed.cost, provider), declared=declared)


def _price(cost: _Cost | None, provider: Provider) -> PriceRow | None:
    if cost is None or provider.aggregator or not (cost.input or cost.output or provider.plan):
        return None
    return PriceRow(input=cost.input, output=cost.output)


def _named(model_id: str, names: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The model that an id spells, and the precision that it ends with; None where it spells none that is known."""
    word = _DECIMAL_POINT.sub(".", model_id.rsplit("/", 1)[-1].lower()).removesuffix("-tee")
    if word in names:
        return names[word], None
    stem = _PRECISION.sub("", word)
    return names.get(stem), word[len(stem) + 1 :] or None


def _best(offers: Iterator[tuple[str, OfferRow]]) -> dict[str, OfferRow]:
    """One offer a model: of no declared precision and in no enclave if there is such a one, and of the plainest id."""

    def plainest_first(offer: tuple[str, OfferRow]) -> tuple[bool, bool, int, str]:
        row = offer[1]
        return row.declared is not None, "tee" in row.id.lower(), len(row.id), row.id

    best: dict[str, OfferRow] = {}
    for model, row in sorted(offers, key=plainest_first):
        best.setdefault(model, row)
    return best


def _flat(offers: Offers) -> dict[tuple[str, str], OfferRow]:
    return {(p, model): offer for p, models in offers.by_provider.items() for model, offer in models.items()}


def _count(offers: Offers) -> int:
    return len(_flat(offers))


def changes(before: Offers, after: Offers) -> Changes:
    """What an update changed."""
    old, new = _flat(before), _flat(after)
    both = old.keys() & new.keys()
    return Changes(len(new) - len(both), len(old) - len(both), sum(old[key] != new[key] for key in both))


def to_toml(offers: Offers) -> str:
    """`offers` as the file that `parse_offers` reads."""
    lines = [
        "# Who serves which model, under which id, at what price (US dollars per million tokens).",
        "# Written by `qcheck providers update`, see docs/registry.md. What is known better stands in models.toml.",
        "",
        f"source = {json.dumps(offers.source)}",
        f"read = {offers.read.isoformat()}",
    ]
    for provider, models in offers.by_provider.items():
        lines += ["", f"[offers.{json.dumps(provider)}]"]
        lines += [f"{json.dumps(model)} = {_inline(offer)}" for model, offer in models.items()]
    return "\n".join(lines) + "\n"


def _inline(offer: OfferRow) -> str:
    parts = [f"id = {json.dumps(offer.id)}"]
    if offer.price:
        parts.append(f"price = {{ input = {offer.price.input}, output = {offer.price.output} }}")
    if offer.declared:
        parts.append(f"declared = {json.dumps(offer.declared)}")
    return f"{{ {', '.join(parts)} }}"
