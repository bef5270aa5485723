"""From what a user wants compared to what a run promises: first as far as is known, then given what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.observable import evidence_of
from qcheck.jobs import rehearsal
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.discover import Discovery, Found, Texts, planned
from qcheck.jobs.known import KnownOffer
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.reference import Reference
from qcheck.jobs.strongest import Asked, Choice, asked_nothing, choose, text_suites, unfit
from qcheck.registry.observables import UNTOLD_WAY, lost_observables
from qcheck.registry.types import Endpoint, ModelProfile
from qcheck.suites import Suite

__all__ = ["Question", "may_be_asked"]


def may_be_asked(default: Asked, model: ModelProfile, roots: Sequence[Path]) -> tuple[Asked, ...]:
    """The suites that providers may be judged by, the strongest first; the user names neither suites nor a reference.

    default: log-probabilities. Several suites go together where all of them have recorded references.
    """
    if default[1].live:
        return (default,)
    texts = text_suites(model, roots)
    return (default, *texts) if default[1].baseline or not texts else texts


def _as_found(reference: Reference, found: Mapping[str, Endpoint]) -> Reference:
    """The reference with its live endpoints as they were found, by name."""
    return replace(
        reference,
        live=found[reference.live.name] if reference.live else None,
        scored_by=tuple(found[e.name] for e in reference.scored_by),
        variants=tuple(found[e.name] for e in reference.variants),
    )


def _no_reference(live: Endpoint, *, presume: bool) -> str | None:
    """Why nothing can be compared with a live reference, whose log-probabilities alone are used; None if not."""
    why = lost_observables(live).get(LogprobEvidence.name)
    if live.dialect.thinking_off == "unknown" and not presume:
        why = UNTOLD_WAY
    return f"because of the reference {live.name} ({why}); name another --reference" if why else None


@dataclass(frozen=True, slots=True)
class Question:
    """What a user wants compared. providers: as they were resolved, before anything was found.

    asked: suites with their references. automatic: whether each provider is asked one of them, the strongest that it
    can show, instead of all.
    """

    run_id: str
    created: datetime
    model: ModelProfile
    providers: tuple[Endpoint, ...]
    asked: tuple[Asked, ...]
    automatic: bool
    settings: Settings

    @property
    def everyone(self) -> tuple[Endpoint, ...]:
        """The compared providers, and live references and variants last."""
        return (*self.providers, *(endpoint for _, reference in self.asked for endpoint in reference.endpoints))

    @property
    def texts(self) -> Texts:
        """Whose texts may be judged."""
        if all(evidence_of(suite) is LogprobEvidence for suite, _ in self.asked):
            return "unused"
        return "instead" if self.automatic else "judged"

    def discovery(self, known: Sequence[Found]) -> Mapping[str, Discovery]:
        """What it takes to find out what everyone offers, by name; some of it may be `known`."""
        plans = {
            endpoint.name: planned(endpoint, found.offer, self.texts)
            for endpoint, found in zip(self.everyone, known, strict=True)
        }
        return plans | {e.name: rehearsal.planned(plans[e.name], e, suite) for suite, e in self.scorers}

    @property
    def scorers(self) -> tuple[tuple[Suite, Endpoint], ...]:
        """Those who score the texts of a suite, with that."""
        return tuple((suite, e) for suite, reference in self.asked for e in (*reference.scored_by, *reference.variants))

    def promise(self, found: Sequence[Found], *, presume: bool = False, unfit: str | None = None) -> RunManifest:
        """The run's manifest given what was found at `everyone`, in that order. Raises UsageError.

        presume: it is for a plan, and what is not known yet may turn out well. Else who cannot be judged as was wanted
        is asked nothing, and the others go on. unfit: why the live references cannot be used, where that was found.
        """
        compared = [it.endpoint for it in found[: len(self.providers)]]
        lives = {it.endpoint.name: it.endpoint for it in found[len(self.providers) :]}
        asked = [(suite, _as_found(it, lives)) for suite, it in self.asked]
        offers = {it.endpoint.name: it.offer for it in found if it.offer}
        choices: Mapping[str, Choice] | None = None
        if unfit := unfit or next(
            (why for live in lives.values() if (why := _no_reference(live, presume=presume))), None
        ):
            choices = {e.name: Choice((), unfit) for e in compared}
        elif self.automatic:
            choices = choose(compared, offers, asked, self.model, presume=presume)
        elif not presume:
            choices = {e.name: self._as_wanted(e, offers.get(e.name)) for e in compared}
        return make_manifest(self.run_id, self.created, self.model, compared, asked, self.settings, offers, choices)

    def _as_wanted(self, endpoint: Endpoint, offer: KnownOffer | None) -> Choice:
        """All suites, or none where one of them does not fit what was found.

        A provider that gives no log-probabilities is asked for them all the same: its silence costs it nothing. One
        whose answers are none, since the model thinks first, is asked nothing.
        """
        if none := asked_nothing(endpoint, self.model, presume=False):
            return none
        greedy = offer is not None and bool(offer.greedy)
        for suite, reference in self.asked:
            if evidence_of(suite) is LogprobEvidence:
                continue
            if why := unfit(endpoint, suite, reference, greedy=greedy):
                return Choice((), f"by the suite {suite.name}: {why}; choose another --suite")
        return Choice(tuple(suite.name for suite, _ in self.asked))
