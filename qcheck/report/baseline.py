"""A baseline at a terminal: its deployments, its envelope, and what can be seen outside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType

from qcheck.baselines import Baseline, CalibrationTable
from qcheck.evidence.logprobs import Envelope, freeze
from qcheck.report.paper import Paper, entry, grid, put_on

__all__ = ["render"]

DEPLOYMENTS = ("deployment", "role", "provenance", "repeats", "recorded", "description")
VISIBILITY = ("variant", "KL (nats/token)", "visible in at least")


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
        yield entry("calibration", "none: an envelope takes at least two reference deployments")
    else:
        yield from _calibration(baseline.table, freeze(baseline.table, alpha), alpha)


def _calibration(table: CalibrationTable, envelope: Envelope, alpha: float) -> Iterator[RenderableType]:
    yield entry(
        "calibration", f"{table.clusters} clusters, honest scores widened by the noise factor {table.noise_factor:g}"
    )
    yield entry("envelope", f"mean KL {table.envelope_kl:.3g} nats/token, rms deviation {table.noise_rms:.3g} nats")
    resolution = envelope.resolution or "none: no recorded variant is visible enough to claim agreement for"
    yield entry("resolution", f"{resolution} (at alpha {alpha:g})")
    yield ""
    rows = (
        (variant, f"{kl:.3g}", f"{math.floor(100 * envelope.visibility[variant])} % of answers")
        for variant, kl in table.variant_kl.items()
    )
    yield grid(VISIBILITY, rows, right=(1, 2))
