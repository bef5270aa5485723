from __future__ import annotations

from collections.abc import Iterator

import pytest

from qcheck.lab.catalog import deployments_of
from qcheck.lab.messages import EngineStart
from qcheck.lab.process import Child, close_all
from qcheck.lab.supervisor import MODELS_DIR


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a llama.cpp server that serves lab-tiny as `honest` does."""
    child = Child("the engine", "qcheck.lab.engine", tmp_path_factory.mktemp("engine") / "log")
    child.send(EngineStart(str(MODELS_DIR / "lab-tiny-f16.gguf"), deployments_of("lab-tiny")["honest"].settings))
    yield child.receive()["url"]
    close_all([child])
