from __future__ import annotations

import pytest
from synthetic import Items, World, build

from qcheck.baselines import Baseline
from qcheck.suites import Suite


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Baseline, Suite]:
    return build(
        tmp_path_factory.mktemp("baseline"), world, honest=4, variants={"strong": 0.3, "weak": 0.03, "tiny": 0.001}
    )


@pytest.fixture(scope="session")
def items() -> Items:
    return Items()


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory, items: Items) -> tuple[Baseline, Suite]:
    return build(
        tmp_path_factory.mktemp("answers"), items, honest=4, variants={"poor": 0.7, "worse": 0.3, "tiny": 0.01}
    )
