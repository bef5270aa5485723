"""Sampled text, on distributions made from formulas."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import World

from qcheck.baselines import Answer, Baseline, BaselineManifest, DeploymentEntry, ProbeReference, SuiteEntry
from qcheck.errors import SuiteError
from qcheck.evidence.envelope import Envelope
from qcheck.evidence.observable import evidence_of
from qcheck.evidence.sampled_text import UNRECORDED, Box, NextText, SampledTextEvidence, Worth, weights, worth, worth_of
from qcheck.evidence.texts import seen
from qcheck.records import Position, Response
from qcheck.suites import Suite, load_suite
from qcheck.tailcounts import CalibrationTable

ALPHA, UNIT, PROBES = 0.01, 0.01, 150
NAMES = ("honest0", "honest1", "honest2", "strong", "weak")
DEVIATIONS = {"strong": 0.9, "weak": 0.03}
MANIFEST = {
    "name": "sampled", "version": "1.0.0", "licence": "CC0-1.0", "description": "formulas", "max_tokens": 1,
    "observes": ["sampled_text"], "top_logprobs": 0, "temperature": 1.0, "of": "../suite",
}  # fmt: skip
Draw = Callable[[int, np.random.Generator], str]


def write(folder: Path, manifest: Mapping[str, object]) -> Path:
    folder.mkdir()
    (folder / "suite.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Baseline, Suite]:
    """Three honest deployments and two variants, and a suite that samples text on their probes."""
    folder = tmp_path_factory.mktemp("sampled")
    observed = {"observes": ["logprobs"], "top_logprobs": 20, "temperature": None, "of": None}
    write(folder / "suite", {k: v for k, v in (MANIFEST | observed).items() if v is not None})
    rows = [
        {"id": f"p{i}", "cluster": f"c{i}", "fold": "evaluation", "messages": [{"role": "user", "content": f"q{i}"}]}
        for i in range(PROBES)
    ]
    (folder / "suite" / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite, rng = load_suite(str(write(folder / "sampled", MANIFEST))), np.random.default_rng(1)

    def recorded(probe: int) -> ProbeReference:
        sizes = [(DEVIATIONS.get(name, 0.0), kind) for kind, name in enumerate(NAMES)]
        return ProbeReference(tuple((world.answer(probe, rng, size, kind),) for size, kind in sizes))

    entries = [
        DeploymentEntry.model_construct(name=n, role="variant" if n in DEVIATIONS else "reference") for n in NAMES
    ]
    entry = SuiteEntry(name="sampled", version="1.0.0", hash=suite.recorded.hash)
    manifest = BaselineManifest.model_construct(format=2, model="m", suite=entry, deployments=entries)
    table = CalibrationTable.model_construct(noise_factor=1.5, noise_unit=UNIT)
    probes = {f"p{i}": recorded(i) for i in range(PROBES)}
    return Baseline("b", folder, manifest, "hash", table, {}, probes), suite


def drawn(
    world: World, probe: int, rng: np.random.Generator, deviation: float = 0.0, kind: int = 0, k: int = 40
) -> str:
    """A token drawn at temperature 1 from the `k` likeliest."""
    (position,) = world.answer(probe, rng, deviation, kind, k).positions
    keys, logprobs = zip(*position.top, strict=True)
    p = np.exp(logprobs)
    return str(rng.choice([key[1:] for key in keys], p=p / p.sum()))


def folded(sampled: tuple[Baseline, Suite], draw: Draw) -> SampledTextEvidence:
    baseline, suite = sampled
    evidence = SampledTextEvidence(baseline, Envelope(ALPHA, 0.2 * ALPHA, {}, 0, {}, None), suite)
    rng = np.random.default_rng(2)
    for probe in suite.fold("evaluation"):
        evidence.update(probe.id, Answer(10, (), draw(int(probe.id[1:]), rng)))
    return evidence


def list_of(logprobs: dict[str, float]) -> Position:
    top = tuple(sorted(((f"={t}", v) for t, v in logprobs.items()), key=lambda pair: -pair[1]))
    return Position(top[0][0], top[0][1], top)


def probabilities(known: Worth, text: NextText) -> np.ndarray:
    """What each cell has of a listed distribution, everything unlisted being in the last one."""
    mine = [text.weights.get(t, 0.0) for t in known.box.core]
    return np.array([*mine, 1 - sum(mine)])


def test_a_suite_that_samples_is_judged_by_the_baseline_of_another(sampled: tuple[Baseline, Suite]) -> None:
    baseline, suite = sampled
    assert evidence_of(suite) is SampledTextEvidence
    assert baseline.fits(suite)
    assert suite.probes == suite.recorded.probes
    assert suite.hash != suite.recorded.hash
    assert suite.request(suite.probes[0], 0.0, 20).temperature == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": None}, {"of": None}, {"observes": ["logprobs"], "top_logprobs": 5}, {"max_tokens": 2},
        {"top_logprobs": 1}, {"temperature": 1.5}, {"temperature": 0.0}, {"of": "answers"}, {"of": "nowhere"},
    ],
)  # fmt: skip
def test_what_cannot_be_sampled_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(Exception, match=r"sampled|temperature|log-probabilities|nowhere") as caught:
        load_suite(str(write(tmp_path / "s", MANIFEST | {"of": "logprobs"} | changes)))
    assert isinstance(caught.value, SuiteError) or "nowhere" in str(caught.value)


def test_a_strong_variant_is_detected_named_and_its_share_bounded(
    sampled: tuple[Baseline, Suite], world: World
) -> None:
    evidence = folded(sampled, lambda probe, rng: drawn(world, probe, rng, DEVIATIONS["strong"], NAMES.index("strong")))
    assert evidence.log_e > np.log(1 / ALPHA)
    assert len(evidence.deviating) > 2
    assert next(iter(evidence.posterior())) == "strong"
    low, estimate, high = evidence.fraction()
    assert 0 < low <= estimate <= high == 1.0


def fit(evidence: SampledTextEvidence, kind: str) -> float:
    """The p-value of a companion."""
    (text,) = (f.text for f in evidence.snapshot(1.0).findings if f.kind == kind)
    return float(re.findall(r"p = (\d[\d.e-]*)", text)[0])


def uniformity(evidence: SampledTextEvidence) -> float:
    return fit(evidence, "samples_ranks")


@pytest.mark.parametrize("k", [40, 20])
def test_honest_answers_are_no_evidence_even_where_the_server_cuts_the_tail(
    sampled: tuple[Baseline, Suite], world: World, k: int
) -> None:
    evidence = folded(sampled, lambda probe, rng: drawn(world, probe, rng, k=k))
    assert evidence.log_e < np.log(1 / ALPHA)
    assert evidence.fraction()[0] == 0.0
    assert evidence.bound() is None
    assert evidence.blind_to(0.05) == ("strong", "weak")
    assert uniformity(evidence) > 0.01
    assert fit(evidence, "samples_witness") > 0.01


def test_the_witness_of_draws_has_mean_zero_and_the_variance_that_it_says() -> None:
    box = Box((b"a", b"b", b"c"), np.zeros(3), np.ones(3), 0.9, np.array([0.5, 0.3, 0.2]))
    values, variances = zip(*(box.witness(cell) for cell in range(3)), strict=True)
    assert np.dot(box.centre, values) == pytest.approx(0.0)
    assert np.dot(box.centre, np.square(values)) == pytest.approx(variances[0]) == pytest.approx(variances[2])
    assert np.dot([0.7, 0.2, 0.1], values) == pytest.approx(np.dot(box.centre, np.array([0.7, 0.2, 0.1]) - box.centre))


def test_ranks_of_texts_that_come_as_recorded_are_uniform(sampled: tuple[Baseline, Suite]) -> None:
    """Texts of equal probability, too: ties are broken at random."""
    box = Box((b"a", b"b", b"c", b"d"), np.zeros(4), np.ones(4), 0.9, np.array([0.4, 0.1, 0.1, 0.4]))
    rng = np.random.default_rng(4)
    ranks = [box.rank(int(rng.choice(4, p=box.centre)), rng) for _ in range(4000)]
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    assert stats.kstest([box.rank(0, rng) for _ in range(100)], "uniform").pvalue < 0.001


@pytest.mark.parametrize("said", ["always the likeliest", "never a listed one"])
def test_what_nobody_recorded_is_seen_too(sampled: tuple[Baseline, Suite], world: World, said: str) -> None:
    def draw(probe: int, rng: np.random.Generator) -> str:
        return drawn(world, probe, rng, k=1) if said == "always the likeliest" else "something else"

    evidence = folded(sampled, draw)
    assert evidence.log_e > np.log(1 / ALPHA)
    assert evidence.fraction()[0] > 0.05
    if said == "always the likeliest":
        assert uniformity(evidence) < 0.001
        assert fit(evidence, "samples_witness") < 0.001


def test_the_mean_of_every_bet_is_at_most_one_under_a_deployment_left_out(sampled: tuple[Baseline, Suite]) -> None:
    """By summing over the cells, no draws; with the whole tail, and with all of it cut but for the core."""
    baseline, suite = sampled
    means = []
    for probe in suite.fold("evaluation")[:60]:
        reference = baseline.probe(probe.id)
        assert reference is not None
        known = worth(reference, baseline.references[1:], baseline.variants, 1.0, 1.5, UNIT, None)
        assert known is not None
        p = probabilities(known, NextText.of(reference.answers[0][0].positions[0], 1.0))
        cut = np.append(p[:-1] / p[:-1].sum(), 0.0)
        means.append(np.stack([known.ratios @ p, known.ratios @ cut]))
    assert (np.mean(means, axis=0) <= 1 + 1e-9).all()
    assert np.max(means) > 1 - 1e-3  # where there is nothing to bet on they are not far below


def test_a_temperature_below_one_sharpens_what_was_recorded() -> None:
    logprobs = {"a": np.log(0.6), "b": np.log(0.3), "c": np.log(0.06)}
    text = NextText.of(list_of(logprobs), 0.5)
    shares, inside = text.on([b"a", b"b"])
    assert shares == pytest.approx([0.8, 0.2])
    # Of 0.04 that is not listed no token has more than 0.06: squared they sum to at most 0.0024.
    assert inside == pytest.approx(0.45 / (0.45 + 0.0036 + 0.0024))


def test_tokens_that_show_as_the_same_text_are_one_and_what_shows_none_is_none() -> None:
    text = NextText.of(list_of({"a": np.log(0.4), " a": np.log(0.3), "\n": np.log(0.2), "b": np.log(0.1)}), 1.0)
    assert text.weights[b"a"] == pytest.approx(0.7)
    assert text.core(0.0) == {b"a"}  # b comes after 0.9
    assert seen(" a\n") == b"a"


def test_rare_tokens_and_those_beyond_the_nucleus_are_not_told_apart() -> None:
    rare = {"a": np.log(0.5), "b": np.log(0.45), "c": np.log(0.029), "d": np.log(0.021)}
    assert NextText.of(list_of(rare), 1.0).core(0.0) == {b"a", b"b"}
    flat = {"a": np.log(0.4), "b": np.log(0.3), "c": np.log(0.2), "d": np.log(0.1)}
    assert NextText.of(list_of(flat), 1.0).core(0.0) == {b"a", b"b"}


def test_servers_cut_tokens_and_not_texts() -> None:
    """Both tokens of "No" are below what min-p leaves, though their sum is not."""
    text = NextText.of(list_of({"Yes": np.log(0.9), "No": np.log(0.035), " No": np.log(0.033)}), 1.0)
    assert text.core(0.0) == {b"Yes"}
    partly = NextText.of(list_of({"A": np.log(0.5), "B": np.log(0.4), " A": np.log(0.004)}), 1.0)
    assert partly.core(0.0) == {b"B"}
    assert partly.core(0.01) == {b"A", b"B"}


def test_what_the_prompt_says_is_not_told_apart() -> None:
    """Nor what chat templates say, on which a repetition penalty falls, too."""
    for said_before in ("b", " You"):
        answers = tuple((Answer(1, (list_of({"k": -0.7, said_before: -0.9}),)),) for _ in range(2))
        known, plain = (worth(ProbeReference(answers), (0, 1), (), 1.0, 1.5, UNIT, said) for said in (b"b?", None))
        assert known is not None
        assert known.box.core == (b"k",)
        assert plain is not None
        assert len(plain.box.core) == 2


@pytest.mark.parametrize("top_p", [0.7, 0.8, 0.9, 0.95])
def test_no_bet_gains_where_an_honest_server_cuts_by_top_p(sampled: tuple[Baseline, Suite], top_p: float) -> None:
    baseline, suite = sampled
    means = []
    for probe in suite.fold("evaluation")[:60]:
        reference = baseline.probe(probe.id)
        assert reference is not None
        known = worth(reference, baseline.references, baseline.variants, 1.0, 1.5, UNIT, None)
        assert known is not None
        (position,) = reference.answers[0][0].positions
        p = np.exp([logprob for _, logprob in position.top])
        kept = np.cumsum(p) - p < top_p
        listed = [
            (key, float(np.log(v))) for (key, _), v in zip(position.top, p * kept / p[kept].sum(), strict=True) if v
        ]
        means.append(
            known.ratios @ probabilities(known, NextText.of(Position(position.token, None, tuple(listed)), 1.0))
        )
    assert np.max(means) <= 1 + 1e-9


def test_which_answers_are_silent_may_depend_on_what_they_say(sampled: tuple[Baseline, Suite]) -> None:
    """A gateway that counts some words as two tokens makes those silent, and gains nothing."""
    baseline, suite = sampled
    for probe in suite.fold("evaluation")[:20]:
        reference = baseline.probe(probe.id)
        assert reference is not None
        known = worth(reference, baseline.references, baseline.variants, 1.0, 1.5, UNIT, probe.said)
        if known is None:
            continue
        p = probabilities(known, NextText.of(reference.answers[0][0].positions[0], 1.0))

        def factor(answer: Answer, probe_id: str = probe.id) -> np.ndarray:
            evidence = SampledTextEvidence(baseline, Envelope(ALPHA, 0.2 * ALPHA, {}, 0, {}, None), suite)
            evidence.update(probe_id, answer)
            return np.exp(evidence.log_e)

        silent = factor(Answer(10, (), None))
        said = [factor(Answer(10, (), text.decode())) for text in known.box.core]
        other = factor(Answer(10, (), "something else"))
        values = np.array([*said, other])
        for cell in range(len(values)):
            mixed = np.where(np.arange(len(values)) == cell, silent, values)
            assert mixed @ p <= 1 + 1e-9


def test_the_core_is_what_all_references_have() -> None:
    one, other = {"a": -0.7, "b": -0.9}, {"a": -0.7, "c": -0.9}
    answers = tuple((Answer(1, (list_of(logprobs),)),) for logprobs in (one, other))
    known = worth(ProbeReference(answers), (0, 1), (), 1.0, 1.5, UNIT, None)
    assert known is not None
    assert known.box.core == (b"a",)
    assert known.ratios.shape[1] == len(UNRECORDED) == len(weights(0))
    disjoint = tuple((Answer(1, (list_of({t: -0.1}),)),) for t in "ab")
    assert worth(ProbeReference(disjoint), (0, 1), (), 1.0, 1.5, UNIT, None) is None
    assert worth(ProbeReference(((Answer(1, ()),),)), (0,), (), 1.0, 1.5, UNIT, None) is None


def test_silence_and_empty_texts_never_raise_the_evidence(sampled: tuple[Baseline, Suite], world: World) -> None:
    _, suite = sampled
    evidence = folded(sampled, lambda probe, rng: drawn(world, probe, rng, DEVIATIONS["strong"], NAMES.index("strong")))
    before = evidence.log_e
    evidence.update(suite.probes[0].id, Answer(10, (), None))
    assert evidence.log_e <= before
    before = evidence.log_e
    evidence.fail(suite.probes[1].id)
    assert evidence.log_e <= before
    for probe in suite.fold("evaluation")[:50]:
        before = evidence.log_e
        evidence.update(probe.id, Answer(10, (), " "))
        assert evidence.log_e <= before
    assert "samples_missing" in [f.kind for f in evidence.snapshot(1.0).findings]


@pytest.mark.parametrize(
    ("completion_tokens", "reasoning", "text"), [(1, None, "a"), (0, "", "a"), (2, None, None), (None, None, None),
    (1, "hm", None)],
)  # fmt: skip
def test_only_one_sampled_token_is_a_sample(
    completion_tokens: int | None, reasoning: str | None, text: str | None
) -> None:
    response = Response("a", (), 10, completion_tokens, None, "length", None, None, reasoning)
    assert SampledTextEvidence.read(response).text == text


@pytest.mark.parametrize("zeros", [(), ("d",), ("d", "e")])
@pytest.mark.parametrize("temperature", [1.0, 0.04])
def test_listed_probabilities_of_zero_accuse_no_honest_provider(zeros: tuple[str, ...], temperature: float) -> None:
    listed = {"a": 0.5, "b": 0.3, "c": 0.2}
    position = list_of({t: float(np.log(p)) for t, p in listed.items()} | dict.fromkeys(zeros, -np.inf))
    honest = NextText.of(position, temperature)
    known = worth_of([honest, honest], [NextText.of(list_of({"d": 0.0}), temperature)], 1.5, 0.02, None)
    assert known is not None
    assert np.isfinite(known.ratios).all()
    p = np.array([v ** (1 / temperature) for v in listed.values()])
    mean = sum(q * known.ratios[:, :, known.cell(t.encode())] for t, q in zip(listed, p / p.sum(), strict=True))
    assert (mean <= 1 + 1e-9).all()


def test_a_list_of_zeros_alone_tells_nothing_apart() -> None:
    nothing = NextText.of(list_of({"a": -np.inf}), 1.0)
    assert worth_of([nothing, nothing], [nothing], 1.5, 0.02, b"") is None
    some = NextText.of(list_of({"a": float(np.log(0.5)), "b": float(np.log(0.4))}), 1.0)
    known = worth_of([some, some], [nothing], 1.5, 0.02, b"")
    assert known is not None
    assert np.isfinite(known.ratios).all()


def test_failed_samples_lose_what_was_bet_on_them(sampled: tuple[Baseline, Suite], world: World) -> None:
    """An honest provider that fails where it would have said what is no evidence gains none from it."""
    baseline, suite = sampled
    envelope = Envelope(ALPHA, 0.2 * ALPHA, {}, 0, {}, None)
    failing, silent = (SampledTextEvidence(baseline, envelope, suite) for _ in range(2))
    for probe in suite.fold("evaluation")[:20]:
        failing.fail(probe.id)
        silent.update(probe.id, Answer(10, (), None))
    assert failing.log_e == silent.log_e < 0
