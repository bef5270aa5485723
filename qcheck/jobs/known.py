"""What an endpoint was found to offer, as far as it changes how it is asked or judged; kept for some days.

Of three sources the user's qcheck.toml is believed before what was found, and that before the registry.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from qcheck import __version__
from qcheck.jobs.inquiry import Inquiry
from qcheck.jobs.offer import MOST_LEAST, Capability, capabilities
from qcheck.jobs.seen import listed
from qcheck.jsonio import atomic_write, content_hash, pretty
from qcheck.places import data_folder
from qcheck.registry.types import WRITTEN, Endpoint, LogprobsForm, MaxTokensField, ThinkingSwitch

__all__ = [
    "VALID_FOR",
    "KnownOffer",
    "hopeless",
    "known_offer",
    "read_offer",
    "recall",
    "remember",
    "with_offer",
    "write_offer",
]

VALID_FOR: Final = timedelta(days=7)
_FIELDS: Final = frozenset(
    {"logprobs", "top_logprobs_max", "after_temperature", "max_tokens", "min_tokens", "thinking_off"}
)


class KnownOffer(BaseModel):
    """What was found at an endpoint, and when. The fields of `qcheck.registry.types.Dialect` mean what they mean there.

    listed: log-probabilities that were given at a position, on a grid of `lattice` nats, 0 for none that matters.
    temperature: the only one that is accepted, None where 0 is. after_temperature, greedy: None where nothing shows it.
    thinking_off: None where the model needs no way, or none was asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    found: AwareDatetime
    qcheck_version: str
    model_id: str
    logprobs: LogprobsForm
    top_logprobs_max: Annotated[int, Field(ge=0, le=100)]
    listed: Annotated[int, Field(ge=0)]
    lattice: Annotated[float, Field(ge=0)]
    after_temperature: bool | None
    max_tokens: MaxTokensField
    min_tokens: Annotated[int, Field(ge=1, le=4096)]
    temperature: Annotated[float, Field(gt=0, le=2)] | None
    greedy: bool | None
    thinking_off: ThinkingSwitch | None = None

    @property
    def day(self) -> str:
        """When it was found, as an ISO date."""
        return f"{self.found.astimezone(UTC):%Y-%m-%d}"


def known_offer(asked: Inquiry, found: datetime) -> KnownOffer | None:
    """What the answers of an inquiry say that matters to a run; None where nothing shows if there are lists."""
    seen = asked.trials.get("greedy")
    if seen is None or seen.response is None:
        return None
    said = {c.name: c for c in capabilities(asked.trials)}
    dialect, count, step = asked.endpoint.dialect, said["one_token"].value, said["lattice"].value
    generated = count if isinstance(count, int) and 0 < count <= MOST_LEAST else 1
    temperature = asked.temperature if asked.pinned else None
    raw = _flag(said["raw_logprobs"])
    return KnownOffer(
        found=found,
        qcheck_version=__version__,
        model_id=asked.endpoint.model_id or "",
        logprobs=dialect.logprobs,
        top_logprobs_max=asked.top if listed(seen) else 0,
        listed=listed(seen),
        lattice=step if isinstance(step, float) else 0.0,
        after_temperature=None if raw is None else not raw,
        max_tokens=dialect.max_tokens,
        min_tokens=max(dialect.min_tokens, generated),
        temperature=temperature,
        greedy=_flag(said["greedy"]),
        thinking_off=asked.way,
    )


def _flag(capability: Capability) -> bool | None:
    return {"yes": True, "no": False}.get(capability.offered)


def hopeless(endpoint: Endpoint) -> bool:
    """Whether nothing that could be found would change how an endpoint is judged."""
    return endpoint.dialect.thinking_off in ("never", "not found")


def with_offer(endpoint: Endpoint, offer: KnownOffer | None) -> Endpoint:
    """The endpoint as it is asked given what was found there."""
    if offer is None:
        return endpoint
    free = _FIELDS - set(endpoint.dialect.stated)
    if endpoint.prompt_format is None and offer.thinking_off in WRITTEN:
        free -= {"thinking_off"}
    found = {name: value for name in free if (value := getattr(offer, name)) is not None}
    return replace(
        endpoint,
        model_id=endpoint.model_id or offer.model_id,
        temperature=endpoint.temperature if offer.temperature is None else offer.temperature,
        dialect=replace(endpoint.dialect, **found),
    )


def _place(endpoint: Endpoint, model: str) -> Path:
    """Where the offer of `endpoint` is kept, which is asked for `model`: by its address, never by its key."""
    stated = {field: getattr(endpoint.dialect, field) for field in endpoint.dialect.stated}
    asked = [endpoint.display, model, endpoint.model_id, endpoint.temperature, endpoint.prompt_format, stated]
    name = content_hash(asked).removeprefix("sha256:")
    return data_folder() / "offers" / f"{name}.json"


def remember(endpoint: Endpoint, model: str, offer: KnownOffer) -> None:
    """Keep what was found. `endpoint` is as it was resolved, before the offer was put over it. Raises StorageError."""
    write_offer(_place(endpoint, model), offer)


def recall(endpoint: Endpoint, model: str, now: datetime) -> KnownOffer | None:
    """What was found by this version in the last days; None where nothing was, or it cannot be read."""
    offer = read_offer(_place(endpoint, model))
    fresh = offer and offer.qcheck_version == __version__ and now - VALID_FOR <= offer.found <= now
    return offer if fresh else None


def write_offer(path: Path, offer: KnownOffer) -> None:
    """Write a file that `read_offer` reads. Raises StorageError."""
    atomic_write(path, pretty(offer.model_dump(mode="json")))


def read_offer(path: Path) -> KnownOffer | None:
    """The offer in a file; None where there is none, or it cannot be read."""
    try:
        return KnownOffer.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
