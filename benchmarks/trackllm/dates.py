"""Does an endpoint's distribution step at 00:00 UTC, and do endpoints step together?

A chat template that renders today's date changes the prompt at midnight. An endpoint with one does so every day, at
that moment, whatever weights it serves; two endpoints of one model should then move alike from date to date.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.trackllm.recordings import Recording

__all__ = ["Midnight", "clean_cuts", "common_tokens", "date_means", "midnight", "moves_together", "step_window"]

Array = NDArray[np.float64]
HOURS = np.timedelta64(1, "h")


@dataclass(frozen=True, slots=True)
class Midnight:
    """clean: at how many of `nights` midnights no list before is seen after, from noon to noon. p: see `midnight`."""

    clean: int
    nights: int
    p: float


def clean_cuts(recording: Recording, hour: int) -> tuple[int, int]:
    """With days cut at `hour` UTC: how many pairs of consecutive days share no list, and how many pairs there are."""
    days = (recording.times - hour * HOURS).astype("datetime64[D]")
    seen = {day: set(recording.index[days == day].tolist()) for day in np.unique(days)}
    pairs = [(shown, seen[day + 1]) for day, shown in seen.items() if day + 1 in seen]
    return sum(a.isdisjoint(b) for a, b in pairs), len(pairs)


def midnight(recording: Recording) -> Midnight:
    """Test whether midnight separates lists more often than a random moment of the same night would.

    Time is cut into blocks from noon to noon; of a block's gaps between consecutive answers one holds midnight. A gap
    is clean where no list before it, in the block, is seen after it. Null hypothesis: in every block, independently,
    the gap that holds midnight is a random one of them. Then the number of clean midnights is a sum of independent
    coin tosses with known chances, and p, the chance of at least as many, is exact.
    """
    blocks = (recording.times - 12 * HOURS).astype("datetime64[D]")
    chances, clean = [], 0
    for block in np.unique(blocks):
        here = blocks == block
        lists, dates = recording.index[here].tolist(), recording.dates[here]
        if dates[0] == dates[-1]:
            continue
        gaps = np.array([set(lists[:i]).isdisjoint(lists[i:]) for i in range(1, len(lists))])
        chances.append(float(gaps.mean()))
        clean += int(gaps[np.flatnonzero(dates[1:] != dates[:-1])[0]])
    counts = np.ones(1)  # distribution of the number of clean midnights
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return Midnight(clean, len(chances), float(min(counts[clean:].sum(), 1.0)))


def step_window(recording: Recording) -> tuple[np.timedelta64, np.timedelta64]:
    """Between which times of day the step lies, if it comes at the same one every day.

    From the latest answer whose list was seen before on its date to the earliest whose list is seen again on its date;
    as times since that date's 00:00.
    """
    since = recording.times - recording.dates
    latest, earliest = np.timedelta64(0, "s"), np.timedelta64(24 * 3600, "s")
    for date in np.unique(recording.dates):
        here = np.flatnonzero(recording.dates == date)
        lists = recording.index[here]
        if lists[-1] in lists[:-1]:
            latest = max(latest, since[here[-1]])
        if lists[0] in lists[1:]:
            earliest = min(earliest, since[here[0]])
    return latest, earliest


def common_tokens(recordings: list[Recording]) -> tuple[str, ...]:
    """The tokens that every list of every recording holds."""
    everywhere = [set(np.array(r.tokens, object)[np.isfinite(r.lists).all(axis=0)]) for r in recordings]
    common = set.intersection(*everywhere)
    return tuple(sorted(common))


def date_means(recording: Recording, tokens: tuple[str, ...], dates: NDArray[np.datetime64]) -> Array:
    """(dates, tokens) mean log-probabilities, without what all tokens share (the normalisation)."""
    values = recording.lists[:, [recording.tokens.index(token) for token in tokens]]
    means = np.array([values[recording.index[recording.dates == date]].mean(axis=0) for date in dates])
    centred: Array = means - means.mean(axis=1, keepdims=True)
    return centred


def moves_together(x: Array, y: Array, rng: np.random.Generator, permutations: int = 9999) -> tuple[float, float]:
    """Correlation of two endpoints' moves from date to date, and its one-sided permutation p-value.

    x, y: (dates, tokens) as `date_means` gives them. Moves are taken from each endpoint's own mean over the dates, so
    that a constant difference says nothing. Null hypothesis: y's dates are exchangeable given x. The identity counts
    among the permutations (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    products = x @ y.T / np.sqrt((x**2).sum() * (y**2).sum())
    dates = np.arange(len(x))
    drawn = np.array([products[dates, rng.permutation(len(x))].sum() for _ in range(permutations)])
    observed = float(np.trace(products))
    return observed, float((1 + (drawn >= observed - 1e-12).sum()) / (1 + permutations))
