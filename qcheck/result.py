"""What qcheck says: evidence, findings, verdicts and the result, as frozen data and as JSON (schema_version 1).

Within a schema version fields are only added. `qcheck/result.schema.json` is `json_schema()` written down; readers
must bear finding kinds that they do not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from qcheck.jsonio import significant, to_plain

__all__ = [
    "Cause",
    "Declared",
    "Deviating",
    "Divergence",
    "Evidence",
    "Finding",
    "Fraction",
    "Nearest",
    "Offered",
    "PriceUsd",
    "ProviderResult",
    "ReferenceInfo",
    "Result",
    "Severity",
    "SuiteInfo",
    "Tokens",
    "Totals",
    "Verdict",
    "json_schema",
    "result_to_json",
]

Verdict = Literal["consistent", "deviates", "inconclusive", "unavailable"]
Severity = Literal["info", "warning", "deviation"]
Provenance = Literal["self-hosted", "first-party", "third-party"]
ReferenceKind = Literal["recorded", "live", "none"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause in words; `probability` in [0, 1] under the stated alternatives, None where none is claimed."""

    text: str
    probability: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One observed difference with its numbers. Only severity `deviation` may decide a verdict."""

    kind: str
    severity: Severity
    text: str
    likely_cause: Cause | None
    probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one observable says: requests it saw, natural log of its e-value, its weight in the average.

    suite: whose answers it saw; None where it was not part of a run.
    """

    observable: str
    requests: int
    log_e_value: float
    weight: float
    findings: tuple[Finding, ...]
    suite: str | None = None


@dataclass(frozen=True, slots=True)
class Fraction:
    """Routing fraction with a confidence sequence: bounds hold at all times together with `confidence`.

    Of several suites it is that of the one which shows most. estimate: None without a reference, and of who deviates
    where no recorded variant is named: every request a little off and a few far off look alike then.
    """

    low: float
    estimate: float | None
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Divergence:
    """Mean KL divergence per answer position against the nearest reference deployment, lower bound by truncation.

    low, high: descriptive 95 % interval over requests. envelope: the same mean for the honest deployment that lies
    furthest from the others, times the squared noise factor; None without a recorded envelope.
    """

    mean: float
    low: float
    high: float
    envelope: float | None
    unit: Literal["nats/token"] = "nats/token"


@dataclass(frozen=True, slots=True)
class Deviating:
    """How many answers showed a tail event, of how many, and on which probes (the first ten)."""

    answers: int
    of: int
    probes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nearest:
    """Posterior probability that the deviating answers come from a recorded variant (or `none of these`)."""

    variant: str
    probability: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts as the provider reported them."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class PriceUsd:
    """US dollars per million tokens."""

    input: float
    output: float


@dataclass(frozen=True, slots=True)
class Declared:
    """What the provider says of its precision, where, and when that was read."""

    precision: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Offered:
    """What an endpoint was found to offer when it was looked at (`found`, UTC).

    top_logprobs: listed at a position, on a grid of `lattice` nats (0 for none). after_temperature: whether they are of
    what is sampled from; greedy: whether temperature 0 is kept; None where nothing shows it. temperature: the only one
    that is accepted, None where 0 is. min_tokens: the fewest output tokens.
    """

    found: str
    top_logprobs: int
    lattice: float
    after_temperature: bool | None
    greedy: bool | None
    temperature: float | None
    min_tokens: int


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """The verdict on one provider and all that it rests on.

    requests: all that were sent, of which `discovery` asked what it offers.
    """

    name: str
    endpoint: str
    model_id: str | None
    declared: Declared | None
    price_usd_per_mtok: PriceUsd | None
    verdict: Verdict
    decided_by: Literal["evidence", "finding"] | None
    summary: str
    likely_cause: Cause | None
    stop_reason: str
    started: str | None
    ended: str | None
    unavailable_reason: str | None
    requests: int
    failures: int
    tokens: Tokens
    cost_usd: float | None
    needed_requests: int | None
    log_e_value: float
    deviating: Deviating
    routing_fraction: Fraction
    blind_to: tuple[str, ...]
    divergence: Divergence | None
    nearest: tuple[Nearest, ...]
    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    discovery: int = 0
    offered: Offered | None = None


@dataclass(frozen=True, slots=True)
class ReferenceInfo:
    """What the providers were compared with; provenance is printed wherever the reference is.

    margin_nats, margin_source: how far from it they may lie where no envelope is known, and what that rests on.
    variants: live deployments that were looked for.
    """

    name: str | None
    kind: ReferenceKind
    provenance: Provenance | None
    deployments: tuple[str, ...]
    hash: str | None
    margin_nats: float | None
    margin_source: str | None = None
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteInfo:
    """A suite by name and content hash, and what its answers were compared with."""

    name: str
    hash: str
    reference: ReferenceInfo


@dataclass(frozen=True, slots=True)
class Totals:
    """All that the run asked, reference included.

    estimated_usd: the part of cost_usd that stands for exchanges whose usage nobody told, at the most they can cost.
    """

    requests: int
    tokens: Tokens
    cost_usd: float | None
    estimated_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run's result. Without a reference, `groups` agree and the pairs in `different` do not.

    reference: the first suite's; every suite names its own.
    """

    qcheck_version: str
    run_id: str
    model: str
    released_precision: str | None
    created: str
    seed: int
    alpha: float
    tolerance: float
    exit_code: int
    reference: ReferenceInfo
    suites: tuple[SuiteInfo, ...]
    groups: tuple[tuple[str, ...], ...] | None
    totals: Totals
    providers: tuple[ProviderResult, ...]
    different: tuple[tuple[str, str], ...] | None = None
    schema_version: Literal[1] = 1


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value


def result_to_json(result: Result) -> dict[str, Any]:
    """The result as plain JSON values, floats at 6 significant digits, `schema_version` first."""
    plain = _rounded(to_plain(result))
    return {"schema_version": plain.pop("schema_version"), **plain}


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `result_to_json`."""
    from pydantic import TypeAdapter  # noqa: PLC0415  (heavy, and only needed to write the schema down)

    schema = TypeAdapter(Result).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "qcheck result", **schema}
