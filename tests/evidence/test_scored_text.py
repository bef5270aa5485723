"""Text that live deployments score, on next-token distributions made from formulas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcheck.evidence.sampled_text import UNRECORDED
from qcheck.evidence.scored_text import (
    MARGIN_NATS,
    Sampling,
    ScoredTextEvidence,
    request_ratios,
    scorable,
    text_to_score,
    token_worths,
)
from qcheck.records import Position, Response

END = "#1"  # a control token
ENDS = ("xff", END)
Text = tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """What may follow a text. deviation: rms in nats, the same each time; noise: in nats at most, of another kernel."""

    keys: tuple[str, ...]
    seed: int
    deviation: float = 0.0
    noise: float = 0.0

    def after(self, text: Text) -> np.ndarray:
        """(keys,) log-probabilities."""
        place = [self.seed, *(self.keys.index(key) for key in text)]
        logits = np.random.default_rng(place).normal(0, 1.5, len(self.keys))
        logits += np.random.default_rng([1, *place]).normal(0, 1, len(self.keys)) * self.deviation
        logits -= [2.0 * (key in ENDS) for key in self.keys]
        # Normalising moves them once more, by as much at most.
        logits += np.random.default_rng([2, *place]).uniform(-0.5, 0.5, len(self.keys)) * self.noise
        return logits - np.logaddexp.reduce(logits)

    def scored(self, text: Text) -> list[Position]:
        """The tokens of a text, then what comes after it."""
        found = []
        for place in range(len(text) + 1):
            logprobs = self.after(text[:place])
            top = tuple((self.keys[i], float(logprobs[i])) for i in np.argsort(-logprobs))
            token = text[place] if place < len(text) else top[0][0]
            found.append(Position(token, dict(top)[token], top))
        return found

    def draw(self, rng: np.random.Generator, tokens: int) -> Text:
        """A text of at most so many tokens."""
        text: Text = ()
        while len(text) < tokens:
            key = str(rng.choice(self.keys, p=np.exp(self.after(text))))
            if key in ENDS:
                break
            text = (*text, key)
        return text

    def texts(self, tokens: int, text: Text = ()) -> Iterator[tuple[Text, float]]:
        """All texts of at most so many tokens with their probabilities."""
        if len(text) == tokens:
            yield text, 1.0
            return
        for key, logprob in zip(self.keys, self.after(text), strict=True):
            if key in ENDS:
                yield text, float(np.exp(logprob))
            else:
                for longer, p in self.texts(tokens, (*text, key)):
                    yield longer, p * float(np.exp(logprob))


FEW = ("=k", "=b", "=c", "=d", "=e", "xff", END)  # one is half of a character, before which a text is cut
MANY = (*(f"=w{i:02}" for i in range(24)), END)


def ratios(
    model: Model, text: Text, variants: Sequence[Model] = (), tokens: int = 2, *, plain: bool = False
) -> np.ndarray:
    return request_ratios(b"?", [model.scored(text)], [v.scored(text) for v in variants], Sampling(1.0, tokens, plain))


@given(st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_a_request_of_whoever_stays_within_the_margin_is_worth_at_most_one_on_average(seed: int) -> None:
    """Exactly, over all texts of at most two tokens, whatever ends them."""
    reference, variant = Model(FEW, seed), Model(FEW, seed, deviation=1.0)
    provider = Model(FEW, seed, noise=MARGIN_NATS)
    for plain in (False, True):
        mean = sum(p * ratios(reference, text, [variant], plain=plain) for text, p in provider.texts(2))
        assert (mean <= 1 + 1e-9).all()


def test_the_mean_is_more_than_one_where_the_variant_answers() -> None:
    """So that the bound above is no matter of course."""
    means = []
    for seed in range(12):
        reference, variant = Model(FEW, seed), Model(FEW, seed, deviation=1.0)
        means.append(
            [
                sum(p * ratios(reference, t, [variant], plain=plain)[0] for t, p in variant.texts(2))
                for plain in (False, True)
            ]
        )
    careful, plain = np.mean(means, axis=0)
    assert plain > careful > 1.2


def folded(provider: Model, reference: Model, variant: Model, requests: int) -> ScoredTextEvidence:
    evidence, rng = ScoredTextEvidence(["variant"], Sampling(1.0, 12)), np.random.default_rng(1)
    for i in range(requests):
        asked = [Model(m.keys, 1000 * m.seed + i, m.deviation, m.noise) for m in (provider, reference, variant)]
        text = asked[0].draw(rng, 12)
        evidence.update(f"p{i}", b"?", [asked[1].scored(text)], [asked[2].scored(text)])
    return evidence


def test_a_live_variant_is_detected_and_an_honest_kernel_is_not() -> None:
    reference, variant = Model(MANY, 1), Model(MANY, 1, deviation=0.4)
    deviating = folded(Model(MANY, 1, deviation=0.4, noise=MARGIN_NATS), reference, variant, 100)
    assert deviating.log_e > np.log(1 / 0.01)
    assert len(set(deviating.deviating)) >= 2
    assert deviating.fraction()[1] > 0
    honest = folded(Model(MANY, 1, noise=2 * MARGIN_NATS), reference, variant, 150)
    assert honest.log_e < np.log(1 / 0.01)


def test_what_one_of_several_references_does_is_no_deviation() -> None:
    worth = []
    for seed in range(10):
        text, reference, variant = ("=k", "=b"), Model(FEW, seed), Model(FEW, seed, deviation=1.0)
        alone, both = (
            request_ratios(b"?", [m.scored(text) for m in models], [variant.scored(text)], Sampling(1.0, 2))[0]
            for models in ([reference], [reference, variant])
        )
        assert both == pytest.approx(1.0)
        worth.append(alone)
    assert max(worth) > 1.5


@pytest.mark.parametrize("worth", [100.0, 0.2])
def test_a_long_text_is_worth_a_finite_number(monkeypatch: pytest.MonkeyPatch, worth: float) -> None:
    """Whatever that comes to in floats; worth next to nothing is not the same as not scored."""
    scored, sampling = [Model(FEW, 1).scored(("=k",))], Sampling(1.0, 1, plain=True)
    (known, text), *_ = token_worths(b"?", scored, [], sampling) or ()
    assert known is not None
    long = [(replace(known, ratios=np.full_like(known.ratios, worth)), text)] * 600
    monkeypatch.setattr("qcheck.evidence.scored_text.token_worths", lambda *_: long)
    evidence = ScoredTextEvidence([], sampling)
    evidence.update("p", b"?", scored, [])
    assert np.isfinite(evidence.log_e)
    assert (evidence.log_e > np.log(1e290)) == (worth > 1)
    assert not evidence.mute


def test_what_cannot_be_scored_loses_the_bet_and_is_said() -> None:
    reference, variant = Model(FEW, 1), Model(FEW, 1, deviation=1.0)
    evidence = ScoredTextEvidence(["variant"], Sampling(1.0, 2))
    for scored in ([], [reference.scored(("=k",)), variant.scored(("=b",))][1]):
        before = evidence.log_e
        evidence.update("p", b"?", [reference.scored(("=k",))], [scored])
        assert evidence.log_e < before
    assert evidence.deviating == []
    (finding,) = evidence.snapshot(1.0).findings
    assert finding.text.startswith("2 of 2")


def test_what_ends_a_text_early_is_never_evidence() -> None:
    for seed in range(30):
        reference, variant = Model(FEW, seed), Model(FEW, seed, deviation=1.0)
        ended, due = ratios(reference, ("=k",), [variant], 2), ratios(reference, ("=k",), [variant], 1)
        assert (ended <= due + 1e-12).all()


def test_more_than_was_asked_for_is_not_judged() -> None:
    reference, variant = Model(FEW, 1), Model(FEW, 1, deviation=1.0)
    assert ratios(reference, ("=k", "=b", "=k"), [variant]) == pytest.approx(ratios(reference, ("=k", "=b"), [variant]))


def test_nothing_is_bet_where_a_text_may_well_begin_with_white_space() -> None:
    keys = ("= a", "= b", "=c", END)
    assert (ratios(Model(keys, 1), ("=c",), [Model(keys, 1, deviation=1.0)]) == 1.0).all()
    assert len(ratios(Model(keys, 1), ("=c",))) == len(UNRECORDED)


def test_what_was_said_before_is_told_apart_no_more() -> None:
    """As a repetition penalty may fall on it."""
    reference = Model(("=ab", "=cd", END), 0)
    (first, _), (second, _) = token_worths(b"?", [reference.scored(("=ab", "=cd"))], [], Sampling(1.0, 2))
    assert b"ab" in first.box.core
    assert second is None or b"ab" not in second.box.core


def test_a_text_is_scored_up_to_a_broken_character() -> None:
    assert scorable("so\N{REPLACEMENT CHARACTER}what") == "so"


def test_of_what_is_not_all_that_was_drawn_or_far_too_long_nothing_is_scored() -> None:
    answer = Response("so be it", (), 1, 3, None, "stop", None, None)
    assert text_to_score(answer) == "so be it"
    filtered = replace(answer, finish_reason="content_filter")
    for other in (replace(answer, reasoning="hm"), replace(answer, text="so " * 10_000), filtered):
        assert text_to_score(other) == ""
