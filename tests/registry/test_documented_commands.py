"""No command that the documentation or `--help` gives names an endpoint that the registry knows to be retired."""

import re
from pathlib import Path

import pytest

from qcheck.registry.loader import load_models

ROOT = Path(__file__).parents[2]
PLACES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("qcheck/cli/*.py")})
COMMAND = re.compile(r"\bqcheck (?:[^\n`\"\\]|\\\n)+")


def retired_in(text):
    """Each (model, provider) of a command in `text` for which the registry has a date of retirement, past or not.

    An upstream behind an aggregator counts as the provider of that name.
    """
    found = set()
    for command in COMMAND.findall(text):
        words = set(re.split(r"[\s,'\\:=/]+", command))
        for model in load_models().values():
            if model.name in words:
                found |= {(model.name, provider) for provider in words & set(model.retires)}
    return found


@pytest.mark.parametrize(
    "text",
    [
        "`qcheck compare kimi-k2.6 --providers moonshot,together`",
        "qcheck compare kimi-k2.6 \\\n  --providers 'together'",
        "qcheck compare kimi-k2.6 --providers openrouter/together/fp8",
        "qcheck compare kimi-k2.6 --providers=x --reference live:together",
    ],
)
def test_retired_endpoints_would_be_found(text):
    assert retired_in(text) == {("kimi-k2.6", "together")}


def test_served_endpoints_and_other_commands_are_none():
    assert retired_in("`qcheck compare kimi-k2.6 --providers moonshot` (together has none)\ntogether") == set()
    assert retired_in("qcheck compare glm-5.1 --providers together") == set()


def test_there_are_commands_to_look_at():
    commands = [command for place in PLACES for command in COMMAND.findall(place.read_text())]
    assert sum("kimi-k2.6" in command for command in commands) >= 5


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(ROOT)))
def test_no_documented_command_names_a_retired_endpoint(place):
    assert retired_in(place.read_text()) == set()
