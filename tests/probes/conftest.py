from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from qcheck.suites import shipped_folder


@pytest.fixture(scope="session")
def script() -> Iterator[Callable[[str], ModuleType]]:
    """Load a script of the probes' folder, `answers/compose.py`, as a module, with its own folder on the path."""

    def load(path: str) -> ModuleType:
        file = shipped_folder("probes") / path
        name = "_".join(Path(path).with_suffix("").parts).replace("-", "_")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        patch.syspath_prepend(str(file.parent))
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    with pytest.MonkeyPatch.context() as patch:
        yield load
