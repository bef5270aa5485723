"""What OpenRouter lists of the upstreams of a model: price, precision and parameters of each.

https://openrouter.ai/docs/api/api-reference/endpoints/list-endpoints describes the file, which is public.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qcheck.errors import DownloadError
from qcheck.jsonio import loads
from qcheck.places import data_folder
from qcheck.registry.rows import ModelId, PriceRow, must

__all__ = ["ENDPOINTS", "Listing", "Upstream", "kept_listing", "listing_file", "read_listing"]

ENDPOINTS = "https://openrouter.ai/api/v1/models/{}/endpoints"
MAX_UPSTREAMS = 500
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*/[A-Za-z0-9][A-Za-z0-9._:-]*")
_Tag = Annotated[str, must(r"[A-Za-z0-9._/-]{1,100}", "the tag of an upstream")]
_Word = Annotated[str, must(r"[A-Za-z0-9._-]{1,64}", "a word")]
_UsdPerToken = Annotated[float, Field(ge=0, le=0.1, allow_inf_nan=False)]  # which come as decimal text


class Upstream(BaseModel):
    """One upstream. tag: its name, and behind a slash what tells several of that name apart, as in `novita/fp8`.

    precision: as it declares it. price: None where it is not one of tokens alone. parameters: what it takes, None where
    that is not said.
    """

    model_config = ConfigDict(frozen=True)

    tag: _Tag
    precision: _Word | None
    price: PriceRow | None
    parameters: tuple[_Word, ...] | None

    @property
    def gives_logprobs(self) -> bool | None:
        """Whether it takes the parameters that ask for log-probabilities; None where that is not said."""
        return None if self.parameters is None else {"logprobs", "top_logprobs"} <= set(self.parameters)


class Listing(BaseModel):
    """The upstreams of the model that OpenRouter calls `model_id`, as listed on the day `read`."""

    model_config = ConfigDict(frozen=True)

    model_id: ModelId
    read: date
    upstreams: tuple[Upstream, ...]

    @property
    def source(self) -> str:
        """Where it was read."""
        return ENDPOINTS.format(self.model_id)

    def pinned(self, upstream: str, precision: str | None = None) -> tuple[Upstream, ...]:
        """Those that may answer where only `upstream`, and of it only what declares `precision`, is let in."""
        named = (u for u in self.upstreams if u.tag == upstream or u.tag.startswith(f"{upstream}/"))
        return tuple(u for u in named if precision is None or (u.precision or "unknown") == precision)


class _Pricing(BaseModel):
    prompt: _UsdPerToken
    completion: _UsdPerToken
    request: _UsdPerToken = 0.0


class _Row(BaseModel):
    """An upstream as OpenRouter lists it. What is not named here is ignored."""

    tag: _Tag
    quantization: _Word | None = None
    supported_parameters: list[_Word] | None = Field(default=None, max_length=200)


def listing_file(model_id: str) -> Path | None:
    """Where the listing of a model is kept; None for what can be no model's id at OpenRouter."""
    if not _MODEL_ID.fullmatch(model_id):
        return None
    return data_folder() / "registry" / "openrouter" / f"{model_id.replace('/', '+')}.json"


def kept_listing(model_id: str) -> Listing | None:
    """The listing of a model that was read last; None where there is none that can be used."""
    path = listing_file(model_id)
    try:
        listing = Listing.model_validate_json(path.read_bytes()) if path else None
    except (OSError, ValueError):
        return None
    return listing if listing and listing.model_id == model_id else None


def read_listing(data: bytes, model_id: str, today: date) -> Listing:
    """The listing in OpenRouter's answer. An upstream that does not hold what it should is left out.

    Raises DownloadError where `data` is no such answer.
    """
    try:
        rows = loads(data)["data"]["endpoints"]
        if not isinstance(rows, list) or len(rows) > MAX_UPSTREAMS:
            raise TypeError
    except (ValueError, LookupError, TypeError, RecursionError):
        raise DownloadError(f"{ENDPOINTS.format(model_id)} is not the list that OpenRouter describes.") from None
    upstreams = (_upstream(row) for row in rows)
    return Listing(model_id=model_id, read=today, upstreams=tuple(u for u in upstreams if u))


def _upstream(row: Any) -> Upstream | None:
    try:
        listed = _Row.model_validate(row)
    except ValidationError:
        return None
    precision = None if listed.quantization == "unknown" else listed.quantization
    said = listed.supported_parameters
    return Upstream(
        tag=listed.tag,
        precision=precision,
        price=_price(row.get("pricing")),
        parameters=None if said is None else tuple(said),
    )


def _price(pricing: Any) -> PriceRow | None:
    try:
        usd = _Pricing.model_validate(pricing)
    except ValidationError:
        return None
    if usd.request:  # what no number of tokens tells
        return None
    return PriceRow(input=round(usd.prompt * 1e6, 6), output=round(usd.completion * 1e6, 6))
