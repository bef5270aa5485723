"""In which order the probes of a run are asked: it follows from the manifest and the suites alone."""

from __future__ import annotations

from collections.abc import Sequence

from qcheck.errors import RunFolderError
from qcheck.jobs.manifest import RunManifest
from qcheck.jobs.panel import Panel, sample
from qcheck.records import Attempt
from qcheck.run.plan import PlanItem, make_plan

__all__ = ["check_order", "plan_of"]


def plan_of(manifest: RunManifest, panels: Sequence[Panel]) -> tuple[PlanItem, ...]:
    """All requests of a run. Those who are asked the same suites are asked in the same order."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for entry in manifest.planned:
        alike.setdefault(manifest.suites_of(entry), []).append(entry.name)
    plan: list[PlanItem] = []
    for suites, names in alike.items():
        groups = sample([p for p in panels if p.suite.name in suites], manifest.tolerance, manifest.seed)
        plan += make_plan(names, [sorted(p.id for p in probes) for _, probes in groups], manifest.seed)
    return tuple(plan)


def check_order(attempts: Sequence[Attempt], plan: Sequence[PlanItem]) -> None:
    """Raise RunFolderError where a journal does not follow the run's plan."""
    expected = {(i.provider, i.seq): i.probe_id for i in plan}
    for attempt in attempts:
        asked = attempt.provider if attempt.scores is None else attempt.scores
        if not attempt.discovery and expected.get((asked, attempt.seq)) != attempt.probe_id:
            raise RunFolderError("the journal does not follow the run's plan; start a new run.")
