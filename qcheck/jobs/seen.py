"""How the requests of an inquiry ended, and what two answers of one endpoint say of each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from qcheck.records import Position, Response

__all__ = [
    "FACTORS",
    "LINE",
    "NUMBERS",
    "PRODUCT",
    "PROMPT",
    "TOP",
    "Seen",
    "Trial",
    "Trials",
    "agree",
    "answered",
    "lead",
    "listed",
    "positions_of",
    "ranked_in",
    "scale_between",
    "surprise",
]

# The requests by what they try; "one_token", "temperature_0" and "top_20" are those that were refused before one that
# asks for less was answered, "product" and "line" the questions that a thinking model is to answer at once.
Trial = Literal[
    "plain", "one_token", "temperature_0",
    "greedy", "top_20", "greedy_again", "half", "sample", "sample_again", "seed", "seed_again",
    "n", "tools", "json_schema", "stream", "echo",
    "product", "line",
]  # fmt: skip

PROMPT: Final = "Tell me a story about a place that nobody has ever seen."  # it may go on in many ways
FACTORS: Final = (738_491, 264_857)  # whose product nobody has ready
PRODUCT: Final = f"Compute {FACTORS[0]} * {FACTORS[1]}. Reply with the number alone."
NUMBERS: Final = "4 8 15 16 23 42"
LINE: Final = f"Repeat exactly: {NUMBERS}"
TOP: Final = 20  # log-probabilities a position that are asked for
HEAD_NATS: Final = math.log(20)  # below the most probable token: the usual min_p is 0.05
HEAD_SHARE: Final = 0.9  # of the probability: the usual top_p is 0.95
SHOWN_NATS: Final = 0.2  # differences from which the scale of two lists is read
MIN_SHARED: Final = 3  # tokens in both lists
MIN_CHARACTERS: Final = 8  # of two texts that agree


@dataclass(frozen=True, slots=True)
class Seen:
    """How a request ended: with a response and the body that it was in, or with an error.

    refused: whether the endpoint will not answer such a request, rather than could not. failed: whether it may have
    failed, and not because there are too many. thought: whether the answer is none only because the model thought
    before it, though it should not.
    """

    response: Response | None = None
    body: bytes = b""
    error: str = ""
    refused: bool = False
    failed: bool = False
    thought: bool = False


Trials = Mapping[Trial, Seen]


def listed(seen: Seen | None) -> int:
    """The most tokens that are listed at a position with a probability above 0, 0 without an answer."""
    return max((sum(value > -math.inf for _, value in p.top) for p in positions_of(seen)), default=0)


def answered(trials: Trials, trial: Trial) -> Seen | None:
    """How a request ended if it was answered, else None."""
    seen = trials.get(trial)
    return seen if seen is not None and seen.response is not None else None


def positions_of(seen: Seen | None) -> tuple[Position, ...]:
    """The positions of an answer; none where there is none."""
    return seen.response.positions if seen is not None and seen.response is not None else ()


def ranked_in(seen: Seen | None) -> list[Position]:
    """The positions that list tokens and say how probable they are."""
    return [p for p in positions_of(seen) if p.top and p.top[0][1] > -math.inf]


def agree(one: Seen | None, two: Seen | None) -> bool | None:
    """Whether the shorter of two answers begins the longer one; None where there is too little of either to tell."""
    if one is None or two is None or one.response is None or two.response is None:
        return None
    if one.response.positions and two.response.positions:
        pairs = zip(one.response.positions, two.response.positions, strict=False)
        return all(a.token == b.token for a, b in pairs)
    # An answer may be cut within a character.
    texts = ((r.reasoning or "") + r.text for r in (one.response, two.response))
    shorter, longer = sorted((text.rstrip("\N{REPLACEMENT CHARACTER}").strip() for text in texts), key=len)
    if not longer.startswith(shorter):
        return False
    return True if len(shorter) >= MIN_CHARACTERS else None


def lead(position: Position) -> float:
    """By how many nats the most probable token is ahead of the one that was taken."""
    taken = dict(position.top).get(position.token, position.logprob)
    return math.inf if taken is None else position.top[0][1] - taken


def scale_between(half: Position, whole: Position) -> float | None:
    """How many times as large the differences within one list are as in another (the median); None if unclear."""
    one, two = dict(half.top), dict(whole.top)
    shared = [key for key, _ in whole.top if key in one and one[key] > -math.inf and two[key] > -math.inf]
    if not shared:
        return None
    best = shared[0]
    ratios = [(one[best] - one[k]) / (two[best] - two[k]) for k in shared if two[best] - two[k] > SHOWN_NATS]
    return float(np.median(ratios)) if len(ratios) >= MIN_SHARED else None


def surprise(positions: Sequence[Position], *, head: bool = False) -> float:
    """By how many standard deviations tokens are more probable, by the lists, than samples from them would be.

    What a list leaves out counts as its last token, in what came and in what is expected: so both are exact. head: of
    each list only its head counts, and of the tokens those in it: how they are drawn from it is not changed by what
    samplers usually cut off (top_p, top_k, min_p), which makes all others more probable.
    """
    came = expected = variance = 0.0
    for position in positions:
        values = np.array([value for _, value in position.top if value > -math.inf])
        taken = max(position.top[0][1] - lead(position), values[-1])
        if head:
            p = np.exp(values)
            values = values[(values >= values[0] - HEAD_NATS) & (np.cumsum(p) - p < HEAD_SHARE)]
            if taken < values[-1]:
                continue
            p = np.exp(values)
        else:
            p = np.append(np.exp(values), max(0.0, 1 - np.exp(values).sum()))
            values = np.append(values, values[-1])
        p /= p.sum()
        came += taken
        expected += (mean := float(p @ values))
        variance += float(p @ (values - mean) ** 2)
    return (came - expected) / math.sqrt(variance) if variance else 0.0
