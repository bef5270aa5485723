from __future__ import annotations

import numpy as np
import pytest

from qcheck.stats.attribution import NONE, PRIOR_NONE, Attribution, log_likelihoods

VARIANTS = ("a", "b", "c")
N = 40
POSITIONS = np.repeat([0, 1], N // 2)
ENGINE = 0.4  # rms error of an engine, in units of the noise


def named(
    true: int | None, share: float = 1.0, size: float = 8.0, count: int = 20, listed: float = 1.0
) -> dict[str, float]:
    """The posterior after answers of which a `share` come from variant `true` (None: one that nobody recorded).

    Engines differ by `ENGINE`, that of the recording and that of the answer. listed: which share of the tokens the
    true variant lists.
    """
    rng, attribution = np.random.default_rng(3), Attribution(VARIANTS)
    for _ in range(count):
        own = rng.normal(0, size, (len(VARIANTS) + 1, N))
        recorded = own[:-1] + rng.normal(0, ENGINE, own[:-1].shape)
        if true is not None:
            recorded[true, rng.random(N) > listed] = np.nan
        deviates = rng.random() < share
        answer = rng.normal(0, ENGINE, N) + (own[-1 if true is None else true] if deviates else 0.0)
        attribution.fold(*log_likelihoods(answer, recorded, POSITIONS))
    return attribution.posterior()


@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("size", [1.0, 8.0])
def test_the_true_variant_is_named_from_another_engine(share: float, size: float) -> None:
    posterior = named(1, share, size, count=30)
    assert next(iter(posterior)) == "b"
    assert posterior["b"] > 0.9
    assert sum(posterior.values()) == pytest.approx(1.0)


def test_a_variant_that_lists_little_is_named_all_the_same() -> None:
    assert named(1, listed=0.3)["b"] > 0.95


@pytest.mark.parametrize("share", [1.0, 0.2])
@pytest.mark.parametrize("size", [2.0, 8.0])
def test_what_nobody_recorded_is_none_of_these(share: float, size: float) -> None:
    assert named(None, share, size)[NONE] > 0.95


def test_honest_answers_and_variants_within_the_noise_are_named_by_nobody() -> None:
    assert named(0, share=0.0)[NONE] == pytest.approx(PRIOR_NONE, abs=0.15)
    posterior = named(0, size=0.1)
    assert posterior["a"] == pytest.approx(posterior["b"], abs=0.01)


def test_a_common_offset_says_nothing_and_unlisted_tokens_take_nothing() -> None:
    rng = np.random.default_rng(0)
    answer, recorded = rng.normal(0, 3, N), rng.normal(0, 3, (2, N))
    inside, deviating = log_likelihoods(answer, recorded, POSITIONS)
    shift = np.where(POSITIONS == 0, 5.0, -2.0)
    moved, moved_deviating = log_likelihoods(answer + shift, recorded, POSITIONS)
    assert moved == pytest.approx(inside)
    np.testing.assert_allclose(moved_deviating, deviating)
    # One that lists nothing explains as much as nobody's deviation does, its size unknown.
    _, silent = log_likelihoods(answer, np.full((1, N), np.nan), POSITIONS)
    assert np.exp(silent[0]) == pytest.approx(np.exp(silent[1]).mean())


def test_without_answers_the_prior_speaks_and_empty_answers_say_nothing() -> None:
    attribution = Attribution(VARIANTS)
    attribution.fold(*log_likelihoods(np.zeros(0), np.zeros((3, 0)), np.zeros(0, int)))
    assert attribution.posterior()[NONE] == pytest.approx(PRIOR_NONE)
    assert Attribution(()).posterior() == {NONE: 1.0}
