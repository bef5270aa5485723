"""What was chosen on lab-tiny, beside what was not: `python -m benchmarks priors`.

The weights of events and of bets, by the mean logarithm of the medians and 90 % quantiles of requests on one half of
the variants, shown on the other half. And how directions are looked for, by how many answers of the same format on
another engine stand out of the honest ones: which share of a recorded deviation, how much one position may add or take,
and in how many units what speaks against a variant is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from unittest.mock import patch

import numpy as np

from benchmarks.detection import bank
from benchmarks.detection.alarms import stops
from benchmarks.detection.material import ALPHA, Material, gather
from benchmarks.detection.observed import Observed, observe
from benchmarks.detection.rows import FRACTIONS
from qcheck.baselines import load_baseline
from qcheck.evidence import envelope as envelopes
from qcheck.evidence import scoring
from qcheck.evidence.envelope import freeze
from qcheck.evidence.leave_one_out import LeaveOneOut
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS
from qcheck.stats import bets
from qcheck.suites import Suite, load_suite, shipped_folder
from qcheck.tailcounts import DIRECTION, FULL

STRATUM = "words"
MODEL, STREAMS, LIMIT = "lab-tiny", 250, 1500  # of each candidate
EVENTS = ((1, 1, 1, 1), (1, 2, 2, 3), (1, 1, 2, 4), (1, 2, 4, 8), (1, 1, 1, 5))
BETS = ((1, 1, 1, 1), (4, 3, 2, 1), (6, 4, 2, 1))
# By candidate the variant that it is on another engine.
CHOSEN_ON = {"q4_k_m-torch": "q4_k_m", "int4-bf16": "int4", "q6_k-torch": "q6_k", "q8_0-torch": "q8_0"}
SHOWN_ON = {"q4_0-torch": "q4_0", "nf4-bf16": "nf4", "fp8-bf16": "fp8", "int8-bf16": "int8"}
LOOKED_FOR = {"q8_0-torch": "q8_0", "int8-bf16": "int8", "q6_k-torch": "q6_k", "fp8-bf16": "fp8"}
HONEST = 0.998
IN_USE = scoring.EXPECTED_SHARE, scoring.MOST, scoring.AGAINST
DIRECTIONS = (
    *((share, *IN_USE[1:]) for share in (1.0, 0.5, 0.3, 0.2, 0.15, 0.1, 0.05)),
    *((IN_USE[0], most, IN_USE[2]) for most in (0.5, 2.0, 4.0, np.inf)),
    *((*IN_USE[:2], against) for against in (2.0, 3.0, 5.0, 8.0)),
)


def report() -> str:
    """A table for the weights, and one for directions."""
    suite = load_suite("logprobs")
    baseline = load_baseline(shipped_folder("baselines") / MODEL)
    material = gather(baseline, bank(baseline, suite, suite.fold("evaluation")))
    return f"{_weights(material)}\n\n{_directions(material, suite)}"


def _directions(material: Material, suite: Suite) -> str:
    """How many answers stand out, in the stratum that is asked first, by how directions are looked for."""
    baseline, probes = material.baseline, [p for p in material.probes if p.stratum == STRATUM]
    variants = [i for i in baseline.variants if baseline.names([i])[0] in LOOKED_FOR.values()]
    indices = (*baseline.references, *baseline.variants)
    names = dict(zip(indices, baseline.names(indices), strict=True))
    answers = {i: {p.id: material.answers[name][p.id][0] for p in probes} for i, name in names.items()}
    table = baseline.table and baseline.table.model_copy(update={"directed": list(LOOKED_FOR.values())})
    narrow = replace(baseline, table=table)
    lines = [
        f"Share of answers to {len(probes)} words whose direction is larger than what any honest deployment shows on "
        f"{HONEST:.1%} of them, each of these scored beside the others and with the noise factor.",
        "",
        f"| share of a recorded deviation | most of a position | units against | {' | '.join(LOOKED_FOR)} |",
        f"|---|---|---|{'---|' * len(LOOKED_FOR)}",
    ]
    for share, most, against in DIRECTIONS:
        yardstick = replace(Yardstick.of(narrow), most=most)
        with patch.multiple(scoring, EXPECTED_SHARE=share, AGAINST=against):
            honest = LeaveOneOut(narrow, suite, yardstick)(answers, probes, variants, VIEWS[0], baseline.references)
            seen = observe(narrow, yardstick, probes, {c: material.answers[c] for c in LOOKED_FOR}, VIEWS[0])
        largest = np.max([frame[DIRECTION] for frame in honest.values()], axis=0)
        bound = float(np.quantile(largest, HONEST, method="higher"))
        cells = [f"{share:.2f}", f"{most:g}", f"{against:g}"]
        cells += [f"{(seen.scores(c, seen.variants)[DIRECTION] > bound).mean():.2f}" for c in LOOKED_FOR]
        used = (share, most, against) == IN_USE
        lines.append(f"| {' | '.join(f'**{cell}**' if used else cell for cell in cells)} |")
    return "\n".join(lines)


def _weights(material: Material) -> str:
    """What is minimised, by weights and half of the variants."""
    observed = material.observed(FULL, [*material.honest, *CHOSEN_ON, *SHOWN_ON])
    lines = [
        "Mean logarithm of requests (medians and 90 % quantiles, variants recorded and not, at "
        f"{', '.join(f'{f:.0%}' for f in FRACTIONS)} of requests; what is never detected counts as all requests).",
        "",
        "| weights of events, rising thresholds | of bets, rising λ | half that is chosen on | the other half |",
        "|---|---|---|---|",
    ]
    for events, shares in product(EVENTS, BETS):
        halves = [_mean_log(material, observed, half, events, shares) for half in (CHOSEN_ON, SHOWN_ON)]
        used = events == envelopes.THRESHOLD_WEIGHTS and np.allclose(_shares(shares), bets.LAMBDA_SHARES)
        cells = [", ".join(map(str, row)) for row in (events, shares)] + [f"{value:.3f}" for value in halves]
        lines.append(f"| {' | '.join(f'**{cell}**' if used else cell for cell in cells)} |")
    return "\n".join(lines)


def _shares(row: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(row) / sum(row)


def _mean_log(
    material: Material, observed: Observed, half: Mapping[str, str], events: Sequence[int], shares: Sequence[int]
) -> float:
    table = material.baseline.table
    assert table is not None, "material is gathered from a calibrated baseline"
    with (
        patch.object(envelopes, "THRESHOLD_WEIGHTS", tuple(events)),
        patch.object(bets, "LAMBDA_SHARES", _shares(shares)),
    ):
        envelope, found = freeze(table, ALPHA), list[float]()
        for (candidate, variant), recorded, fraction in product(half.items(), (True, False), FRACTIONS):
            known = [v for v in observed.variants if recorded or v != variant]
            rng = np.random.default_rng(round(100 * fraction))
            what = observed, envelope, material.honest, candidate, fraction, known
            requests = stops(*what, rng, STREAMS, LIMIT).requests
            most = min(LIMIT, len(observed.strata))
            found += np.log(np.minimum(np.quantile(requests, (0.5, 0.9)), most)).tolist()
    return float(np.mean(found))
