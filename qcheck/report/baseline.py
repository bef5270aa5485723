"""A baseline at a terminal: its deployments, its envelope, and what can be seen outside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType

from qcheck.baselines import Baseline
from qcheck.evidence.envelope import Envelope, freeze
from qcheck.report.paper import Paper, entry, grid, put_on
from qcheck.tailcounts import FLIP, FULL, LOSS, CalibrationTable
from qcheck.verdict import percent

__all__ = ["render"]

DEPLOYMENTS = ("deployment", "role", "provenance", "repeats", "recorded", "description")
OUTSIDE = {LOSS: "are wrong where all others are right", FLIP: "leave the paths of all others, where these are sure,"}
VISIBILITY = ("variant", "KL (nats/token)")
BY_ITSELF = (
    "prompts on which an honest deployment shows some event, and so bounds what all may show. Another "
    "configuration of its arithmetic, on other kernels and no copy, would tell whether that arithmetic does so or it "
    "alone"
)
# Of so many prompts at least on which honest deployments show an event, how many the others may have where one is said
# to stand apart, which takes three.
FEWEST, OTHERS = 5, 0.2
ALONE = "none: an envelope takes at least two reference deployments that compute differently"
UNMADE = (
    "none: the references hardly differ, their calibration answers are too few, or recording was interrupted; "
    "`qcheck baseline record`, given once more for one of them, says what is amiss"
)
VISIBLE = "in how many answers of a variant its deviation shows at least, by what an answer lists"


def render(baseline: Baseline, alpha: float, paper: Paper) -> str:
    """The baseline, with the visibilities that a run at level `alpha` would count on."""
    return put_on(paper, _parts(baseline, alpha))


def _parts(baseline: Baseline, alpha: float) -> Iterator[RenderableType]:
    manifest = baseline.manifest
    yield entry("baseline", f"{baseline.name} of {manifest.model}, in {baseline.folder}")
    yield entry("suite", f"{manifest.suite.name} {manifest.suite.version}, {manifest.suite.hash}")
    yield entry("hash", baseline.hash)
    yield ""
    yield grid(
        DEPLOYMENTS,
        ((d.name, d.role, d.provenance, str(d.repeats), d.recorded[:10], d.description) for d in manifest.deployments),
        right=(3,),
    )
    if baseline.table is None:
        yield entry("calibration", UNMADE if len(baseline.references) > 1 else ALONE)
    else:
        yield from _calibration(baseline.table, freeze(baseline.table, alpha), alpha)


def _calibration(table: CalibrationTable, envelope: Envelope, alpha: float) -> Iterator[RenderableType]:
    strata = ", ".join(f"{count} clusters of {stratum}" for stratum, count in table.clusters.items())
    yield entry("calibration", f"{strata}; honest scores widened by the noise factor {table.noise_factor:g}")
    if table.envelope_kl is None or table.noise_rms is None:
        bound = percent(envelope.levels[FULL][envelope.watched].null_bound)
        yield entry("envelope", f"honest deployments {OUTSIDE[table.events[0].score]} on at most {bound} of probes")
    else:
        kl, rms = table.envelope_kl, table.noise_rms
        yield entry("envelope", f"mean KL {kl:.3g} nats/token, rms deviation {rms:.3g} nats")
    for name, (own, every) in _apart(table).items():
        yield entry("apart", f"{name} has {own} of the {every} {BY_ITSELF}")
    resolution = envelope.resolution or "none: no recorded variant is visible enough to claim agreement for"
    yield entry("resolution", f"{resolution} (at alpha {alpha:g})")
    yield entry("visibility", VISIBLE)
    yield ""
    rows = (
        (
            variant,
            _kl(table.variant_kl.get(variant)),
            *(f"{math.floor(100 * envelope.visibility[view][variant])} %" for view in table.views),
        )
        for variant in table.variants
    )
    yield grid((*VISIBILITY, *table.views), rows, right=range(1, len(VISIBILITY) + len(table.views)))


def _apart(table: CalibrationTable) -> dict[str, tuple[int, int]]:
    """By honest deployment, where it alone shows an event: its prompts and all of them, of the rarest one."""
    found: dict[str, tuple[int, int]] = {}
    for count in (count for event in table.seen(FULL) for count in event.counts.values()):
        name = max(count.honest, key=count.honest.__getitem__, default="")
        own, every = count.honest.get(name, 0), count.honest_any
        others = sum(count.honest.values()) - own
        if len(count.honest) > 2 and every >= FEWEST and others <= OTHERS * every:
            found[name] = min(found.get(name, (own, every)), (own, every), key=lambda pair: pair[1])
    return found


def _kl(nats: float | None) -> str:
    return "–" if nats is None else f"{nats:.3g}"
