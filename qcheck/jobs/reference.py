"""Which references a run compares with: one for each of its suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qcheck.baselines import Baseline, find_baseline, list_baselines, load_baseline
from qcheck.errors import BaselineError, ConfigurationError
from qcheck.registry.address import is_loopback
from qcheck.registry.observables import lost_observables
from qcheck.registry.types import Endpoint, ModelProfile, Resolver
from qcheck.result import Provenance
from qcheck.suites import Suite

__all__ = ["MIN_REFERENCES", "Reference", "choose_references", "provenance_of", "recorded_reference"]

LIVE, NO_REFERENCE = "live:", "none"
MIN_REFERENCES = 2
RANKS: Final[tuple[Provenance, ...]] = ("self-hosted", "first-party", "third-party")


@dataclass(frozen=True, slots=True)
class Reference:
    """A recorded baseline, a live endpoint, or neither. `notice` says why a nearer choice was passed over."""

    baseline: Baseline | None = None
    live: Endpoint | None = None
    notice: str | None = None

    @property
    def provenance(self) -> Provenance | None:
        """That of the least trusted reference deployment of a baseline; None without one."""
        if self.baseline is None:
            return None
        recorded = self.baseline.manifest.deployments
        return max((recorded[i].provenance for i in self.baseline.references), key=RANKS.index)

    @property
    def has_envelope(self) -> bool:
        """Whether several honest deployments were recorded, whose operator knows what they serve."""
        b = self.baseline
        enough = b is not None and b.table is not None and len(b.references) >= MIN_REFERENCES
        return enough and self.provenance != "third-party"


def _fitting(baseline: Baseline, model: ModelProfile, suite: Suite) -> str | None:
    if baseline.manifest.model != model.name:
        return f"the baseline {baseline.name} is of {baseline.manifest.model}, not of {model.name}"
    if baseline.manifest.suite.name != suite.recorded.name:
        return f"the baseline {baseline.name} was recorded with the suite {baseline.manifest.suite.name}"
    if not baseline.fits(suite):
        return f"the baseline {baseline.name} was recorded with another version of the suite {suite.recorded.name}"
    if not baseline.references:
        return f"the baseline {baseline.name} holds variants only"
    return None


def choose_references(
    option: str | None,
    model: ModelProfile,
    suites: Sequence[Suite],
    roots: Sequence[Path],
    resolvers: Sequence[Resolver],
    environ: Mapping[str, str],
    compared: Sequence[str] = (),
) -> tuple[Reference, ...]:
    """The references for `model`, one a suite: the option's, else a fitting baseline, else the first party live.

    `option` names baselines or their folders, separated by commas, each for the suite that it was recorded with, or is
    `live:PROVIDER` or "none" for a single suite, or None for the default order. A first party that stands among the
    `compared` providers is no reference for itself. Raises UsageError where the option names something that does not
    exist or does not fit.
    """
    if option and (option == NO_REFERENCE or option.startswith(LIVE)):
        if len(suites) > 1:
            raise ConfigurationError(
                f"--reference {option} goes with one suite: several are compared with recorded baselines alone."
            )
        live = None if option == NO_REFERENCE else _live(option.removeprefix(LIVE), model, resolvers)
        return (Reference(live=live),)
    named = _named([find_baseline(word.strip(), roots) for word in option.split(",")] if option else [], model, suites)
    return tuple(
        named.get(suite.name) or _default(model, suite, roots, resolvers, environ, compared) for suite in suites
    )


def _named(baselines: Sequence[Baseline], model: ModelProfile, suites: Sequence[Suite]) -> dict[str, Reference]:
    """The baselines that the user names, by the name of the suite that each was recorded with."""
    found: dict[str, Reference] = {}
    for baseline in baselines:
        suite = next((s for s in suites if s.recorded.name == baseline.manifest.suite.name), suites[0])
        if problem := _fitting(baseline, model, suite):
            again = f"qcheck baseline record {model.name} --suite {suite.recorded.name} --provider …"
            raise BaselineError(f"{problem}; record one with `{again}`.")
        if suite.name in found:
            raise ConfigurationError(f"--reference names two baselines for the suite {suite.name}; name one of them.")
        found[suite.name] = Reference(baseline)
    return found


def recorded_reference(model: ModelProfile, suite: Suite, roots: Sequence[Path]) -> Reference:
    """The nearest baseline that fits, or none and why those that nearly do were passed over."""
    notices = []
    for folder in list_baselines(roots).values():
        try:
            baseline = load_baseline(folder)
        except BaselineError as error:
            notices.append(f"passed over: {error}")
            continue
        if (baseline.manifest.model, baseline.manifest.suite.name) == (model.name, suite.recorded.name):
            problem = _fitting(baseline, model, suite)
            if problem is None:
                return Reference(baseline, notice=" ".join(notices) or None)
            notices.append(f"{problem}.")
    return Reference(notice=" ".join(notices) or None)


def _default(
    model: ModelProfile,
    suite: Suite,
    roots: Sequence[Path],
    resolvers: Sequence[Resolver],
    environ: Mapping[str, str],
    compared: Sequence[str],
) -> Reference:
    recorded = recorded_reference(model, suite, roots)
    if recorded.baseline:
        return recorded
    notices = [recorded.notice] if recorded.notice else []
    endpoint = None
    if model.first_party and model.first_party not in compared:
        try:
            endpoint = next((e for r in resolvers if (e := r.resolve(model.first_party, model))), None)
        except ConfigurationError as error:  # such as a model that its maker serves no more
            notices.append(f"the first party is no reference: {error}")
    live = endpoint if endpoint and endpoint.key_env and environ.get(endpoint.key_env) else None
    if live and (why := lost_observables(live).get("logprobs")):
        notices.append(f"the first party is no reference: as to log-probabilities, {why}.")
        live = None
    return Reference(live=live, notice=" ".join(notices) or None)


def provenance_of(endpoint: Endpoint, model: ModelProfile) -> Provenance:
    """Who runs an endpoint of `model`, as far as that follows from its address and name."""
    if is_loopback(endpoint.base_url):
        return "self-hosted"
    return "first-party" if endpoint.name == model.first_party else "third-party"


def _live(spec: str, model: ModelProfile, resolvers: Sequence[Resolver]) -> Endpoint:
    for resolver in resolvers:
        if endpoint := resolver.resolve(spec, model):
            return replace(endpoint, spec=spec)
    raise ConfigurationError(
        f"live:{spec} names no provider; write live:NAME with a provider of `qcheck providers list`."
    )
