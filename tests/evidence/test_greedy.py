"""Texts against greedy paths: what is a difference, at what margin, and what it proves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import World, build

from qcheck.baselines import Answer, Baseline
from qcheck.errors import BaselineError
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.greedy import GreedyEvidence, GreedyPath, flip, flip_scores
from qcheck.evidence.observable import evidence_of
from qcheck.records import Position
from qcheck.suites import Suite
from qcheck.tailcounts import FLIP

ALPHA = 0.01


def path(*lists: dict[str, float], text: str | None = None) -> GreedyPath:
    """A recorded answer of which each position took the first token listed."""
    positions = tuple(Position(next(iter(top)), next(iter(top.values())), tuple(top.items())) for top in lists)
    return GreedyPath.of(Answer(None, positions, text))


def seen(text: str) -> bytes:
    return GreedyPath.of(Answer(None, (), text)).text


HELLO = path(
    {"=Hel": -0.5, "=He": -0.9, "=Good": -1.5, "= ": -4.0},
    {"=lo": -0.2, "=p": -2.0, "= ": -3.0},
    {"= you": -0.1, "=!": -0.7, "= all": -2.5},
)


@pytest.mark.parametrize(
    "text",
    [
        "Hello you",
        " \n Hello you \n",
        "Hello",  # cut off by another tokenizer, or trimmed
        "Hell",
        "",
        "Hello you, dear",  # goes on where the path ends
        "Hello\N{REPLACEMENT CHARACTER} and nobody knows what",
    ],
)
def test_what_follows_the_path_as_far_as_it_goes_is_no_flip(text: str) -> None:
    assert HELLO.flip(seen(text)) == 0.0


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("Good day", -0.5 + 1.5),
        ("Help", -0.2 + 2.0),
        ("Hello!", -0.1 + 0.7),
        ("Hello all", -0.1 + 2.5),
        ("Hey", -0.5 + 0.9),  # `He` could begin it
        ("Zeus", -0.5 + 4.0),  # not listed: the list's floor; so could white space that a provider trims
        ("Helium", -0.2 + 3.0),
        ("Hello  you", -0.1 + 2.5),  # white space within a text counts
    ],
)
def test_a_flip_has_the_margin_of_the_likeliest_token_that_leads_there(text: str, margin: float) -> None:
    assert HELLO.flip(seen(text)) == pytest.approx(margin)


def test_other_tokens_of_the_same_text_are_no_flip() -> None:
    other = path({"=H": -0.1, "=Hel": -3.0}, {"=ello": -0.1}, {"= you": -0.1})
    assert HELLO.flip(other.text) == 0.0
    assert other.flip(HELLO.text) == 0.0


def test_characters_may_be_split_over_tokens() -> None:
    hearts = path({"xe299": -0.3, "xe298": -0.4, "=a": -2.0}, {"xa5": -0.1, "xa4": -1.1})
    assert hearts.text == "♥".encode()
    assert hearts.flip(seen("♥")) == 0.0
    assert hearts.flip(seen("♤")) == pytest.approx(1.0)
    assert hearts.flip(seen("☀")) == pytest.approx(0.1)


def test_control_tokens_show_no_text() -> None:
    ended = path({"=Yes": -0.1, "=No": -2.0}, {"#2": -0.1, "=,": -3.0})
    assert ended.text == b"Yes"
    assert ended.flip(seen("Yes, indeed")) == 0.0
    led = path({"#7": -0.01, "=No": -5.0}, {"=Yes": -0.1, "=No": -2.1})
    assert led.flip(seen("No")) == pytest.approx(2.0)


def test_the_recorded_text_counts_where_there_is_one() -> None:
    leaked = path({"=Yes": -0.1, "=No": -2.0}, {"=<|end|>": -0.1, "=,": -3.0}, text="Yes")
    assert leaked.flip(seen("Yes")) == leaked.flip(seen("Yes, indeed")) == 0.0
    assert leaked.flip(seen("No")) == pytest.approx(1.9)


def test_without_lists_nothing_is_known_of_a_margin() -> None:
    bare = path({"=Yes": -0.1}, text="Yes")
    assert bare.flip(seen("No")) == 0.0  # the only token listed is the one taken
    assert GreedyPath.of(Answer(None, (Position("=Yes", None, ()),), "Yes")).flip(seen("No")) == 0.0


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (("if", " x", " !=", " y"), "if x!= y"),
        (("Vra", "iment", " ?", " Oui"), "Vraiment? Oui"),
        (("the", " '", "s", "word"), "the'sword"),
        (("I", " do", " n't", " know", " ."), "I don't know."),
        (("I", " do", " n", "'t", " know"), "I don't know"),
    ],
)
def test_a_decoder_that_takes_spaces_from_before_punctuation_leaves_no_path(tokens: tuple[str, ...], text: str) -> None:
    spelt = path(*({f"={token}": -0.01, "=~": -5.0} for token in tokens), text="".join(tokens))
    assert spelt.flip(seen(text)) == 0.0
    assert spelt.followed(seen(text))
    assert spelt.flip(seen(text[:-1] + "~")) == pytest.approx(4.99)
    assert not spelt.followed(seen(text[:-2]))


def test_a_lead_is_over_what_shows_as_another_text() -> None:
    assert HELLO.lead == pytest.approx(-0.5 + 1.5)  # neither `He` nor trimmed white space can be told apart
    assert path({"=a": -0.1, "=ab": -0.2}).lead == pytest.approx(0.1)  # over what is not listed
    assert path({"=a": -0.1, "=b": -0.3, "=c": -2.0}).lead == pytest.approx(0.2)
    assert path({"= ": -0.1, "=b": -0.3}).lead == 0.0


words = st.text(alphabet="ab \n♥", max_size=4)
lists = st.dictionaries(words.map("=".__add__), st.floats(-9, -0.01), min_size=1, max_size=5).map(
    lambda top: dict(sorted(top.items(), key=lambda pair: -pair[1]))
)
paths = st.lists(lists, min_size=1, max_size=4).map(lambda tops: path(*tops))


@given(paths, st.integers(0, 20), st.text(alphabet="ab ♥"))
def test_no_path_is_left_by_its_own_beginnings_or_continuations(one: GreedyPath, cut: int, more: str) -> None:
    assert one.flip(one.text[:cut]) == 0.0
    assert one.flip(one.text + more.encode()) == 0.0


@given(st.lists(paths, min_size=2, max_size=4), paths)
def test_references_only_lower_the_score_down_to_zero(many: list[GreedyPath], one: GreedyPath) -> None:
    assert 0.0 <= flip(one.text, many) <= flip(one.text, many[1:])
    assert flip(one.text, [*many, one]) == 0.0


class Words(World):
    """A world whose tokens are words of one length, so that each shows as another text."""

    observes: ClassVar = ("greedy_text", "prompt_tokens")

    def answer(self, *args: object, **kwargs: object) -> Answer:
        answer = super().answer(*args, **kwargs)  # type: ignore[arg-type]

        def word(key: str) -> str:
            return f"=w{int(key[1:]):02d}"

        (one,) = answer.positions
        position = Position(word(one.token), one.logprob, tuple((word(key), value) for key, value in one.top))
        return Answer(answer.prompt_tokens, (position,), position.token[1:])


@pytest.fixture(scope="module")
def words_recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Baseline, Suite]:
    return build(tmp_path_factory.mktemp("words"), Words(), honest=4, variants={"strong": 1.0, "other": 1.0})


def test_references_whose_recorded_lists_hardly_differ_are_no_envelope_of_texts_either(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"honest0, honest1, honest2 differ by 0\.00.* takes 0\.005"):
        build(tmp_path, Words(noise=0.001), honest=3, variants={"strong": 1.0})


def spoken(answer: Answer) -> Answer:
    """What a provider that gives text alone shows of it."""
    return replace(answer, positions=())


def stream(recorded: tuple[Baseline, Suite], rng: np.random.Generator, **deviation: float) -> GreedyEvidence:
    baseline, suite = recorded
    evidence = GreedyEvidence(baseline, envelope(baseline), suite)
    probes = suite.fold("evaluation")
    for i in rng.permutation(len(probes)):
        evidence.update(probes[i].id, spoken(Words().answer(int(probes[i].id[1:]), rng, **deviation)))
    return evidence


def envelope(baseline: Baseline) -> Envelope:
    assert baseline.table is not None
    return freeze(baseline.table, ALPHA)


def test_each_deployment_is_scored_against_the_other_honest_ones(words_recorded: tuple[Baseline, Suite]) -> None:
    baseline, suite = words_recorded
    probes = [p for p in suite.probes if p.fold == "calibration"][:50]
    kept = {i: baseline.calibration_answers(i) or {} for i in (*baseline.references, *baseline.variants)}
    scores = flip_scores(baseline, kept, probes)
    assert list(scores) == ["honest0", "honest1", "honest2", "honest3", "strong", "other"]
    for index, (_, frame) in zip(kept, scores.items(), strict=True):
        others = [r for r in baseline.references if r != index]
        for probe in probes:
            references = [GreedyPath.of(kept[r][probe.id]) for r in others]
            assert frame[FLIP][probe.id] == flip(GreedyPath.of(kept[index][probe.id]).text, references)
    assert (scores["strong"][FLIP] > 0).mean() > 0.2
    assert (scores["honest0"][FLIP] > 0).mean() < 0.05


def test_the_suite_decides_that_texts_are_compared(words_recorded: tuple[Baseline, Suite]) -> None:
    baseline, suite = words_recorded
    assert evidence_of(suite) is GreedyEvidence
    assert baseline.table is not None
    assert {event.score for event in baseline.table.events} == {FLIP}


def test_a_deviation_is_proven_and_named_from_text_alone(words_recorded: tuple[Baseline, Suite]) -> None:
    evidence = stream(words_recorded, np.random.default_rng(1), deviation=1.0, kind=0)
    assert evidence.log_e > np.log(1 / ALPHA)
    assert len(evidence.deviating) > 2
    assert next(iter(evidence.posterior())) == "strong"
    low, _, high = evidence.fraction()
    assert 0 < low < 1 <= high


def test_a_deviation_that_nobody_recorded_is_proven_and_has_no_name(words_recorded: tuple[Baseline, Suite]) -> None:
    evidence = stream(words_recorded, np.random.default_rng(2), deviation=1.0, kind=5)
    assert evidence.log_e > np.log(1 / ALPHA)
    assert next(iter(evidence.posterior())) == "none of these"


def test_honest_streams_rarely_alarm(words_recorded: tuple[Baseline, Suite]) -> None:
    streams = 20
    alarms = sum(
        stream(words_recorded, np.random.default_rng((3, s))).log_e >= np.log(1 / ALPHA) for s in range(streams)
    )
    assert alarms <= 2  # more than 2 of 20 at 1 % come once in a thousand times


def test_an_empty_text_neither_accuses_nor_reassures(words_recorded: tuple[Baseline, Suite]) -> None:
    baseline, suite = words_recorded
    evidence = GreedyEvidence(baseline, envelope(baseline), suite)
    for probe in suite.fold("evaluation"):
        evidence.update(probe.id, Answer(10, (), " \n"))
    assert evidence.log_e <= 0
    assert not evidence.deviating
    assert evidence.upper("strong") == 1.0
    (finding,) = evidence.snapshot(1.0).findings
    assert finding.kind == "text_missing"


def test_what_does_not_say_that_it_ended_is_no_flip(words_recorded: tuple[Baseline, Suite]) -> None:
    """A filter puts its own words into the place of the model's; words that the model says too are agreement."""
    baseline, suite = words_recorded
    evidence = GreedyEvidence(baseline, envelope(baseline), suite)
    for probe in suite.fold("evaluation")[:60]:
        evidence.update(probe.id, Answer(10, (), "I cannot help with that.", whole=False))
    assert evidence.log_e <= 0
    assert evidence.mute
    assert not evidence.deviating
    assert [f.kind for f in evidence.snapshot(1.0).findings] == ["texts_broken_off"]


def test_a_text_that_ends_early_does_not_reassure(words_recorded: tuple[Baseline, Suite]) -> None:
    baseline, suite = words_recorded
    evidence = GreedyEvidence(baseline, envelope(baseline), suite)
    for probe in suite.fold("evaluation"):
        evidence.update(probe.id, Answer(10, (), "w"))
    assert evidence.log_e <= 0
    assert evidence.upper("strong") == 1.0
    assert [f.kind for f in evidence.snapshot(1.0).findings] == ["text_short"]
    assert evidence.mute
