from collections.abc import Callable, Iterator

import pytest

from qcheck.registry import loader


def forget() -> None:
    """Makes the registry be read anew."""
    loader.load_offers.cache_clear()
    loader.load_models.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def own_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The registry as shipped, whatever `qcheck providers update` has kept for who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        forget()
        yield
    forget()


@pytest.fixture
def keep() -> Iterator[Callable[[str], None]]:
    """Makes a text what `qcheck providers update` has kept, until the test ends."""

    def write(text: str) -> None:
        loader.user_offers().parent.mkdir(parents=True, exist_ok=True)
        loader.user_offers().write_text(text)
        forget()

    yield write
    loader.user_offers().unlink()
    forget()
