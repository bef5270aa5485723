"""What a run fixes before its first request: `manifest.json` in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qcheck.baselines import Baseline, load_baseline
from qcheck.errors import BaselineError, RunFolderError, SuiteError
from qcheck.evidence.envelope import Envelope, TailLevel
from qcheck.evidence.margin import MARGIN_NATS
from qcheck.result import Provenance, ReferenceInfo, ReferenceKind
from qcheck.run.budget import Limits
from qcheck.suites import Suite, load_suite
from qcheck.verdict import FailOn, Rules, Until

__all__ = ["ProviderEntry", "ReferenceEntry", "RunManifest"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    lost: observables that it cannot show, and why.
    """

    name: str
    spec: str
    display: str
    model_id: str | None
    declared: DeclaredEntry | None
    price: PriceEntry | None
    lost: dict[str, str] = {}


class SuiteUsed(_Strict):
    """The suite by name, place and content hash."""

    name: str
    path: str
    hash: str


class ReferenceEntry(_Strict):
    """What is compared with. `path` is a recorded baseline's folder, `live` a live reference's endpoint."""

    kind: ReferenceKind
    name: str | None = None
    provenance: Provenance | None = None
    deployments: tuple[str, ...] = ()
    hash: str | None = None
    path: str | None = None
    live: ProviderEntry | None = None


class EnvelopeEntry(_Strict):
    """`qcheck.evidence.envelope.Envelope`, frozen."""

    alpha: float
    delta: float
    levels: dict[str, tuple[dict[str, Any], ...]]
    watched: int
    visibility: dict[str, dict[str, float]]
    resolution: str | None


class LimitsEntry(_Strict):
    """`qcheck.run.budget.Limits`."""

    max_requests: int | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None


class RunManifest(_Strict):
    """Everything that the verdicts depend on, but for the answers. Weights: of each observable's e-value."""

    format: Literal[1] = 1
    qcheck_version: str
    run_id: str
    created: str
    model: str
    released_precision: str | None
    seed: int
    alpha: float
    delta: float
    tolerance: float
    family: int
    until: Until
    fail_on: FailOn
    concurrency: int
    suite: SuiteUsed
    reference: ReferenceEntry
    providers: tuple[ProviderEntry, ...]
    limits: LimitsEntry
    weights: dict[str, float]
    envelope: EnvelopeEntry | None

    @classmethod
    def parse(cls, data: dict[str, Any]) -> RunManifest:
        """The manifest of a run folder. Raises RunFolderError."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise RunFolderError(
                f"the run's manifest is not one that this version reads ({where}); start anew."
            ) from error

    @property
    def rules(self) -> Rules:
        """What the verdict needs."""
        return Rules(self.alpha, self.delta, self.family, self.tolerance, self.until)

    @property
    def names(self) -> tuple[str, ...]:
        """The compared providers."""
        return tuple(p.name for p in self.providers)

    @property
    def everyone(self) -> tuple[ProviderEntry, ...]:
        """The compared providers, and a live reference last."""
        return (*self.providers, *([self.reference.live] if self.reference.live else []))

    def with_model_ids(self, ids: Mapping[str, str | None]) -> RunManifest:
        """The same with the model ids that only the endpoints could tell."""

        def told(entry: ProviderEntry) -> ProviderEntry:
            return entry.model_copy(update={"model_id": ids[entry.name]})

        live = self.reference.live
        reference = self.reference.model_copy(update={"live": told(live) if live else None})
        return self.model_copy(update={"providers": tuple(map(told, self.providers)), "reference": reference})

    def frozen_envelope(self) -> Envelope | None:
        """The envelope as evidence uses it."""
        if self.envelope is None:
            return None
        levels = {view: tuple(TailLevel(**level) for level in mine) for view, mine in self.envelope.levels.items()}
        return Envelope(**(self.envelope.model_dump() | {"levels": levels}))

    def budget_limits(self) -> Limits:
        """The user's limits."""
        return Limits(**self.limits.model_dump())

    def reference_info(self) -> ReferenceInfo:
        """The reference as the result shows it."""
        r = self.reference
        margin = MARGIN_NATS if self.envelope is None and r.kind != "none" else None
        return ReferenceInfo(r.name, r.kind, r.provenance, r.deployments, r.hash, margin)

    def load_suite(self) -> Suite:
        """The suite, provided that it is still the same. Raises SuiteError."""
        try:
            suite = load_suite(self.suite.path)
        except SuiteError:
            suite = load_suite(self.suite.name)
        if suite.hash != self.suite.hash:
            raise SuiteError(f"the suite {self.suite.name} has changed since the run began; start a new run.")
        return suite

    def load_baseline(self) -> Baseline | None:
        """The recorded reference, provided that it is still the same. Raises BaselineError."""
        if self.reference.path is None:
            return None
        baseline = load_baseline(Path(self.reference.path))
        if baseline.hash != self.reference.hash:
            raise BaselineError(f"the baseline {baseline.name} has changed since the run began; start a new run.")
        return baseline
