"""Where a divergence is placed between known ones."""

import pytest

from qcheck.evidence.ladder import place

RUNGS = {"q4": 0.02, "q8": 0.0004}


@pytest.mark.parametrize(
    ("own", "rungs", "where"),
    [
        (0.003, RUNGS, "between q8 (0.0004) and q4 (0.02)"),
        (0.0001, RUNGS, "below q8 (0.0004)"),
        (0.5, RUNGS, "beyond q4 (0.02)"),
        (0.003, {}, "between Q8_0 (0.0014) and Q6_K (0.0054) as published of Llama 3 8B"),
        (0.9, {}, "beyond Q2_K (0.45) as published of Llama 3 8B"),
    ],
)
def test_a_divergence_stands_between_its_neighbours(own: float, rungs: dict[str, float], where: str) -> None:
    assert place(own, rungs) == f"{own:.2g} nats/token from the reference where it deviates, {where}"
