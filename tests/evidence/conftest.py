from __future__ import annotations

import pytest
from synthetic import World, build

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
