from dataclasses import replace

from qcheck.jobs.check import Offer, Tokens
from qcheck.jobs.offer import Capability, capabilities
from qcheck.report.check import NAMES, render
from qcheck.report.paper import Paper

OFFER = Offer(
    schema_version=1,
    qcheck_version="0.1.0",
    provider="openrouter/parasail",
    endpoint="https://openrouter.ai/api/v1 (parasail)",
    model="kimi-k2.6",
    model_id="moonshotai/kimi-k2.6",
    checked="2026-11-23T18:45:00+00:00",
    stopped=None,
    reason=None,
    capabilities=(
        Capability("logprobs", "yes", "5 tokens listed at a position, in 3 of 3 answers", 5),
        Capability("lattice", "yes", "most of 300 differences within lists are multiples of 0.125", 0.125),
        Capability("seed", "no", "refused: HTTP 400: seed is not supported"),
        Capability("model", "yes", "reported: kimi\x1b[2J", "kimi\x1b[2J"),
        Capability("caching", "unknown", "usage does not tell"),
    ),
    settings={"top_logprobs_max": 5, "logprobs": "integer", "after_temperature": True},
    requests=14,
    tokens=Tokens(290, 230),
    cost_usd=0.00123,
)
SHEET = """\
what               offered  how much  shown by
─────────────────────────────────────────────────────────────────────────────────────────────────
log-probabilities  yes             5  5 tokens listed at a position, in 3 of 3 answers
on a grid          yes         0.125  most of 300 differences within lists are multiples of 0.125
seed               no                 refused: HTTP 400: seed is not supported
model's name       yes                reported: kimi
cached prompts     unknown            usage does not tell

endpoint: openrouter/parasail (https://openrouter.ai/api/v1 (parasail)), kimi-k2.6 as
          moonshotai/kimi-k2.6
checked: 2026-11-23T18:45:00+00:00; 14 requests, 290 + 230 tokens (in + out), 0.0012 USD
in qcheck.toml: top_logprobs_max = 5, logprobs = "integer", after_temperature = true, under
                [providers."openrouter/parasail"]
"""


def test_the_sheet():
    assert render(OFFER, Paper()) == SHEET


def test_what_ended_it_early_and_an_unknown_price_are_said():
    sheet = render(replace(OFFER, stopped="unavailable", reason="HTTP 401: no", cost_usd=None, settings={}), Paper())
    assert "unavailable: HTTP 401: no\n" in sheet
    assert "cost unknown (no price known)" in " ".join(sheet.split())
    assert "qcheck.toml" not in sheet


def test_how_a_thinking_model_is_kept_from_it_is_said_with_the_words_for_qcheck_toml():
    told = Capability("thinking_off", "yes", "told nothing: it thinks; reasoning: it answers at once", "reasoning")
    sheet = render(replace(OFFER, capabilities=(told,), settings={"thinking_off": "reasoning"}), Paper())
    assert "kept from thinking  yes                told nothing: it thinks; reasoning: it answers at once" in sheet
    assert 'in qcheck.toml: thinking_off = "reasoning", under' in sheet


def test_everything_that_is_looked_for_has_a_name():
    assert [c.name for c in capabilities({})] == list(NAMES)
