import numpy as np
import pytest

from qcheck.stats.attribution import NONE, Attribution

NOISE = 0.01


def _answers(rng: np.random.Generator, true: int | None, share: float, count: int = 30) -> Attribution:
    """Answers of which a `share` come from variant `true` (None: from one nobody recorded), the rest honest."""
    attribution = Attribution(("a", "b", "c"), NOISE)
    for _ in range(count):
        recorded = rng.normal(0, 0.1, (3, 40))
        noise = rng.normal(0, NOISE, 40)
        source = recorded[true] if true is not None else rng.normal(0, 0.1, 40)
        answer = noise + (source if rng.random() < share else 0)
        attribution.update(np.vstack([answer, recorded]))
    return attribution


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_the_true_variant_is_named(share: float) -> None:
    posterior = _answers(np.random.default_rng(3), 1, share).posterior()
    assert next(iter(posterior)) == "b"
    assert posterior["b"] > 0.95
    assert sum(posterior.values()) == pytest.approx(1.0)


def test_what_nobody_recorded_is_none_of_these() -> None:
    assert next(iter(_answers(np.random.default_rng(3), None, 1.0).posterior())) == NONE


def test_without_answers_the_prior_speaks_and_empty_answers_say_nothing() -> None:
    attribution = Attribution(("a", "b", "c"), NOISE)
    attribution.update(np.zeros((4, 0)))
    assert attribution.posterior()[NONE] == pytest.approx(0.2)
    assert Attribution((), NOISE).posterior() == {NONE: 1.0}
