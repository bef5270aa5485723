"""From evidence to verdict to exit code. Nothing else decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from qcheck.jsonio import significant
from qcheck.result import Finding, Verdict

__all__ = ["Claims", "Decision", "FailOn", "Rules", "Until", "decide", "exit_code", "should_stop", "summarise"]

Until = Literal["deviates", "consistent", "either"]
FailOn = Literal["deviates", "inconclusive"]
MIN_DEVIATING = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """What is fixed before the first request.

    alpha: error of each kind of claim. delta: the part of it spent on calibration. family: the number of providers
    (or pairs) that `deviates` is claimed for together. tolerance: the share of requests that "consistent" allows.
    """

    alpha: float
    delta: float
    family: int
    tolerance: float
    until: Until = "either"

    @property
    def log_threshold(self) -> float:
        """Natural logarithm of the e-value that `deviates` needs: family / (alpha − delta)."""
        return math.log(self.family / (self.alpha - self.delta))


@dataclass(frozen=True, slots=True)
class Claims:
    """Everything a verdict on one provider rests on.

    upper: upper confidence bound of the share of requests that deviate at least as visibly as `resolution`; None
    where no such bound is known (no reference, or no recorded variant to say what would be visible). blind_to: what
    would have gone unseen. proven: lower confidence bound of the routing fraction. outside: what the `deviating`
    answers do, in words.
    """

    answered: int
    failures: int
    log_e: float
    deviating: Sequence[str]
    outside: str
    findings: Sequence[Finding]
    upper: float | None
    resolution: str | None
    blind_to: Sequence[str]
    proven: float
    unavailable_reason: str | None
    has_reference: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what decided it; `decided_by` is None unless the verdict is `deviates` or `consistent`."""

    verdict: Verdict
    decided_by: Literal["evidence", "finding"] | None


def decide(claims: Claims, rules: Rules) -> Decision:
    """The verdict that the claims support. `deviates` takes precedence: it means some fraction above zero is proven."""
    if claims.has_reference:
        if claims.log_e >= rules.log_threshold and len(set(claims.deviating)) >= MIN_DEVIATING:
            return Decision("deviates", "evidence")
        if any(f.severity == "deviation" for f in claims.findings):
            return Decision("deviates", "finding")
    if claims.unavailable_reason is not None:
        return Decision("unavailable", None)
    if claims.has_reference and claims.upper is not None and claims.upper <= rules.tolerance:
        return Decision("consistent", "evidence")
    return Decision("inconclusive", None)


def should_stop(claims: Claims, rules: Rules) -> str | None:
    """Why no more requests are needed, or None.

    Until "deviates" a consistent provider is asked on; until "consistent" a deviating one is, to bound its fraction.
    """
    verdict = decide(claims, rules).verdict
    goes_on: dict[Verdict, Until] = {"deviates": "consistent", "consistent": "deviates"}
    if verdict == "inconclusive" or goes_on.get(verdict) == rules.until:
        return None
    return verdict


def exit_code(verdicts: Iterable[Verdict], fail_on: FailOn = "inconclusive") -> int:
    """0 all consistent, 1 some provider deviates, 3 nothing deviates but something is undecided."""
    seen = set(verdicts)
    if "deviates" in seen:
        return 1
    if seen <= {"consistent"} and seen:
        return 0
    return 0 if fail_on == "deviates" else 3


def percent(share: float, *, down: bool = False) -> str:
    """A bound in words, rounded away from reassurance: upper bounds up, lower bounds (`down`) down."""
    digits = 0 if share >= 0.1 else 1
    scaled = significant(share * 10 ** (2 + digits), 9)
    return f"{(math.floor(scaled) if down else math.ceil(scaled)) / 10**digits:.{digits}f} %"


def summarise(
    claims: Claims,
    rules: Rules,
    decision: Decision,
    needed: int | None,
    *,
    declared: str | None = None,
    nearest: str | None = None,
) -> str:
    """The verdict in fair words: what was shown, on how many answers, and what could not have been seen."""
    n = claims.answered
    if decision.verdict == "unavailable":
        return f"unavailable: {claims.unavailable_reason}"
    if decision.verdict == "deviates":
        return _deviates(claims, rules, decision, declared, nearest)
    if decision.verdict == "consistent":
        what = (
            f"a deviation as visible as {claims.resolution}" if claims.resolution else "a difference beyond the margin"
        )
        blind = f"; could not have seen: {', '.join(claims.blind_to)}" if claims.blind_to else ""
        return (
            f"at most {percent(claims.upper or 0.0)} of the requests sent with this key in this window show {what} "
            f"({n} answers, confidence {1 - rules.alpha:.0%}){blind}"
        )
    if not claims.has_reference:
        return "no reference: nothing can be said about fidelity, only about which providers agree with each other"
    if n and claims.upper is None:
        return "no recorded variant is visible enough to claim agreement for; record one to allow a consistent verdict"
    bound = (
        f"at most {percent(claims.upper)} of the requests deviate so far" if claims.upper is not None else "no answer"
    )
    more = (
        f"about {needed} more requests would decide" if needed else "more requests than this suite holds would decide"
    )
    return f"cannot tell from {n} answers: {bound}, the tolerance is {percent(rules.tolerance)}; {more}"


def _deviates(claims: Claims, rules: Rules, decision: Decision, declared: str | None, nearest: str | None) -> str:
    if decision.decided_by == "finding":
        text = next(f.text for f in claims.findings if f.severity == "deviation")
        return f"deviates from the reference: {text}"
    log10 = claims.log_e / math.log(10)
    parts = [
        f"deviates from the reference: {len(claims.deviating)} of {claims.answered} answers {claims.outside}",
        f"e-value 10^{log10:.1f}, needed 10^{rules.log_threshold / math.log(10):.1f}",
    ]
    if claims.proven > 0:
        parts.append(f"at least {percent(claims.proven, down=True)} of the requests deviate")
    if declared and nearest and declared.lower() == nearest.lower():
        parts.append(f"matches its declared {declared}")
    return "; ".join(parts)
