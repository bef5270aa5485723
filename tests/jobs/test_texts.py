"""Greedy texts are compared only where an honest provider would repeat them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qcheck.errors import ConfigurationError
from qcheck.jobs.compare import Settings, make_manifest
from qcheck.jobs.reference import Reference
from qcheck.registry.loader import get_model
from qcheck.registry.types import Dialect, Endpoint
from qcheck.suites import load_suite

LOGPROBS = load_suite("logprobs")
TEXTS = replace(LOGPROBS, manifest=LOGPROBS.manifest.model_copy(update={"observes": ["greedy_text"]}))


def endpoints(**changes):
    return [Endpoint(n, n, f"https://{n}.example/v1", "m", None, **changes) for n in ("a", "b")]


@pytest.mark.parametrize("changes", [{"temperature": 0.6}, {"dialect": Dialect(thinking_off="never")}])
def test_a_provider_that_cannot_repeat_a_text_is_refused(changes):
    with pytest.raises(ConfigurationError, match=r"^a cannot be judged by the suite logprobs, by its greedy text: "):
        make_manifest(
            "r", datetime.now(UTC), get_model("lab-tiny"), endpoints(**changes), [(TEXTS, Reference())], Settings(1)
        )


def test_what_is_lost_stands_in_the_manifest():
    settings = Settings(1)
    asked = endpoints(temperature=0.6, dialect=Dialect(after_temperature=True))
    manifest = make_manifest("r", datetime.now(UTC), get_model("lab-tiny"), asked, [(LOGPROBS, Reference())], settings)
    assert set(manifest.providers[0].lost) == {"logprobs", "greedy_text"}
