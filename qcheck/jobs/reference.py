"""Which references a run compares with: one for each of its suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcheck.baselines import Baseline, find_baseline, list_baselines, load_baseline
from qcheck.errors import BaselineError, ConfigurationError
from qcheck.registry.address import is_loopback
from qcheck.registry.config import table_of
from qcheck.registry.observables import lost_observables
from qcheck.registry.resolve import resolve_all
from qcheck.registry.types import Endpoint, ModelProfile, Resolver
from qcheck.result import Provenance
from qcheck.suites import Suite

__all__ = ["MIN_REFERENCES", "RANKS", "Reference", "choose_references", "provenance_of", "recorded_reference"]

LIVE, NO_REFERENCE = "live:", "none"
MIN_REFERENCES = 2
RANKS: Final[tuple[Provenance, ...]] = ("self-hosted", "first-party", "third-party")


@dataclass(frozen=True, slots=True)
class Reference:
    """A recorded baseline, a live endpoint, live endpoints that score texts, or nothing.

    scored_by: live references that score texts. variants: live deployments that do so, too, and are looked for.
    notice: why a nearer choice was passed over.
    """

    baseline: Baseline | None = None
    live: Endpoint | None = None
    scored_by: tuple[Endpoint, ...] = ()
    variants: tuple[Endpoint, ...] = ()
    notice: str | None = None

    @property
    def provenance(self) -> Provenance | None:
        """That of the least trusted reference deployment of a baseline; None without one."""
        if self.baseline is None:
            return None
        recorded = self.baseline.manifest.deployments
        return max((recorded[i].provenance for i in self.baseline.references), key=RANKS.index)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Everyone who is asked for it."""
        return (*([self.live] if self.live else []), *self.scored_by, *self.variants)

    @property
    def has_envelope(self) -> bool:
        """Whether honest deployments were recorded that differ enough, and whose operator knows what they serve."""
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
    variants: str | None = None,
) -> tuple[Reference, ...]:
    """The references for `model`, one a suite: the option's, else a fitting baseline, else the first party live.

    `option` names baselines or their folders, separated by commas, each for the suite that it was recorded with, or is
    `live:PROVIDER` or "none" for a single suite, or None for the default order. A first party that stands among the
    `compared` providers is no reference for itself. Where texts are scored, live references do that, of which there
    may be several (`live:A,live:B`), and the live deployments that `variants` names in the same way. Raises UsageError
    where an option names something that does not exist or does not fit.
    """
    if variants and not (len(suites) == 1 and suites[0].scored):
        raise ConfigurationError(
            "--variant names live deployments that score texts and are looked for in them: it goes with a suite of "
            "scored text alone, as --suite scored is."
        )
    if option and (option == NO_REFERENCE or option.startswith(LIVE)):
        if len(suites) > 1:
            raise ConfigurationError(
                f"--reference {'live:…' if option.startswith(LIVE) else option} goes with one suite: several are "
                "compared with recorded baselines alone."
            )
        lives = () if option == NO_REFERENCE else _lives("--reference", option, model, resolvers)
        if suites[0].scored:
            looked_for = _lives("--variant", variants, model, resolvers) if variants else ()
            return (Reference(scored_by=_scorers(lives, model), variants=_scorers(looked_for, model)),)
        if len(lives) > 1:
            raise ConfigurationError(
                "--reference names several live deployments, and those score texts alone (--suite scored): name one."
            )
        return (Reference(live=next(iter(lives), None)),)
    if option and "://" in option:  # of which nothing is repeated, as it may hold a key
        raise ConfigurationError("--reference takes baselines, or an address as live:name=https://host/v1.")
    named = _named([find_baseline(word.strip(), roots) for word in option.split(",")] if option else [], model, suites)

    def default(suite: Suite) -> Reference:
        return Reference() if suite.scored else _default(model, suite, roots, resolvers, environ, compared)

    return tuple(named.get(suite.name) or default(suite) for suite in suites)


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


def _lives(option: str, text: str, model: ModelProfile, resolvers: Sequence[Resolver]) -> tuple[Endpoint, ...]:
    words = [word.strip() for word in text.split(",")]
    if wrong := [number for number, word in enumerate(words, 1) if not word.startswith(LIVE)]:
        # A wrongly put word may hold a URL with a key, so that nothing of it is repeated.
        raise ConfigurationError(f"{option} takes live deployments, each as live:NAME; number {wrong[0]} is none.")
    return resolve_all([word.removeprefix(LIVE) for word in words], model, resolvers)


def _scorers(endpoints: Sequence[Endpoint], model: ModelProfile) -> tuple[Endpoint, ...]:
    """The endpoints, whose prompts can be written out. Raises ConfigurationError."""
    if unknown := next((e.name for e in endpoints if e.prompt_format is None), None):
        raise ConfigurationError(
            f"{unknown} scores texts behind the prompt that they answer, and how prompts of {model.name} are written "
            f"out is not known: give its chat template as prompt_format under {table_of(unknown, model.name)} in "
            "qcheck.toml (docs/scored-text.md)."
        )
    return tuple(endpoints)
