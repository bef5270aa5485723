"""What the answers of an endpoint say that it offers. The requests are those of `qcheck.jobs.inquiry`.

What nothing shows is unknown, and unknown is never taken for yes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from qcheck.client.offered import choices_in, is_stream, scored_prompt_tokens
from qcheck.evidence.views import MANY, UNTOLD_STEP, lattice_step, rounding_step
from qcheck.jobs.seen import (
    PROMPT,
    TOP,
    Seen,
    Trial,
    Trials,
    agree,
    answered,
    lead,
    listed,
    positions_of,
    ranked_in,
    scale_between,
    surprise,
)
from qcheck.records import Response
from qcheck.registry.types import Dialect
from qcheck.toolcalls import REFUSED

__all__ = ["MOST_LEAST", "Capability", "Offered", "capabilities", "settings"]

Offered = Literal["yes", "no", "unknown"]
MARGIN_NATS: Final = 0.1  # by which a token must be less probable than another to be no rounding or noise of lists
BY_CHANCE: Final = 0.01  # probability below which an answer is no accident
SURPRISING: Final = 3.0  # standard deviations
LIKE: Final = 0.2  # relative distance of two scales that are the same
MOST_LEAST: Final = 64  # tokens: more than that is no least number, but a limit that is not kept
_SET_BY: Final = ("logprobs", "one_token", "raw_logprobs")


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that an endpoint may offer. value: how much of it, or which, where that says more than yes or no."""

    name: str
    offered: Offered
    evidence: str
    value: float | str | None = None


def capabilities(trials: Trials) -> tuple[Capability, ...]:
    """Everything that is looked for, in one fixed order, whatever was asked and answered."""
    return tuple(judge(trials) for judge in _JUDGES)


def settings(found: Sequence[Capability], dialect: Dialect) -> dict[str, int | bool]:
    """The fields of `dialect` that were found to be otherwise, as they are set in qcheck.toml."""
    logprobs, shortest, raw = (next(c for c in found if c.name == name) for name in _SET_BY)
    fields: dict[str, int | bool] = {}
    if isinstance(logprobs.value, int) and min(logprobs.value, dialect.top_logprobs_max) < TOP:
        fields["top_logprobs_max"] = min(logprobs.value, TOP)
    if isinstance(shortest.value, int) and 0 < shortest.value <= MOST_LEAST:
        fields["min_tokens"] = shortest.value
    if raw.offered == "no" or (raw.offered == "yes" and dialect.after_temperature):
        fields["after_temperature"] = raw.offered == "no"
    return {name: value for name, value in fields.items() if value != getattr(dialect, name)}


def _unanswered(name: str, seen: Seen | None) -> Capability:
    """What follows from a request that was not answered, or not sent."""
    if seen is None:
        return Capability(name, "unknown", "not asked")
    if seen.refused:
        return Capability(name, "no", f"refused: {seen.error}")
    return Capability(name, "unknown", f"no answer: {seen.error}")


def _silent(name: str, trials: Trials) -> Capability:
    """What follows where not even the plainest request was answered."""
    return replace(_unanswered(name, trials.get("plain")), offered="unknown")


def _logprobs(trials: Trials) -> Capability:
    name = "logprobs"
    asked = [seen for trial in ("greedy", "greedy_again", "sample") if (seen := answered(trials, trial))]
    most, refused = max(map(listed, asked), default=0), trials.get("top_20")
    if most:
        giving = sum(1 for seen in asked if listed(seen))
        words = f"{most} tokens listed at a position, in {giving} of {len(asked)} answers"
        return Capability(name, "yes", words + (f"; 20 are refused: {refused.error}" if refused else ""), most)
    if not asked:
        return _unanswered(name, trials.get("greedy"))
    if refused and refused.failed:
        return Capability(name, "no", f"the server fails twice where they are asked for: {refused.error}", 0)
    if refused:
        return replace(_unanswered(name, refused), value=0)
    if any(map(positions_of, asked)):
        return Capability(name, "no", "of the token that was taken alone; no others are listed", 0)
    return Capability(name, "no", "asked for and answered, without any", 0)


def _raw(trials: Trials) -> Capability:
    """Whether the lists are the model's own distribution, not that of what is sampled from at another temperature.

    Where logits are divided by the temperature T before, the differences within a list scale by 1/T.
    """
    name = "raw_logprobs"
    half, sample = (answered(trials, t) for t in ("half", "sample"))
    if not listed(sample):
        return Capability(name, "unknown", "no lists to compare")
    if not listed(half):
        return Capability(name, "unknown", "no list at temperature 0.5 to compare")
    scale = scale_between(positions_of(half)[0], positions_of(sample)[0])
    if scale is None:
        return Capability(name, "unknown", "too few tokens are in both of the lists at temperature 0.5 and 1")
    words = f"differences at temperature 0.5 are {scale:.2f} times those at 1"
    if abs(scale - 2) < 2 * LIKE:
        return Capability(name, "no", f"after temperature: {words}")
    if abs(scale - 1) > LIKE:
        return Capability(name, "unknown", f"{words}, neither once nor twice")
    doubt = _temperature_doubt(trials)
    return Capability(name, "unknown" if doubt else "yes", f"{words}, {doubt or 'and temperatures 0 and 1 act'}")


def _temperature_doubt(trials: Trials) -> str | None:
    """Why lists that are alike at two temperatures may still not be the model's own; None where nothing speaks for it.

    They would be alike, too, where the temperature that is asked is not the one that is used.
    """
    if _greedy(trials).offered != "yes":
        return "and temperature 0 is not seen to act"
    kept = agree(trials.get("sample"), trials.get("sample_again"))
    samples: tuple[Trial, ...] = ("sample", "seed") if kept else ("sample", "sample_again", "seed")
    drawn = [p for trial in samples for p in ranked_in(trials.get(trial))]
    if all(lead(p) <= MARGIN_NATS for p in drawn):
        return "and temperature 1 is not seen to act"
    if (distance := surprise(drawn)) < -SURPRISING:
        return f"but samples at 1 are less probable than the lists say, by {-distance:.1f} standard deviations"
    if (distance := surprise(drawn, head=True)) > SURPRISING:
        return f"but samples at 1 are more probable than the lists say, by {distance:.1f} standard deviations"
    return None


def _greedy(trials: Trials) -> Capability:
    name = "greedy"
    if refused := trials.get("temperature_0"):
        return Capability(name, "no", f"temperature 0 is refused: {refused.error}")
    first, again, sample = (answered(trials, t) for t in ("greedy", "greedy_again", "sample"))
    if first is None:
        return _unanswered(name, trials.get("greedy"))
    same = agree(first, again)
    repeats = {True: "two answers agree", False: "two answers differ", None: "there are no two answers to compare"}[
        same
    ]
    if ranked := ranked_in(first):
        behind = sum(lead(p) > MARGIN_NATS for p in ranked)
        if behind:
            words = f"at temperature 0, {behind} of {len(ranked)} tokens are not the most probable ones listed"
            return Capability(name, "no", words)
        if sum(p.top[0][1] for p in ranked) < math.log(BY_CHANCE):
            return Capability(name, "yes", f"each of {len(ranked)} tokens is the most probable one listed; {repeats}")
    if same and agree(first, sample) is False:
        return Capability(name, "yes", "two answers at temperature 0 agree, and one at 1 differs")
    if same is False:
        return Capability(name, "unknown", "two answers at temperature 0 differ, by sampling or by noise")
    return Capability(name, "unknown", f"{repeats}, and nothing tells a greedy answer from a sample")


def _seed(trials: Trials) -> Capability:
    name = "seed"
    one, two, without = (answered(trials, t) for t in ("seed", "seed_again", "sample"))
    if one is None or two is None:
        return _unanswered(name, trials.get("seed") if one is None else trials.get("seed_again"))
    same = agree(one, two)
    if same is False:
        return Capability(name, "no", "accepted, but two samples with one seed differ")
    if same and agree(one, without) is False:
        return Capability(name, "yes", "two samples with one seed agree, and one without a seed differs")
    return Capability(name, "unknown", "accepted, and nothing tells whether it acts")


def _choices(trials: Trials) -> Capability:
    name, seen = "n", trials.get("n")
    if seen is None or seen.response is None:
        return _unanswered(name, seen)
    count = choices_in(seen.body)
    if count is None:
        return Capability(name, "unknown", "accepted; in a stream choices are not counted")
    return Capability(name, "yes" if count == 2 else "no", f"2 choices asked for, {count} given", count)


def _one_token(trials: Trials) -> Capability:
    name, seen = "one_token", answered(trials, "plain")
    if seen is None or seen.response is None:
        return _silent(name, trials)
    count = seen.response.completion_tokens
    if refused := trials.get("one_token"):
        return Capability(name, "no", f"refused: {refused.error}; more are accepted", count)
    if not count:
        return Capability(name, "unknown", "answered; how many tokens were generated is not told")
    words = f"1 token asked for, {count} generated"
    return Capability(name, "yes" if count == 1 else "no", words, count)


def _tools(trials: Trials) -> Capability:
    name, seen, plain = "tools", trials.get("tools"), answered(trials, "plain")
    if seen is None or seen.response is None:
        return _unanswered(name, seen)
    if seen.response.finish_reason == REFUSED:
        return Capability(name, "yes", "accepted: the model called one, if in a way that the provider finds invalid")
    more, less = seen.response.prompt_tokens, plain.response.prompt_tokens if plain and plain.response else None
    if more is None or less is None:
        return Capability(name, "unknown", "accepted; without usage nothing tells whether they reach the model")
    if more <= less:
        return Capability(name, "no", f"accepted, but the prompt stays at {more} tokens")
    return Capability(name, "yes", f"accepted: {more} prompt tokens instead of {less}; calls are not judged")


def _json_schema(trials: Trials) -> Capability:
    name, seen = "json_schema", trials.get("json_schema")
    if seen is None or seen.response is None:
        return _unanswered(name, seen)
    return Capability(name, "yes", "accepted; whether it is kept to is not judged")


def _stream_usage(trials: Trials) -> Capability:
    name, seen = "stream_usage", trials.get("stream")
    if seen is None or seen.response is None:
        return _unanswered(name, seen)
    if not is_stream(seen.body):
        return Capability(name, "no", "a stream was asked for, and the answer came in one piece")
    plain = answered(trials, "plain")
    streamed, whole = seen.response.prompt_tokens, plain.response.prompt_tokens if plain and plain.response else None
    if streamed is None:
        return Capability(name, "no", "streams come without usage")
    if whole is None:
        return Capability(name, "unknown", f"{streamed} prompt tokens in a stream; no other answer counts them")
    if streamed != whole:
        # LiteLLM counts for itself, with another tokenizer, where the server behind it says nothing.
        words = (
            f"{streamed} prompt tokens in a stream where a whole answer counts {whole}: not the server's own numbers"
        )
        return Capability(name, "no", words)
    return Capability(name, "yes", f"streams end with their usage, {streamed} prompt tokens as in a whole answer")


def _prompt_logprobs(trials: Trials) -> Capability:
    name, seen = "prompt_logprobs", trials.get("echo")
    if seen is None or seen.response is None:
        return _unanswered(name, seen)
    if scored := scored_prompt_tokens(seen.body, PROMPT):
        return Capability(name, "yes", f"with echo, {scored} tokens of the prompt have one", scored)
    return Capability(name, "no", "echo is accepted, and no token of the prompt has one")


def _caching(trials: Trials) -> Capability:
    name = "caching"
    first, again = (answered(trials, t) for t in ("sample", "sample_again"))
    if first is None or again is None or again.response is None:
        return _unanswered(name, trials.get("sample") if first is None else trials.get("sample_again"))
    cached, told = again.response.cached_tokens, again.response.prompt_tokens
    kept = agree(first, again) and agree(first, answered(trials, "seed")) is False
    same = "the same sample came back: whole answers are kept, or the seed is fixed"
    if cached:
        words = f"{cached} of {told or 'the'} prompt tokens of a repeated request are cached"
        return Capability(name, "yes", f"{words}; {same}" if kept else words, cached)
    if kept:
        return Capability(name, "unknown", same)
    if cached is None:
        return Capability(name, "unknown", "usage does not tell")
    return Capability(name, "no", f"none of {told or 'the'} prompt tokens of a repeated request is; longer ones may be")


def _lattice(trials: Trials) -> Capability:
    name = "lattice"
    lists = [p for t in ("greedy", "sample") for p in positions_of(answered(trials, t))]
    differences = sum(max(0, len([v for _, v in p.top if v > -math.inf]) - 1) for p in lists)
    if differences < MANY:
        return Capability(name, "unknown", f"too few log-probabilities: {differences} differences within lists")
    step, rounded = lattice_step(lists), rounding_step(lists)
    if rounded == UNTOLD_STEP:
        told = "most values have few significant digits, as in bfloat16: nothing tells what their logits lie on"
    else:
        told = f"most of {differences} differences within lists are multiples of {step:g}"
        if rounded > step:
            told += "; the values are not: a lattice of logits, twice as coarse for the largest of them"
    if rounded:
        return Capability(name, "yes", told, rounded)
    return Capability(name, "no", f"{differences} differences within lists lie on no grid that matters")


def _told(name: str, label: Callable[[Response], str | None]) -> Callable[[Trials], Capability]:
    def judge(trials: Trials) -> Capability:
        seen = answered(trials, "plain")
        if seen is None or seen.response is None:
            return _silent(name, trials)
        value = label(seen.response)
        return Capability(name, "yes" if value else "no", f"reported: {value}" if value else "not reported", value)

    return judge


_JUDGES: Final[tuple[Callable[[Trials], Capability], ...]] = (
    _logprobs,
    _raw,
    _lattice,
    _prompt_logprobs,
    _greedy,
    _seed,
    _choices,
    _one_token,
    _tools,
    _json_schema,
    _stream_usage,
    _told("model", lambda response: response.reported_model),
    _told("fingerprint", lambda response: response.fingerprint),
    _caching,
)
