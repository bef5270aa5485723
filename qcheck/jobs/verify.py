"""Replay a run's journal and compare with the result that was written, byte for byte. Needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qcheck.errors import RunFolderError
from qcheck.evidence.envelope import freeze
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.order import check_order, plan_of
from qcheck.jobs.outcome import make_result
from qcheck.jobs.panel import Panel
from qcheck.jsonio import loads, pretty
from qcheck.result import Result, result_to_json
from qcheck.run.folder import RunFolder
from qcheck.run.journal import read_journal

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """The replayed result, and where the written one differs from it (JSON paths; empty if it does not)."""

    result: Result
    differences: tuple[str, ...]


def verify(folder: RunFolder) -> Verification:
    """Fold the journal anew. Raises UsageError where the run is unfinished, damaged, or its inputs have changed.

    Why a provider was asked no further is taken from the written result where it does not follow from evidence
    (a budget, a deadline).
    """
    written = folder.read_result()
    if written is None:
        raise RunFolderError(
            f"the run {folder.run_id} has no result yet; finish it with `qcheck resume {folder.path}`."
        )
    try:
        old = loads(written)
        stops = {p["name"]: str(p["stop_reason"]) for p in old["providers"]}
    except (ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{folder.path / 'result.json'} is damaged; delete it and resume the run.") from error
    manifest = RunManifest.parse(folder.read_manifest())
    panels = manifest.load_panels()
    attempts = read_journal(folder.journal)
    check_order(attempts, plan_of(manifest, panels))
    result = make_result(manifest, panels, attempts, stops)
    new = result_to_json(result)
    differences = [
        f"the manifest's envelope of the suite {panel.suite.name} (not the baseline's)"
        for panel in panels
        if not _same_envelope(panel, manifest.alpha / manifest.share)
    ]
    if pretty(new).encode() != written:
        differences += _differences(old, new, "") or ["the bytes (formatting)"]
    return Verification(result, tuple(differences))


def _same_envelope(panel: Panel, alpha: float) -> bool:
    """Whether the thresholds and bounds that were used are those that the baseline's calibration gives."""
    used, baseline = panel.envelope, panel.baseline
    return used is None or (
        baseline is not None and baseline.table is not None and used == freeze(baseline.table, alpha)
    )


def _differences(old: Any, new: Any, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{path}.{k}" if path else str(k))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in _differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [path]
