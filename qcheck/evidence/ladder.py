"""Where a divergence lies between known ones: all that can be said of a deviation that is no recorded variant's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["place"]

# Mean KL divergence of the next token from the 16-bit model, nats: Llama 3 8B on Wikitext-2, as llama.cpp measured it
# (tools/perplexity/README.md). Other models and prompts differ by a factor of a few, so that this is a scale, no more.
PUBLISHED: Final = {
    "Q8_0": 0.00136, "Q6_K": 0.00545, "Q5_K_M": 0.0108, "Q4_K_M": 0.0313, "Q3_K_M": 0.102, "Q2_K": 0.445,
}  # fmt: skip


def place(own: float, rungs: Mapping[str, float]) -> str:
    """Between which rungs, by name in nats per token, a mean divergence lies; published ones where there are none."""
    known = sorted((kl, name) for name, kl in (rungs or PUBLISHED).items())
    below = max((rung for rung in known if rung[0] <= own), default=None)
    above = min((rung for rung in known if rung[0] > own), default=None)
    named = [f"{name} ({kl:.2g})" for kl, name in filter(None, (below, above))]
    where = f"between {' and '.join(named)}" if below and above else f"{'below' if above else 'beyond'} {named[0]}"
    whose = "" if rungs else " as published of Llama 3 8B"
    return f"{own:.2g} nats/token from the reference where it deviates, {where}{whose}"
