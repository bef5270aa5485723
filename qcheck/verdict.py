"""From evidence to verdict to exit code. Nothing else decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from qcheck.jsonio import significant
from qcheck.result import Finding, Verdict
from qcheck.stats.bets import averaged_log_e
from qcheck.stats.power import MIN_DEVIATING

__all__ = [
    "MIN_DEVIATING",
    "UNPINNED",
    "Claims",
    "Decision",
    "FailOn",
    "Observed",
    "Rules",
    "Until",
    "asks_again",
    "decide",
    "exit_code",
    "should_stop",
    "summarise",
]

Until = Literal["deviates", "consistent", "either"]
FailOn = Literal["deviates", "inconclusive"]
MUTE = 50  # answers that show nothing, after which others are not expected to; a convention
UNPINNED = (
    "the chat template renders today's date, and another date alone would explain a difference; --reference "
    "live:PROVIDER on the same day can show agreement, the same `date_string` for all (docs/configuration.md) more"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is fixed before the first request.

    alpha: error of each kind of claim. delta: the part of it spent on calibration. family: the number of providers
    (or pairs) that `deviates` is claimed for together. tolerance: the share of requests that "consistent" allows.
    dated: whether prompts may name another date than the reference's, which would explain any difference.
    """

    alpha: float
    delta: float
    family: int
    tolerance: float
    until: Until = "either"
    dated: bool = False

    @property
    def log_threshold(self) -> float:
        """Natural logarithm of the e-value that `deviates` needs: family / (alpha − delta)."""
        return math.log(self.family / (self.alpha - self.delta))


@dataclass(frozen=True, slots=True)
class Observed:
    """What one suite's answers claim.

    log_e: natural logarithm of their e-value. weight: of that in the average over the suites. upper: upper confidence
    bound of the share of requests that deviate at least as visibly as `resolution`; None where no such bound is known
    (no reference, or no recorded variant to say what would be visible). proven: lower confidence bound of the routing
    fraction. Both fail with the suite's share of alpha at most, so that those of all suites hold together. outside:
    what the `deviating` answers do, in words. mute: whether no answer could be evidence, or agreement. stands: whether
    deviating answers stood when their prompts were asked again, or need not; None where that is to be seen.
    """

    suite: str
    answered: int
    log_e: float
    weight: float
    deviating: Sequence[str]
    outside: str
    upper: float | None
    resolution: str | None
    proven: float
    mute: bool = False
    stands: bool | None = True


@dataclass(frozen=True, slots=True)
class Claims:
    """Everything a verdict on one provider rests on.

    findings: those that may decide. blind_to: what would have gone unseen in every suite. unjudged: why the provider is
    asked no suite; None where it is asked some. error: of the last of the `failures`. most: the largest that
    `suspicion` and `proof` have been before.
    """

    observed: Sequence[Observed]
    failures: int
    findings: Sequence[Finding]
    blind_to: Sequence[str]
    unavailable_reason: str | None
    has_reference: bool
    unjudged: str | None = None
    error: str | None = None
    most: tuple[float, float] = (-math.inf, -math.inf)

    @property
    def answered(self) -> int:
        """How many answers there are."""
        return sum(o.answered for o in self.observed)

    @property
    def deviating(self) -> tuple[str, ...]:
        """The probes of all deviating answers."""
        return tuple(probe for o in self.observed for probe in o.deviating)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the weighted average of the suites' e-values; 0 where nothing was asked."""
        return _averaged(self.observed) if self.observed else 0.0

    @property
    def proof(self) -> float:
        """The largest so far of the same, of those suites that rest on two deviating answers to different probes.

        What is left out of an average of e-values can only make it smaller. So no single odd answer accuses, whatever
        rare answers of another suite stand beside it, nor do answers that go another way when they are asked for again.
        Ville's inequality bounds the chance that it ever reaches the threshold, so that what was shown stays so.
        """
        standing = [o for o in self._doubled if o.stands]
        suspected, proven = self.most  # where all of them stand, what was suspected is proven
        return max(suspected if standing and standing == self._doubled else proven, _averaged(standing))

    @property
    def suspicion(self) -> float:
        """The same whether or not deviating answers stand; who is suspected is not consistent."""
        return max(self.most[0], _averaged(self._doubled))

    @property
    def _doubled(self) -> list[Observed]:
        return [o for o in self.observed if len(set(o.deviating)) >= MIN_DEVIATING]

    @property
    def best(self) -> Observed:
        """What bounds the share of deviating requests best. The suites' bounds hold together, so one may choose."""
        return min(self.observed, key=lambda o: math.inf if o.upper is None else o.upper)

    @property
    def mute(self) -> bool:
        """Whether answers to no suite show, or would show, what counts, so that no more need be asked for."""
        return bool(self.observed) and all((o.mute and o.answered >= MUTE) or o.stands is False for o in self.observed)

    def where(self, observed: Observed) -> str:
        """Which requests a bound speaks of, in words; all of them where there is one suite."""
        return f" to the suite {observed.suite}" if len(self.observed) > 1 else ""


def _averaged(observed: Sequence[Observed]) -> float:
    return averaged_log_e([o.log_e for o in observed], [o.weight for o in observed]) if observed else -math.inf


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what decided it; `decided_by` is None unless the verdict is `deviates` or `consistent`."""

    verdict: Verdict
    decided_by: Literal["evidence", "finding"] | None


def decide(claims: Claims, rules: Rules) -> Decision:
    """The verdict that the claims support. `deviates` takes precedence: it means some fraction above zero is proven."""
    if claims.unjudged is not None:
        return Decision("inconclusive", None)
    if difference := _difference(claims, rules):
        return Decision("inconclusive", None) if rules.dated else Decision("deviates", difference)
    if _is_bounded(claims, rules) and claims.suspicion < rules.log_threshold:
        return Decision("consistent", "evidence")
    return Decision("inconclusive" if claims.unavailable_reason is None else "unavailable", None)


def _is_bounded(claims: Claims, rules: Rules) -> bool:
    """Whether at most the tolerance of the requests can deviate as visibly as the resolution."""
    upper, proven = claims.best.upper, max(o.proven for o in claims.observed)
    return claims.has_reference and upper is not None and max(upper, proven) <= rules.tolerance


def _difference(claims: Claims, rules: Rules) -> Literal["evidence", "finding"] | None:
    """What shows that the provider differs from the reference, if anything does."""
    if not claims.has_reference:
        return None
    # Where another date may explain what was found nobody is accused, and nothing need be asked again.
    if (claims.suspicion if rules.dated else claims.proof) >= rules.log_threshold:
        return "evidence"
    return "finding" if any(f.severity == "deviation" for f in claims.findings) else None


def asks_again(claims: Claims, rules: Rules) -> bool:
    """Whether all that keeps a provider from *deviates* is that deviating answers are to be asked for again."""
    if claims.unjudged is not None or not claims.has_reference or _difference(claims, rules):
        return False
    unknown = any(o.stands is None and len(set(o.deviating)) >= MIN_DEVIATING for o in claims.observed)
    return unknown and claims.suspicion >= rules.log_threshold


def should_stop(claims: Claims, rules: Rules) -> str | None:
    """Why no more requests are needed, or None.

    Until "deviates" a consistent provider is asked on; until "consistent" a deviating one is, to bound its fraction.
    Where another date may explain the difference that was found, or nothing at all is shown, more requests change
    nothing.
    """
    if claims.unjudged is not None:
        return "not judged"
    if rules.dated and _difference(claims, rules):
        return "date not pinned"
    verdict = decide(claims, rules).verdict
    if verdict == "inconclusive" and claims.has_reference and claims.mute:
        return "unsteady" if any(o.stands is False for o in claims.observed) else "nothing shown"
    if verdict == "deviates" and rules.until == "consistent":
        return verdict if _is_bounded(claims, rules) else None
    if verdict == "inconclusive" or (verdict == "consistent" and rules.until == "deviates"):
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
    cut_short: str | None = None,
) -> str:
    """The verdict in fair words: what was shown, on how many answers, and what could not have been seen.

    cut_short: what ended it that is no evidence, such as a limit, in words.
    """
    if claims.unjudged is not None:
        return f"not judged: {claims.unjudged}"
    if decision.verdict == "unavailable":
        before = f"; {claims.answered} answers had come, too few to tell (`qcheck resume` asks on)"
        return f"unavailable: {claims.unavailable_reason}{before if claims.answered else ''}"
    if decision.verdict == "deviates":
        return _deviates(claims, rules, decision, declared, nearest)
    asked = claims.answered + claims.failures
    failed = f"; {claims.failures} of {asked} requests failed, the last: {claims.error}" if claims.failures else ""
    ended = f"; stopped, as {cut_short}" if cut_short and decision.verdict == "inconclusive" else ""
    return f"{_undisputed(claims, rules, decision, needed)}{failed}{ended}"


def _undisputed(claims: Claims, rules: Rules, decision: Decision, needed: int | None) -> str:
    """What is said of who is consistent, or of whom nothing is known."""
    best, where = claims.best, claims.where(claims.best)
    if decision.verdict == "consistent":
        what = f"a deviation as visible as {best.resolution}" if best.resolution else "a difference beyond the margin"
        blind = f"; could not have seen: {', '.join(claims.blind_to)}" if claims.blind_to else ""
        unasked = ", ".join(o.suite for o in claims.observed if not o.answered)
        untried = f"; not asked, as it was not needed: {unasked}" if unasked else ""
        return (
            f"at most {percent(best.upper or 0.0)} of the requests sent with this key in this window show {what} "
            f"({best.answered} answers{where}, confidence {100 * (1 - rules.alpha):.12g}%){blind}{untried}"
        )
    if rules.dated and (difference := _difference(claims, rules)):
        return f"cannot tell: {_shown(claims, difference)}, but {UNPINNED}"
    if not claims.has_reference:
        return "no reference: nothing can be said about fidelity, only about which providers agree with each other"
    if asks_again(claims, rules):
        return (
            f"cannot tell: {_shown(claims, 'evidence')}, but prompts of such answers are to be asked again before "
            "that counts, and too few have stood so far"
        )
    if any(o.stands is False for o in claims.observed):
        return (
            f"cannot tell: {_shown(claims, 'evidence')}, but when their prompts are asked again too few of the "
            "answers stand: they lie as far off in other ways or no longer deviate, as noise does, or show nothing"
        )
    if claims.mute or not claims.answered:
        silent = f"cannot tell from {claims.answered} answers: none of them shows enough to be compared"
        return silent if claims.answered else "cannot tell: no answer has come"
    if best.upper is None:
        return (
            f"cannot tell from {claims.answered} answers: no recorded variant is visible enough in them to claim "
            "agreement for; answers that show more, or a variant that deviates more, would allow a consistent verdict"
        )
    bound = f"at most {percent(best.upper)} of the requests{where} deviate so far"
    more = (
        f"about {needed} more requests would decide" if needed else "more requests than this suite holds would decide"
    )
    return f"cannot tell from {claims.answered} answers: {bound}, the tolerance is {percent(rules.tolerance)}; {more}"


def _shown(claims: Claims, difference: Literal["evidence", "finding"]) -> str:
    """What shows the difference, in words."""
    if difference == "finding":
        return next(f.text for f in claims.findings if f.severity == "deviation")
    return " and ".join(
        f"{len(o.deviating)} of {o.answered} answers {o.outside}" for o in claims.observed if o.deviating
    )


def _deviates(claims: Claims, rules: Rules, decision: Decision, declared: str | None, nearest: str | None) -> str:
    if decision.decided_by == "finding":
        return f"deviates from the reference: {_shown(claims, 'finding')}"
    log10 = max(claims.log_e, claims.proof) / math.log(10)
    parts = [
        f"deviates from the reference: {_shown(claims, 'evidence')}",
        f"e-value 10^{log10:.1f}, needed 10^{rules.log_threshold / math.log(10):.1f}",
    ]
    most = max(claims.observed, key=lambda o: o.proven)
    if most.proven > 0:
        parts.append(f"at least {percent(most.proven, down=True)} of the requests{claims.where(most)} deviate")
    if declared and nearest and declared.lower() == nearest.lower():
        parts.append(f"matches its declared {declared}")
    return "; ".join(parts)
