"""docs/dialects.md says what the client makes of every trait that is known."""

from dataclasses import fields
from typing import get_args

from conformance import committed, table
from traits import TRAITS

from qcheck.registry.types import Dialect, ThinkingSwitch

# What an endpoint asks for by its `extra_body` and its model id, and what the user stated; the registry resolves it
# (tests/registry). What plain draws are asked by is tried in test_samples.py.
RESOLVED = {"extra_body", "pin", "plain_samples", "stated"}


async def test_the_table_in_the_docs_is_what_happens():
    assert await table() == committed()[1], "run `python tests/client/conformance.py`"


def test_every_setting_of_a_dialect_is_tried():
    tried = {
        f.name for f in fields(Dialect) for t in TRAITS if getattr(t.dialect, f.name) != getattr(Dialect(), f.name)
    }
    assert tried == {f.name for f in fields(Dialect)} - RESOLVED


def test_every_way_to_an_answer_without_a_thought_is_tried():
    assert {t.dialect.thinking_off for t in TRAITS} == {None, *get_args(ThinkingSwitch)}
