"""What a run fixes before its first request: `manifest.json` in the run folder."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qcheck.baselines import Baseline, load_baseline
from qcheck.errors import BaselineError, RunFolderError, SuiteError
from qcheck.evidence import scored_text
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.evidence.margin import MARGIN_NATS, MARGIN_SOURCE
from qcheck.jobs.known import KnownOffer
from qcheck.jobs.panel import Panel
from qcheck.registry.types import ThinkingSwitch, Untold
from qcheck.result import Provenance, ReferenceInfo, ReferenceKind, SuiteInfo
from qcheck.run.budget import Limits
from qcheck.stats.counted import HITS
from qcheck.suites import Suite, load_suite
from qcheck.verdict import FailOn, Rules, Until

__all__ = [
    "DeclaredEntry",
    "EnvelopeEntry",
    "LimitsEntry",
    "PriceEntry",
    "ProviderEntry",
    "ReferenceEntry",
    "RunManifest",
    "SuiteUsed",
]


Share = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DeclaredEntry(_Strict):
    """The precision a provider declares, where it says so, and when that was read."""

    precision: str
    source: str
    date: str


class PriceEntry(_Strict):
    """US dollars per million tokens."""

    input: float
    output: float


class ProviderEntry(_Strict):
    """One provider as it was resolved. `spec` is the user's word, from which it is resolved again on resuming.

    lost: observables that it cannot show, and why. plan: whether a subscription pays (`qcheck.run.budget.is_plan`).
    unpinned: whether it sends requests on to upstreams of its choice. min_tokens: the fewest output tokens it accepts.
    streamed: whether it answers in streams, whose usage may be counted on the way, by other tokens (as LiteLLM does).
    manner: a hash of how it is asked (`qcheck.jobs.compare.manner_of`), which must be the same when a run is resumed.
    thinking_off: how a model that may think is kept from it, which may have been found out.
    offer: what was found there, when (`qcheck.jobs.known`). suites: those that it is asked, None for all of the run.
    unjudged: why there are none. plain: whether it is known to draw from the whole distribution, without penalties.
    withheld: what it does not give, and what that costs, in words.
    """

    name: str
    spec: str
    display: str
    model_id: str | None
    declared: DeclaredEntry | None
    price: PriceEntry | None
    lost: dict[str, str] = {}
    plan: bool = False
    unpinned: bool = False
    min_tokens: int = 1
    streamed: bool = False
    manner: str | None = None
    thinking_off: ThinkingSwitch | Untold | None = None
    offer: KnownOffer | None = None
    suites: tuple[str, ...] | None = None
    unjudged: str | None = None
    plain: bool = False
    withheld: tuple[str, ...] = ()


class ReferenceEntry(_Strict):
    """What is compared with. path: a recorded baseline's folder. live: a live reference's endpoint.

    scored_by, variants: the endpoints that score texts, of references and of what is looked for.
    """

    kind: ReferenceKind
    name: str | None = None
    provenance: Provenance | None = None
    deployments: tuple[str, ...] = ()
    hash: str | None = None
    path: str | None = None
    live: ProviderEntry | None = None
    scored_by: tuple[ProviderEntry, ...] = ()
    variants: tuple[ProviderEntry, ...] = ()


class EnvelopeEntry(_Strict):
    """`qcheck.evidence.envelope.Envelope`, frozen."""

    alpha: Share
    delta: Annotated[float, Field(ge=0)]
    levels: dict[str, Annotated[tuple[TailLevel, ...], Field(min_length=1)]]
    watched: Annotated[int, Field(ge=0)]
    visibility: dict[str, dict[str, float]]
    resolution: str | None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.delta >= self.alpha:
            raise ValueError("delta: it is a part of alpha")
        if any(self.watched >= len(levels) for levels in self.levels.values()):
            raise ValueError("watched: there are not so many levels")
        return self


class SuiteUsed(_Strict):
    """A suite by name, place and content hash, and what its answers are compared with.

    weight: of its e-value in the average over those of a provider that is asked it.
    """

    name: str
    path: str
    hash: str
    reference: ReferenceEntry
    envelope: EnvelopeEntry | None
    weight: Annotated[float, Field(ge=0)]

    def panel(self, suite: Suite, baseline: Baseline | None) -> Panel:
        """The suite as the run folds its answers, given the suite and the baseline that are named here."""
        references, variants = ([e.name for e in of] for of in (self.reference.scored_by, self.reference.variants))
        return Panel(suite, baseline, self._frozen_envelope(), self.weight, tuple(references), tuple(variants))

    def load(self) -> Panel:
        """The same, provided that both are as they were. Raises SuiteError, BaselineError or RunFolderError."""
        suite = self._load_suite()
        asked = {probe.stratum for probe in suite.fold("evaluation")}
        for level in chain.from_iterable(self.envelope.levels.values() if self.envelope else ()):
            if not asked <= level.null_bounds.keys() & level.hit_bounds.keys() or not _rises(level):
                raise RunFolderError(f"the run's manifest does not bound all that {self.name} asks; start anew.")
        return self.panel(suite, self._load_baseline())

    def info(self) -> SuiteInfo:
        """The suite and its reference as the result shows them."""
        r = self.reference
        margin, source = None, None
        if r.scored_by:
            margin, source = scored_text.MARGIN_NATS, scored_text.MARGIN_SOURCE
        elif self.envelope is None and r.kind != "none":
            margin, source = MARGIN_NATS, MARGIN_SOURCE
        variants = tuple(entry.name for entry in r.variants)
        reference = ReferenceInfo(r.name, r.kind, r.provenance, r.deployments, r.hash, margin, source, variants)
        return SuiteInfo(self.name, self.hash, reference)

    def _frozen_envelope(self) -> Envelope | None:
        if self.envelope is None:
            return None
        return Envelope(**(self.envelope.model_dump() | {"levels": self.envelope.levels}))

    def _load_suite(self) -> Suite:
        try:
            suite = load_suite(self.path)
        except SuiteError:
            suite = load_suite(self.name)
        if suite.hash != self.hash:
            raise SuiteError(f"the suite {self.name} has changed since the run began; start a new run.")
        return suite

    def _load_baseline(self) -> Baseline | None:
        if self.reference.path is None:
            return None
        baseline = load_baseline(Path(self.reference.path))
        if baseline.hash != self.reference.hash:
            raise BaselineError(f"the baseline {baseline.name} has changed since the run began; start a new run.")
        return baseline


def _rises(level: TailLevel) -> bool:
    """Whether hits are bet at probabilities, none of them at less than the one before or at more than the bound."""
    known = [(*level.hit_bounds[s], bound) for s, bound in level.null_bounds.items() if s in level.hit_bounds]
    return all(len(row) == len(HITS) + 1 and row[0] > 0 and row[-1] <= 1 and sorted(row) == [*row] for row in known)


class LimitsEntry(_Strict):
    """`qcheck.run.budget.Limits`."""

    max_requests: int | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None


class RunManifest(_Strict):
    """Everything that the verdicts depend on, but for the answers. dated: see `qcheck.verdict.Rules`."""

    format: Literal[4] = 4
    qcheck_version: str
    run_id: str
    created: str
    model: str
    released_precision: str | None
    seed: int
    alpha: Share
    delta: Annotated[float, Field(ge=0)]
    tolerance: Share
    family: Annotated[int, Field(ge=1)]
    until: Until
    fail_on: FailOn
    concurrency: int
    dated: bool = False
    suites: Annotated[tuple[SuiteUsed, ...], Field(min_length=1)]
    providers: tuple[ProviderEntry, ...]
    limits: LimitsEntry

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.delta >= self.alpha:
            raise ValueError("delta: it is a part of alpha")
        weights = {suite.name: suite.weight for suite in self.suites}
        for entry in self.providers:
            if not weights.keys() >= set(self.suites_of(entry)):
                raise ValueError("suites: a provider is asked one that the run does not have")
            if sum(weights[name] for name in self.suites_of(entry)) > 1 + 1e-9:
                raise ValueError("weights: they sum to at most 1")
        return self

    @classmethod
    def parse(cls, data: dict[str, Any]) -> RunManifest:
        """The manifest of a run folder. Raises RunFolderError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or first["msg"]
            raise RunFolderError(
                f"the run's manifest is not one that this version reads ({where}); start anew."
            ) from error

    @property
    def rules(self) -> Rules:
        """What the verdict needs."""
        return Rules(self.alpha, self.delta, self.family, self.tolerance, self.until, self.dated)

    @property
    def names(self) -> tuple[str, ...]:
        """The compared providers."""
        return tuple(p.name for p in self.providers)

    @property
    def planned(self) -> tuple[ProviderEntry, ...]:
        """Those who are asked probes: the compared providers, and a live reference last."""
        return (*self.providers, *([self.live] if self.live else []))

    @property
    def scorers(self) -> tuple[ProviderEntry, ...]:
        """Those who score the texts of the one suite of a run: references, and then variants."""
        reference = self.suites[0].reference
        return (*reference.scored_by, *reference.variants)

    @property
    def everyone(self) -> tuple[ProviderEntry, ...]:
        """All who are asked anything."""
        return (*self.planned, *self.scorers)

    def suites_of(self, entry: ProviderEntry) -> tuple[str, ...]:
        """The names of the suites that a provider is asked."""
        return tuple(suite.name for suite in self.suites) if entry.suites is None else entry.suites

    def unasked(self, entry: ProviderEntry) -> str | None:
        """Why a provider or the live reference is asked no suite; None where it is asked."""
        judged = sum(not other.unjudged for other in self.providers)
        if entry.unjudged:
            return entry.unjudged
        if entry == self.live:
            return None if judged else "nobody is left to be compared with it"
        return None if self.has_reference or judged > 1 else "nobody is left to compare it with"

    @property
    def share(self) -> int:
        """Over how many suites a provider's error is split."""
        return max(1, *(len(self.suites_of(entry)) for entry in self.providers))

    @property
    def live(self) -> ProviderEntry | None:
        """The live reference, which only the one suite of a run has."""
        return self.suites[0].reference.live

    @property
    def has_reference(self) -> bool:
        """Whether the providers are compared with anything but each other."""
        return self.suites[0].reference.kind != "none"

    def most_requests(self, entry: ProviderEntry) -> int | None:
        """The most requests to that provider, None where nothing limits them."""
        return self.budget_limits().most_requests(plan=entry.plan)

    def budget_limits(self) -> Limits:
        """The user's limits."""
        return Limits(**self.limits.model_dump())

    def load_panels(self) -> tuple[Panel, ...]:
        """Its suites with their references, provided that all are as they were. Raises what `SuiteUsed.load` does."""
        return tuple(used.load() for used in self.suites)
