import pytest

from qcheck.registry.observables import lost_observables
from qcheck.registry.types import Dialect, Endpoint, PromptFormat

ALL = {"logprobs", "greedy_text", "scored_text", "sampled_text", "answers", "tool_calls", "prompt_tokens"}
FORMAT = PromptFormat(
    system="{content}", user="{content}", assistant="{content}", answer="", no_thought="<think></think>"
)


def endpoint(dialect=Dialect(), **changes):  # noqa: B008
    return Endpoint("p", "p", "https://p.example/v1", "m", None, dialect, **changes)


@pytest.mark.parametrize(
    ("dialect", "changes", "lost"),
    [
        (Dialect(), {}, set()),
        (Dialect(), {"temperature": 1.0}, {"logprobs", "greedy_text"}),
        (Dialect(), {"temperature": 0.6}, {"logprobs", "greedy_text"}),
        (Dialect(after_temperature=False), {"temperature": 0.6}, {"greedy_text"}),
        (Dialect(after_temperature=False), {"temperature": 1.0}, {"greedy_text"}),
        (Dialect(), {"thinks_always": True}, {"greedy_text", "scored_text"}),
        (Dialect(top_logprobs_max=0), {}, {"logprobs"}),
        (Dialect(after_temperature=True), {}, set()),
        (Dialect(after_temperature=True), {"temperature": 1.0}, {"logprobs", "greedy_text"}),
        (Dialect(after_temperature=True), {"temperature": 0.6}, {"logprobs", "greedy_text"}),
        (Dialect(thinking_off="never"), {}, ALL),
        (Dialect(thinking_off="completions"), {"prompt_format": FORMAT}, {"tool_calls"}),
        (Dialect(thinking_off="partial"), {"prompt_format": FORMAT}, {"tool_calls"}),
        (Dialect(thinking_off="reasoning"), {"prompt_format": FORMAT}, set()),
    ],
)
def test_what_cannot_be_compared_is_lost(dialect, changes, lost):
    assert set(lost_observables(endpoint(dialect, **changes))) == lost


def test_what_is_lost_may_depend_on_the_temperature_of_a_request():
    assert "logprobs" in lost_observables(endpoint(Dialect(after_temperature=True)), 0.5)
