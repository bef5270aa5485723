import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcheck.stats.deviation import deviation, direction, partition_kl, projections, rms

NAN = float("nan")


def test_deviation_uses_what_truncation_leaves_possible() -> None:
    x = np.array([-1.0, -2.0, NAN, NAN])
    y = np.array([-1.5, NAN, -2.5, NAN])
    # x alone at -2 against a floor of -1.5: no deviation proven. y alone at -2.5 against a floor of -2: none either.
    assert deviation(x, -2.0, y, -1.5).tolist() == [0.5, 0.0, 0.0, 0.0]
    # x alone at -2, but y's floor is -4: x is at least 2 higher. y alone at -2.5, x's floor -3: at least 0.5 lower.
    assert deviation(x, -3.0, y, -4.0).tolist() == [0.5, 2.0, -0.5, 0.0]


@given(seed=st.integers(0, 10_000), kept=st.integers(1, 9))
def test_listing_less_never_looks_further_away(seed: int, kept: int) -> None:
    """Cutting the candidate's list to its `kept` best never raises any coordinate's magnitude."""
    rng = np.random.default_rng(seed)
    full = np.log(rng.dirichlet(np.ones(12)))[:10]
    recorded = np.log(rng.dirichlet(np.ones(12)))[:10]
    cut = full.copy()
    cut[np.argsort(-full)[kept:]] = NAN
    before = np.abs(deviation(full, full.min(), recorded, recorded.min()))
    after = np.abs(deviation(cut, np.nanmin(cut), recorded, recorded.min()))
    assert (after <= before + 1e-12).all()


def test_direction_removes_what_a_position_shares() -> None:
    positions = np.array([0, 0, 0, 1, 1])
    shifted = np.array([1.0, 1.0, 1.0, -2.0, -2.0])
    assert direction(shifted, np.ones(5), positions) == pytest.approx(np.zeros(5))
    v = np.array([0.3, -0.1, -0.2, 0.5, -0.5])
    assert direction(v + shifted, np.ones(5), positions) == pytest.approx(v)


def test_projection_is_one_on_itself_and_zero_on_the_orthogonal() -> None:
    v = np.array([0.3, -0.1, -0.2])
    assert projections(v, v) == pytest.approx(1.0)
    assert projections(2 * v, v) == pytest.approx(2.0)
    assert projections(np.array([0.1, 0.3, 0.0]), v) == pytest.approx(0.0)
    assert projections(v, np.zeros(3)) == 0.0


def test_rms_counts_chosen_coordinates() -> None:
    assert rms(np.array([3.0, 4.0, 100.0]), np.array([1.0, 1.0, 0.0])) == pytest.approx(np.sqrt(12.5))
    assert rms(np.array([3.0]), np.array([0.0])) == 0.0


@given(seed=st.integers(0, 10_000), k=st.integers(1, 11))
def test_partition_kl_is_a_lower_bound_of_the_full_divergence(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(12))
    full = float((p * np.log(p / q)).sum())
    top_p, top_q = np.log(p), np.log(q)
    top_p[np.argsort(-p)[k:]] = NAN
    top_q[np.argsort(-q)[k:]] = NAN
    assert 0.0 <= partition_kl(top_p, top_q) <= full + 1e-9
    assert partition_kl(np.log(p), np.log(q)) == pytest.approx(full, abs=1e-6)
