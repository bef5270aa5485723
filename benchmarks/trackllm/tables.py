"""What the study says in numbers, one Markdown part a question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from benchmarks.trackllm.changes import Change
from benchmarks.trackllm.dates import common_tokens, date_means, midnight, moves_together, step_window
from benchmarks.trackllm.distances import kl_nats, rms_nats, total_variation
from benchmarks.trackllm.noise import MODE_TV, modes, neighbours, on_lattice, rare_mode
from benchmarks.trackllm.pairs import Pair, compare, log_e_of, within
from benchmarks.trackllm.recordings import Recording, quoted
from qcheck.evidence.margin import MARGIN_NATS, MARGIN_SHARE
from qcheck.stats.counted import HITS
from qcheck.stats.power import could_reject

__all__ = ["ALPHA", "changes_part", "dates_part", "noise_part", "pairs_part", "rare_part"]

ALPHA = 0.01
STEADY = 0.9  # share of answers in the main mode from which on the others are a rare mode
SHOWN_TOKENS = 3


def noise_part(recordings: Sequence[Recording]) -> str:
    """Noise between neighbours, lists, modes and lattice of every endpoint."""
    rows = []
    for r in recordings:
        near, which = neighbours(r), modes(r)[r.index]
        kl, rms = (" / ".join(f"{x:.2g}" for x in (*np.quantile(v, (0.5, 0.9)), v.max())) for v in (near.kl, near.rms))
        lattice = [f"{100 * on_lattice(r.lists, step):.1f} %" for step in (1 / 8, 1 / 16)]
        listed = int((~np.isnan(r.lists[0])).sum())
        rows.append(
            [
                r.name,
                f"{len(r.index)} ({r.failed}, {r.dropped})",
                str(listed),
                str(len(r.lists)),
                f"{r.counts.max() / len(r.index):.0%}",
                f"{which.max() + 1} ({(which == 0).mean():.1%})",
                f"{near.equal:.0%}",
                kl,
                rms,
                *lattice,
            ]
        )
    head = [
        "endpoint",
        "answers (failed, dropped)",
        "k",
        "distinct lists",
        "commonest",
        "modes (main one)",
        "equal to the one before",
        "KL: 50 % / 90 % / largest",
        "rms: 50 % / 90 % / largest",
        "on 1/8",
        "on 1/16",
    ]
    return _table(head, rows)


def dates_part(llama: Sequence[Recording]) -> str:
    """Tests of a step at 00:00 UTC, and of moving together from date to date."""
    rows = []
    for r in llama:
        result, (latest, earliest) = midnight(r), step_window(r)
        steps = result.p <= ALPHA / len(llama)
        window = f"{_clock(latest)} – {_clock(earliest)}" if steps else "–"
        rows.append([r.name, f"{result.clean} of {result.nights}", f"{result.p:.2g}", window])
    first = _table(["endpoint", "midnights that separate all lists", "p", "the step lies within"], rows)
    common, rows = common_tokens(list(llama)), []
    for x, y in combinations(llama, 2):
        dates = np.intersect1d(x.dates, y.dates)
        moves = date_means(x, common, dates), date_means(y, common, dates)
        correlation, p = moves_together(moves[0], moves[1], np.random.default_rng(0))
        rows.append([f"{x.provider}, {y.provider}", str(len(dates)), f"{correlation:.2f}", f"{p:.2g}"])
    return first + "\n\n" + _table(["pair", "dates", "correlation of their moves", "p"], rows)


def pairs_part(llama: Sequence[Recording]) -> str:
    """Same-date comparison of all pairs, endpoints beside themselves first, and what one probe could prove."""
    count = math.comb(len(llama), 2)
    all_dates = sorted(set.intersection(*(set(r.dates.tolist()) for r in llama)))
    dates: NDArray[np.datetime64] = np.array(all_dates, dtype="datetime64[D]")
    rows = [_pair_row(f"{r.provider}, itself", within(r, dates)) for r in llama]
    rows += [_pair_row(f"{x.provider}, {y.provider}", compare(x, y)) for x, y in combinations(llama, 2)]
    head = [
        "pair",
        "dates",
        "KL, date's median: least – middle – largest",
        f"beyond {MARGIN_NATS}",
        f"dates with all beyond {MARGIN_NATS}",
        "p (signs by date)",
        "e, were dates probes",
    ]
    needed = count / ALPHA
    possible = could_reject(np.full((1, 1, len(HITS)), MARGIN_SHARE), np.zeros(1, int), [1.0], math.log(needed))
    return "\n".join(
        [
            _table(head, rows),
            "",
            f"{count} pairs at α = {ALPHA}: a p-value has to be at most {ALPHA / count:.2g}, an e-value at least "
            f"{needed:.0f}. One probe gives at most e = {math.exp(log_e_of([True])):.2f}; "
            f"`qcheck.stats.power.could_reject` with one probe: {possible}.",
        ]
    )


def _pair_row(name: str, pair: Pair) -> list[str]:
    kl = " – ".join(f"{x:.2g}" for x in (pair.kl.min(), np.median(pair.kl), pair.kl.max()))
    p = "–" if pair.p is None else f"{pair.p:.2g}"
    e = "–" if pair.log_e is None else f"{math.exp(pair.log_e):.2g}"
    return [name, str(pair.dates), kl, f"{pair.beyond:.0%}", str(pair.apart), p, e]


def rare_part(recordings: Sequence[Recording]) -> str:
    """Answers outside the main mode of every steady endpoint, and bounds of their share."""
    rows, notes = [], []
    for r in recordings:
        which = modes(r)
        if (which[r.index] == 0).mean() < STEADY:
            continue
        rare = rare_mode(r, ALPHA)
        worst = f"{100 * rare.worst_low:.2g} – {100 * rare.worst_high:.2g} %"
        unknown = f"{r.dropped} + {r.failed}"
        interval = f"{100 * rare.low:.2g} – {100 * rare.high:.2g} %"
        rows.append([r.name, f"{rare.off.sum()} of {len(r.index)}", interval, unknown, worst])
        if rare.off.any():
            notes.append(_off_mode(r, rare.off))
    head = ["endpoint", "outside the main mode", "share of queries", "unknown (dropped + failed)", "share, worst case"]
    return "\n\n".join([_table(head, rows), *notes])


def _off_mode(r: Recording, off: NDArray[np.bool_]) -> str:
    main, other = int(np.argmax(r.counts)), np.unique(r.index[off])
    far = r.lists[[main]], r.lists[other[:1]]
    tv, kl, rms = (float(distance(*far)[0, 0]) for distance in (total_variation, kl_nats, rms_nats))
    same = "one list, bit for bit" if len(other) == 1 else f"{len(other)} lists"
    times = ", ".join(str(time).replace("T", " ") for time in r.times[off])

    def best(which: int) -> str:
        ranked = np.argsort(-np.nan_to_num(r.lists[which], nan=-np.inf))[:SHOWN_TOKENS]
        return ", ".join(f"{quoted(r.tokens[i])} {math.exp(r.lists[which, i]):.3f}" for i in ranked)

    spread = total_variation(r.lists, r.lists[[main]])[:, 0]
    inside = float(spread[modes(r) == 0].max())
    return (
        f"{r.name}: the {off.sum()} answers are {same}; {times} UTC. TV {tv:.2f}, KL {kl:.2f}, rms {rms:.2f} from the "
        f"main list; the lists of the main mode lie within TV {inside:.2g} of it, so any limit from there to {tv:.2f} "
        f"finds the same answers. Most probable tokens, main list: {best(main)}; the other: {best(int(other[0]))}."
    )


def changes_part(
    recordings: Sequence[Recording],
    changes: Sequence[Sequence[Change]],
    published: Sequence[Sequence[np.datetime64]],
) -> str:
    """Changes found beside those published, all three per endpoint in one order."""
    large, rows = [], []
    for r, found, known in zip(recordings, changes, published, strict=True):
        for change in found:
            if change.tv > MODE_TV:
                time = r.times[change.at]
                between = f"{_moment(r.times[change.at - 1])} – {_moment(time)}"
                large.append([r.name, between, f"{change.tv:.2f}", f"{change.p:.2g}", _nearest(time, known)])
        small = [c.tv for c in found if c.tv <= MODE_TV]
        largest = f"{max(small):.2g}" if small else "–"
        rows.append([r.name, str(len(found) - len(small)), str(len(small)), largest, str(len(known))])
    first = _table(["endpoint", "change between", "TV", "p", "published within a day"], large)
    head = ["endpoint", f"changes of TV > {MODE_TV}", "smaller ones", "largest of them, TV", "published"]
    return first + "\n\n" + _table(head, rows)


def _nearest(time: np.datetime64, published: Sequence[np.datetime64]) -> str:
    """The published change nearest to `time`, if there is one within a day."""
    hours = [float((other - time) / np.timedelta64(1, "h")) for other in published]
    best = min(range(len(hours)), key=lambda i: abs(hours[i]), default=None)
    if best is None or abs(hours[best]) > 24:
        return "–"
    return f"{_moment(published[best])} ({hours[best]:+.1f} h)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _clock(since_midnight: np.timedelta64) -> str:
    return str(np.datetime64("2000-01-01", "s") + since_midnight).partition("T")[2]


def _moment(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]"))[5:].replace("T", " ")
