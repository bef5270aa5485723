"""How often the interval of the routing fraction misses the truth at any look: `python -m benchmarks coverage`.

Streams of real answers, a share of them from a deployment that deviates, in four ways of routing: each request drawn by
itself; sticky, one server for the whole stream; in bursts of 20 requests on average; and by the time of day, one part
of the stream in a row. The lower bound claims that at least so many requests came from outside the envelope, whatever
they came from; the upper bound is claimed for deviations at least as visible as the resolution alone.

Truth. Where each request is drawn by itself it is the share that was drawn with. Otherwise it is the running share, of
the requests so far that the deviating deployment answered: nothing is claimed of requests that were not sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection import bank
from benchmarks.detection.draws import bet_at, deepest_first
from benchmarks.detection.observed import Observed, observe
from qcheck.baselines import load_baseline
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS
from qcheck.lab.catalog import deployments_of
from qcheck.stats.bets import log_e_paths
from qcheck.stats.fraction import fraction_lower, fraction_upper
from qcheck.suites import load_suite, shipped_folder
from qcheck.tailcounts import FULL
from qcheck.verdict import MIN_DEVIATING, Rules

__all__ = ["Misses", "alarms", "interval", "misses", "report", "routed"]

MODEL, ALPHA, STREAMS, REQUESTS = "lab-tiny", 0.01, 2000, 600
FRACTIONS = (0.0, 0.01, 0.05, 0.1, 0.3, 1.0)
DEVIATING = ("q4_k_m-torch", "fp8-bf16", "q8_0-torch")
RANDOM, ROUTINGS = "each by itself", ("sticky", "bursts", "time of day")
BURST = 20
# At first every request changes the bounds much.
LOOKS = (*range(1, 20), *range(20, REQUESTS + 1, 10))

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def report() -> str:
    """Tables of misses and of honest alarms for the shipped baseline."""
    suite = load_suite("logprobs")
    baseline = load_baseline(shipped_folder("baselines") / MODEL)
    if baseline.table is None or baseline.table.noise_unit is None:
        raise ValueError(f"{baseline.folder} is not calibrated on log-probabilities")
    kept = bank(baseline, suite, suite.fold("evaluation"))
    honest = [name for name, d in deployments_of(MODEL).items() if d.kind == "held-out"]
    answers = {name: kept.answers(name) for name in (*honest, *DEVIATING)}
    observed = observe(baseline, Yardstick.of(baseline), kept.probes, answers, VIEWS[0])
    return tables(observed, freeze(baseline.table, ALPHA), honest)


def tables(observed: Observed, envelope: Envelope, honest: list[str]) -> str:
    """Misses by deployment, routing and share, then alarms of mixtures of honest deployments."""
    lines = [
        "| deviating | routing | share | low misses | high misses | long-run share missed | median at the end |",
        "|---|---|---|---|---|---|---|",
    ]
    for deployment in DEVIATING:
        asked_for = [(RANDOM, f) for f in FRACTIONS] + [(r, f) for r in ROUTINGS for f in (0.05, 0.3)]
        for seed, (routing, fraction) in enumerate(asked_for):
            found = misses(observed, envelope, honest, deployment, routing, fraction, np.random.default_rng(seed))
            low, high = found.median
            claimed = f"{found.high}" if found.visible else f"({found.high})"
            cells = [routing, f"{fraction:g}", f"{found.low}", claimed, f"{found.long_run}", f"{low:.3f} – {high:.3f}"]
            lines.append(f"| {deployment} | {' | '.join(cells)} |")
    level, requests = ALPHA - envelope.delta, min(REQUESTS, len(observed.strata))
    lines += [
        "",
        f"Of {STREAMS} streams of {requests} requests each; looked at after every request up to 20, then after every "
        f"tenth. Each side may miss {level:.1%} of the streams, {level * STREAMS:.0f} of them. The upper bound is for "
        f"deviations at least as visible as {envelope.resolution} and stands in parentheses for others.",
        "",
        "| honest deployments mixed | routing | alarms |",
        "|---|---|---|",
    ]
    for one, other in ((a, b) for a in honest for b in honest if a < b):
        for seed, routing in enumerate((RANDOM, *ROUTINGS)):
            count = alarms(observed, envelope, one, other, routing, np.random.default_rng(seed))
            lines.append(f"| {one}, {other} | {routing} | {count} |")
    return "\n".join([*lines, "", f"Streams that ever reach *deviates*, of {STREAMS} of {requests} requests each."])


def routed(routing: str, fraction: float, shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """(streams, requests): which of them go to the deviating deployment, a share `fraction` in the long run."""
    streams, requests = shape
    if routing == "sticky":
        return np.broadcast_to(rng.random((streams, 1)) < fraction, shape)
    if routing == "bursts":
        fresh = rng.random(shape) < 1 / BURST
        fresh[:, 0] = True
        held = np.maximum.accumulate(np.where(fresh, np.arange(requests), 0), axis=1)
        return np.take_along_axis(rng.random(shape) < fraction, held, axis=1)
    if routing == "time of day":
        return (np.arange(requests) / requests + rng.random((streams, 1))) % 1 < fraction
    return rng.random(shape) < fraction


def asked(observed: Observed, envelope: Envelope, streams: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(streams, requests): probes in random order, the stratum first that was calibrated most deeply."""
    turn = deepest_first(observed.strata, observed.bounds(envelope))
    requests = min(REQUESTS, len(turn))
    return np.argsort(turn + rng.random((streams, len(turn))), axis=1)[:, :requests]


@dataclass(frozen=True, slots=True)
class Misses:
    """How many streams' intervals miss the truth at any look, by side.

    long_run: how many miss the share in the long run on either side, which is claimed only where each request is drawn
    by itself. median: of the bounds at the last look. visible: whether the upper bound is claimed for the deviation.
    """

    low: int
    high: int
    long_run: int
    median: tuple[float, float]
    visible: bool


def misses(
    observed: Observed,
    envelope: Envelope,
    honest: list[str],
    deployment: str,
    routing: str,
    fraction: float,
    rng: np.random.Generator,
    streams: int = STREAMS,
) -> Misses:
    """What the intervals of streams say in which `deployment` answers a share of the requests."""
    order = asked(observed, envelope, streams, rng)
    deviating = routed(routing, fraction, order.shape, rng)
    server = rng.integers(len(honest), size=(streams, 1))
    own, *faithful = (
        observed.hits(name, envelope, observed.variants)[:, envelope.watched] for name in (deployment, *honest)
    )
    shown = np.where(deviating, own[order], np.stack(faithful)[server, order])
    looks = np.array([look for look in LOOKS if look <= order.shape[1]])
    counts = np.cumsum(shown, axis=1)[:, looks - 1]
    running = np.cumsum(deviating, axis=1)[:, looks - 1] / looks
    bound = cache(lambda hits, requests: interval(hits, requests, envelope))
    bounds = np.array([[bound(int(h), int(n)) for h, n in zip(row, looks, strict=True)] for row in counts])
    low, high = bounds[..., 0], bounds[..., 1]
    truth = fraction if routing == RANDOM else running
    visible = envelope.visibility[FULL][envelope.resolution] if envelope.resolution else 1.0
    return Misses(
        low=int((low > truth).any(axis=1).sum()),
        high=int((high < truth).any(axis=1).sum()),
        long_run=int(((low > fraction) | (high < fraction)).any(axis=1).sum()),
        median=(float(np.median(low[:, -1])), float(np.median(high[:, -1]))),
        visible=bool(own.mean() >= visible),
    )


def interval(hits: int, requests: int, envelope: Envelope) -> tuple[float, float]:
    """The bounds of `TailEvidence.fraction` after so many full answers, of which so many show the watched event."""
    level = envelope.alpha - envelope.delta
    null = envelope.honest_share({FULL}, requests)
    low = max(0.0, (fraction_lower(hits, requests, level) - null) / (1 - null)) if null < 1 else 0.0
    visible = envelope.visibility[FULL][envelope.resolution] if envelope.resolution else 0.0
    high = min(1.0, fraction_upper(hits, requests, level) / visible) if visible else 1.0
    return low, max(low, high)


def alarms(
    observed: Observed,
    envelope: Envelope,
    one: str,
    other: str,
    routing: str,
    rng: np.random.Generator,
    streams: int = STREAMS,
    block: int = 200,
) -> int:
    """Streams that ever reach *deviates* in which two honest deployments answer half of the requests each."""
    levels = envelope.levels[FULL]
    weights, outlying = [level.weight for level in levels], np.array([level.outlying for level in levels])
    needed = Rules(envelope.alpha, envelope.delta, 1, 0.05).log_threshold
    first, second = (observed.hits(name, envelope, observed.variants) for name in (one, other))
    found = 0
    for _ in range(streams // block):
        order = asked(observed, envelope, block, rng)
        hits = np.where(routed(routing, 0.5, order.shape, rng)[..., None], first[order], second[order])
        path, _ = log_e_paths(hits, bet_at(envelope, FULL, observed.strata, order, hits), weights)
        twice = np.cumsum((hits & outlying).any(axis=2), axis=1) >= MIN_DEVIATING
        found += int(((path >= needed) & twice).any(axis=1).sum())
    return found
