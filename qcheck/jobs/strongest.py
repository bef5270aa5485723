"""By what each provider of a run is judged where the user names no suite: the strongest observable on offer.

Log-probabilities show most. Where none are given, texts are compared or graded, if a reference was recorded for them:
those first that can show agreement, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qcheck.errors import SuiteError
from qcheck.evidence.logprobs import LogprobEvidence
from qcheck.evidence.observable import evidence_of, rank
from qcheck.evidence.toolcalls import ToolCallEvidence
from qcheck.jobs.known import KnownOffer, hopeless
from qcheck.jobs.reference import Reference, recorded_reference
from qcheck.registry.config import table_of
from qcheck.registry.observables import UNTOLD_WAY, lost_observables
from qcheck.registry.types import UNTOLD, Endpoint, ModelProfile
from qcheck.suites import Suite, list_suites, load_suite

__all__ = ["Asked", "Choice", "asked_nothing", "choose", "mismatch", "reference_unfit", "text_suites", "unfit"]

OWN_SUITES: Final = Path("suites")  # where `qcheck suite new` writes

Asked = tuple[Suite, Reference]


@dataclass(frozen=True, slots=True)
class Choice:
    """The suites that a provider is asked, by name, or why it is asked none."""

    suites: tuple[str, ...]
    unjudged: str | None = None


def text_suites(model: ModelProfile, roots: Sequence[Path]) -> tuple[Asked, ...]:
    """Suites that judge text and for which an envelope of `model` was recorded, the strongest first.

    Tool calls are judged where a user names their suite: whether a server reads them at all is not found out before.

    They are those that are shipped and those in ./suites; baselines are looked for in `roots`.
    """
    found = []
    for suite in _suites():
        if not suite.scored and evidence_of(suite).name not in (LogprobEvidence.name, ToolCallEvidence.name):
            reference = recorded_reference(model, suite, roots)
            if reference.has_envelope and reference_unfit(suite, reference) is None:
                found.append((suite, reference))
    return tuple(sorted(found, key=lambda asked: (not evidence_of(asked[0]).shows_agreement, rank(asked[0]))))


def _suites() -> Iterator[Suite]:
    taken = set(list_suites())
    yield from map(load_suite, list_suites())
    for manifest in sorted(OWN_SUITES.glob("*/suite.json")):
        try:
            own = load_suite(str(manifest.parent.resolve()))
        except SuiteError:
            continue  # who wants it and names it is told what is wrong with it
        if own.name not in taken:  # the manifest knows suites by name
            taken.add(own.name)
            yield own


def reference_unfit(suite: Suite, reference: Reference) -> str | None:
    """Why texts cannot be judged by a reference.

    Samples: recorded log-probabilities may be those after a temperature. Scored text: nobody is there to score it.
    """
    if suite.scored and not reference.scored_by:
        return (
            f"texts of the suite {suite.name} are scored by live deployments: name one that you trust with --reference "
            "live:NAME, and with --variant live:NAME one to look for, such as a quantised one of your own."
        )
    if evidence_of(suite).name == "sampled_text" and (baseline := reference.baseline):
        for d in baseline.manifest.deployments:
            if d.temperature != 0:
                return (
                    f"{d.name} of {baseline.name} was recorded at temperature {d.temperature:g}, and its "
                    "log-probabilities may be those after it; record it at temperature 0 to judge samples by it."
                )
    return None


def mismatch(endpoint: Endpoint, suite: Suite) -> str | None:
    """Why an endpoint's texts would differ from the recorded ones, however honest it is; None where they would not."""
    observable, asked_at = evidence_of(suite).name, suite.manifest.temperature
    if observable == LogprobEvidence.name:
        return None  # what a provider cannot show is not asked of it
    if why := lost_observables(endpoint).get(observable):
        return why
    if asked_at is not None and endpoint.temperature not in (0.0, asked_at):
        return (
            f"temperature {endpoint.temperature:g} alone is accepted, and the suite asks at {asked_at:g} (copy its "
            "suite.json into a folder, change its name and the temperature, and name the folder with --suite)"
        )
    return None


def choose(
    endpoints: Sequence[Endpoint],
    offers: Mapping[str, KnownOffer],
    asked: Sequence[Asked],
    model: ModelProfile,
    *,
    presume: bool,
) -> dict[str, Choice]:
    """One of the suites `asked`, which stand in the order of their strength, for each endpoint, by name.

    An endpoint of which nothing was found is asked as the registry has it: silence about log-probabilities neither
    accuses nor reassures. Text is judged only where temperature 0 was seen to be kept, or, if `presume`, for a plan.
    """

    def chosen(endpoint: Endpoint) -> Choice:
        if none := asked_nothing(endpoint, model, presume=presume):
            return none
        offer = offers.get(endpoint.name)
        silent = offer is None and not presume
        if silent and evidence_of(asked[0][0]) is LogprobEvidence:
            return Choice((asked[0][0].name,))
        reasons = []
        for suite, reference in asked:
            problem = unfit(endpoint, suite, reference, greedy=presume if offer is None else bool(offer.greedy))
            if problem is None:
                return Choice((suite.name,))
            reasons.append(f"by its {evidence_of(suite).name.replace('_', ' ')}: {problem}")
        return Choice((), f"{'; '.join(reasons)}; {_remedy(asked, model)}")

    return {endpoint.name: chosen(endpoint) for endpoint in endpoints}


def asked_nothing(endpoint: Endpoint, model: ModelProfile, *, presume: bool) -> Choice | None:
    """The choice of no suite for an endpoint whose answers are none, or may be thoughts; None for all others.

    presume: how its model is kept from thinking may still be found out.
    """
    if hopeless(endpoint):
        why = lost_observables(endpoint)[LogprobEvidence.name]
    elif endpoint.dialect.thinking_off == "unknown" and not presume:
        why = UNTOLD_WAY
    else:
        return None
    where = f", under {table_of(endpoint.name, model.name)}" if endpoint.dialect.thinking_off in UNTOLD else ""
    return Choice((), f"{why}{where}")


def unfit(endpoint: Endpoint, suite: Suite, reference: Reference, *, greedy: bool) -> str | None:
    """Why an endpoint cannot be judged by a suite; None where it can. greedy: whether it keeps to temperature 0."""
    observable = evidence_of(suite).name
    if observable == LogprobEvidence.name:
        return lost_observables(endpoint).get(observable)
    if why := mismatch(endpoint, suite):
        return why
    if endpoint.temperature == 0:  # who ignores that ignores others, too
        return None if greedy else "it was not seen to decode greedily when it was asked to"
    if suite.scored:
        return None
    recorded = {d.temperature for d in reference.baseline.manifest.deployments} if reference.baseline else set()
    if suite.manifest.temperature is None and recorded != {endpoint.temperature}:
        return f"temperature {endpoint.temperature:g} alone is accepted, and the reference was not recorded at that"
    return None


def _remedy(asked: Sequence[Asked], model: ModelProfile) -> str:
    """How there will be something to judge a provider by."""
    if any(evidence_of(suite).name == "greedy_text" for suite, _ in asked):
        return "compare it with another --suite"
    return (
        f"choose prompts with `qcheck suite new NAME --model {model.name} --for greedy …`, and record the texts of "
        f"deployments that you trust with `qcheck baseline record {model.name} --suite suites/NAME --provider …`"
    )
