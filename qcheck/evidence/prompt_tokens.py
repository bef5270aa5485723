"""Prompt tokens, as the provider counts them: free, and a fingerprint of template and tokenizer.

Only plain prompts decide: how functions are declared to a model, and what of earlier thoughts is kept, differs between
honest servers of the same weights.

A constant offset on every prompt points to a hidden system prompt or another chat template; an offset only where tools
are declared to another way to declare them, and only where an earlier turn of the assistant has a thought to dropped
thoughts. Offsets without a pattern point to another tokenizer, hence another model, or to a proxy that counts for
itself (LiteLLM does where the server behind it says nothing), so that they decide nothing.
"""

from __future__ import annotations

from collections import Counter

from qcheck.baselines import Answer, Baseline
from qcheck.result import Cause, Evidence, Finding, Severity
from qcheck.stats.fraction import fraction_lower
from qcheck.suites import Suite

__all__ = ["PromptTokenEvidence"]

MIN_PROBES = 3
# Smaller ones, and counts that are too low, are what honest servers do: a token that begins the prompt is counted or
# not, and one that was cached is not, nor is anything at all by some; what opens the answer (three tokens in ChatML,
# four with Llama 3 or an empty thought) stands in the prompt or not. A hidden turn has its marks and words.
MIN_OFFSET = 5
# More than this share of plain prompts, shown whenever one looks: of an aggregator's honest upstreams some may count
# otherwise, and the first few answers may all come from those. The error that this may have is a share of alpha's.
MOST, ERROR_SHARE = 0.5, 0.1
# Another tokenizer would give the same offset on the next probe about this often.
CHANCE_AGREEMENT = 0.2
DEAR = 2.0  # times the reference's tokens, from which on whoever pays for them is warned; a convention
REWRITTEN = "another tokenizer, of another model or of a proxy that counts, or rewritten prompts (no constant offset)"


class PromptTokenEvidence:
    """Folds one provider's answers in plan order.

    alpha: the error that this provider's verdict by this suite may have. decides: whether counts that differ may decide
    the verdict.
    """

    name = "prompt_tokens"

    def __init__(self, baseline: Baseline, suite: Suite, alpha: float, *, decides: bool = True) -> None:
        self._baseline, self._level, self._decides = baseline, ERROR_SHARE * alpha, decides
        with_thoughts = frozenset(p.id for p in suite.probes if any(m.reasoning for m in p.messages))
        with_tools = frozenset(p.id for p in suite.probes if p.tools)
        self._special = with_thoughts | with_tools
        # The narrower kind first.
        self._kinds = (
            ("thoughts of earlier turns that are dropped (only where there are any)", with_thoughts),
            ("another way to declare tools to the model (only where there are any)", with_tools),
        )
        self._compared: set[str] = set()
        self._answered: set[str] = set()  # plain prompts whose count is known, whether the answers have one or not
        self._counted = self._due = 0  # tokens of all that were compared, the provider's and the reference's
        self._offsets: list[tuple[str, int, int]] = []  # probe, provider's count, reference's count

    def update(self, probe_id: str, answer: Answer) -> None:
        """Fold the answer to one probe; probes on which the references do not all agree say nothing."""
        reference = self._baseline.probe(probe_id)
        expected = reference.prompt_tokens(self._baseline.references) if reference else None
        if expected is None:
            return
        if probe_id not in self._special:
            self._answered.add(probe_id)
        if not answer.prompt_tokens:  # 0 says nothing: a prompt has some
            return
        self._compared.add(probe_id)
        self._counted += answer.prompt_tokens
        self._due += expected
        if answer.prompt_tokens != expected:
            self._offsets.append((probe_id, answer.prompt_tokens, expected))

    def findings(self) -> tuple[Finding, ...]:
        """One finding where counts differ.

        It may decide where counts are shown to be larger on most plain prompts, those among them that were answered
        without a count, by one and the same `MIN_OFFSET` at least wherever they differ, and the reference's are known
        to be constant.
        """
        if not self._offsets:
            return ()
        larger = [offset for offset in self._plain if offset >= MIN_OFFSET]
        most = fraction_lower(len(larger), len(self._answered), self._level) > MOST
        decides = self._decides and most and len(set(self._plain)) == 1 and self._trusted()
        offsets = Counter(seen - expected for _, seen, expected in self._offsets)
        offset, count = offsets.most_common(1)[0]
        _, seen, expected = self._offsets[0]
        n = len(self._offsets)
        pattern = (
            f"{offset:+d} on each of them"
            if count == n and n > 1
            else f"offsets {min(offsets):+d} to {max(offsets):+d}"
        )
        where = f"differs on {n} of {len(self._compared)} probes, {pattern}"
        text = f"{seen} prompt tokens where the reference has {expected}; {where}"
        probes = tuple(p for p, _, _ in self._offsets[:10])
        dear = self._counted >= DEAR * self._due
        severity: Severity = "deviation" if decides else "warning" if dear else "info"
        return (Finding("prompt_tokens_differ", severity, text, self._cause(), probes),)

    @property
    def _plain(self) -> list[int]:
        """The offsets on prompts without functions and earlier thoughts."""
        return [seen - expected for probe_id, seen, expected in self._offsets if probe_id not in self._special]

    def _cause(self) -> Cause | None:
        differing = {probe_id for probe_id, _, _ in self._offsets}
        n = len(differing)
        if n == 1:
            return None
        for words, probes in self._kinds:
            # All that were compared of a kind, and no others.
            if n >= MIN_PROBES and differing == self._compared & probes != self._compared:
                return Cause(words, None)
        if not self._plain:
            return None  # plain prompts were not asked, or do not differ
        if len({seen - expected for _, seen, expected in self._offsets}) > 1:
            return Cause(REWRITTEN, None)
        words = "a hidden system prompt or another chat template (constant offset)"
        return Cause(words, 1 / (1 + CHANCE_AGREEMENT ** (n - 1)))

    def _trusted(self) -> bool:
        """Whether the reference counts were seen to be constant: two deployments, each asked at least twice."""
        entries = [self._baseline.manifest.deployments[i] for i in self._baseline.references]
        return len(entries) > 1 and all(e.repeats > 1 for e in entries)

    def snapshot(self, weight: float) -> Evidence:
        """The observable's part of the result; it bets nothing, so its e-value is 1."""
        return Evidence(self.name, len(self._compared), 0.0, weight, self.findings())
