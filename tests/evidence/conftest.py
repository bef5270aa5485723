from __future__ import annotations

import os

import pytest
from filelock import FileLock
from synthetic import Items, World, build

from qcheck.baselines import Baseline, load_baseline
from qcheck.suites import Suite, load_suite


@pytest.fixture(scope="session")
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Baseline, Suite]:
    """Made once, by the process that needs it first."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "recorded"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            build(folder, world, honest=4, variants={"strong": 0.3, "weak": 0.03, "tiny": 0.001})
        return load_baseline(folder), load_suite(str(folder / "suite"))


@pytest.fixture(scope="session")
def items() -> Items:
    return Items()


@pytest.fixture(scope="session")
def graded(tmp_path_factory: pytest.TempPathFactory, items: Items) -> tuple[Baseline, Suite]:
    return build(
        tmp_path_factory.mktemp("answers"), items, honest=4, variants={"poor": 0.7, "worse": 0.3, "tiny": 0.01}
    )
