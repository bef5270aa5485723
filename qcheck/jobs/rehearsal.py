"""Whether those who score texts score them behind the right prompt: tried out before the plan begins.

Prompts are written out for them by a chat template as it is known here, and their tokenizers may add to it. Where that
makes another prompt than a chat does, every honest provider would seem to deviate. So each of them says something in a
chat, with log-probabilities, and then scores what it has said: it must find what it has found before. First tokens are
looked at by themselves, too: what stands before an answer moves them most, and may hardly be felt further on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

import numpy as np

from qcheck.evidence.scored_text import MARGIN_NATS, scorable
from qcheck.jobs.discover import MOST_S, Discovery
from qcheck.jobs.inquiry import EndOfInquiry, Inquiry
from qcheck.records import Position, Request, token_bytes
from qcheck.registry.types import Endpoint
from qcheck.run.budget import worst_case_usd
from qcheck.suites import Probe, Suite

__all__ = ["apart_nats", "planned", "rehearse"]

PROMPTS: Final = 3
COMPARED: Final = 5  # tokens at a position: the rarest differ most between honest kernels
LONGEST: Final = "x" * 256  # a text of the suite's length has fewer bytes, as a rule


def planned(before: Discovery, endpoint: Endpoint, suite: Suite) -> Discovery:
    """What it takes to find out what an endpoint offers, and to rehearse."""
    requests = [
        request
        for probe in _probes(suite)
        for request in (_said(suite, probe, endpoint), _scored(suite, probe, endpoint, LONGEST))
    ]
    costs = [worst_case_usd(request, endpoint.price, endpoint.dialect.min_tokens) for request in requests]
    known = [cost for cost in (*costs, before.cost_usd) if cost is not None]
    cost_usd = sum(known) if len(known) > len(costs) else None
    fewest, most = before.fewest + len(requests), before.most + len(requests)
    return replace(before, fewest=fewest, most=most, cost_usd=cost_usd)


async def rehearse(asking: Inquiry, suite: Suite, left_s: float | None = None) -> str | None:
    """Why an endpoint cannot score the answers to a suite; None where it can. Everything it does is data.

    left_s: seconds that are left of the run's deadline, if it has one.
    """
    most_s = MOST_S if left_s is None else min(MOST_S, left_s)
    if most_s <= 0:
        return "the deadline left no time to find out whether it can score texts"
    try:
        async with asyncio.timeout(most_s):
            return await _unfit(asking, suite)
    except EndOfInquiry as end:
        return end.reason
    except TimeoutError:
        return f"within {most_s:.3g} s it did not show whether it can score texts"


async def _unfit(asking: Inquiry, suite: Suite) -> str | None:
    apart: list[list[float]] = []
    for probe in _probes(suite):
        said = await asking.ask_once(_said(suite, probe, asking.endpoint))
        if said.response is None:
            return said.error or "it does not answer"
        text = scorable(b"".join(token_bytes(p.token) for p in said.response.positions).decode("utf-8", "replace"))
        if not text:
            return "it lists no tokens of what it says in a chat, so that nothing shows whether it scores them well"
        score = await asking.ask_once(_scored(suite, probe, asking.endpoint, text))
        if score.response is None or not score.response.positions:
            return score.error or "it gives no log-probabilities of a prompt (echo)"
        apart.append(apart_nats(said.response.positions, score.response.positions))
    firsts, everywhere = [places[0] for places in apart], list(chain.from_iterable(apart))
    middle = max(float(np.median(firsts)), float(np.median(everywhere)))
    if middle <= MARGIN_NATS / 2:  # the other half is for the provider
        return None
    return (
        f"of its own answers it says otherwise when it scores them, by {middle:.2g} nats where {MARGIN_NATS / 2:g} are "
        "allowed: its chats have another prompt than prompt_format writes out for it"
    )


def apart_nats(said: Sequence[Position], scored: Sequence[Position]) -> list[float]:
    """How far the best tokens of two lists lie apart (rms) at each place before which both have the same tokens."""
    found = []
    for one, other in zip(said, scored, strict=False):
        pair: tuple[Mapping[str, float], Mapping[str, float]] = (dict(one.top[:COMPARED]), dict(other.top[:COMPARED]))
        shared = [pair[0][key] - pair[1][key] for key in pair[0].keys() & pair[1].keys()]
        found.append(float(np.sqrt(np.mean(np.square(shared)))) if shared else np.inf)
        if one.token != other.token:
            break
    return found


def _probes(suite: Suite) -> Sequence[Probe]:
    return (suite.fold("selection") or suite.fold("evaluation"))[:PROMPTS]


def _said(suite: Suite, probe: Probe, endpoint: Endpoint) -> Request:
    k = min(suite.manifest.top_logprobs, endpoint.dialect.top_logprobs_max)
    return Request(probe.id, probe.messages, suite.manifest.max_tokens, endpoint.temperature, k)


def _scored(suite: Suite, probe: Probe, endpoint: Endpoint, text: str) -> Request:
    return suite.score(probe, text, endpoint.temperature, endpoint.dialect.top_logprobs_max)
