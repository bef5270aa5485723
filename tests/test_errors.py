from __future__ import annotations

import pytest

from qcheck import errors
from qcheck.errors import DownloadError, QcheckError, StorageError, UnknownNameError, UsageError


def test_every_error_is_exported_and_has_an_exit_code() -> None:
    tree = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert tree == set(errors.__all__)
    for name in tree:
        error = getattr(errors, name)
        assert error.exit_code == (2 if issubclass(error, UsageError) else 3 if error is DownloadError else 4)
        assert issubclass(error, QcheckError)


def test_a_full_disk_is_not_the_fault_of_the_usage() -> None:
    assert StorageError.exit_code == 4


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (["together", "fireworks"], "unknown provider 'togther': did you mean together? Look again."),
        (["novita"], "unknown provider 'togther': known: novita. Look again."),
        ([], "unknown provider 'togther': none is known. Look again."),
        ([f"p{n:02}" for n in range(13)], "known: " + ", ".join(f"p{n:02}" for n in range(12)) + ", …"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_known(known: list[str], said: str) -> None:
    assert said in str(UnknownNameError("provider", "togther", known, "Look again."))
