"""`qcheck verify`: make a run's result once more from its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qcheck.cli.options import Json, Run, examples, messages_of

if TYPE_CHECKING:
    from qcheck.result import ReferenceInfo

__all__ = ["EPILOG", "verify"]

EPILOG = examples("qcheck verify 20261123T184500-3f9a2c", "qcheck verify ./runs/20261123T184500-3f9a2c --json -")
DIFFERS = 5


def verify(context: typer.Context, run: Run, json: Json = None) -> int:
    """Replay a run's journal and compare with the result that was written, byte for byte. Needs no network.

    Exit code 5 where they differ; --json writes the replayed result.
    """
    from qcheck.jobs.verify import verify as replay  # --help must not load numpy
    from qcheck.report import json as json_report
    from qcheck.report.paper import count
    from qcheck.run.folder import RunFolder, default_base

    messages = messages_of(context)
    json_report.check_target(json)
    folder = RunFolder.open(run, default_base())
    verification = replay(folder)
    if json is not None:
        json_report.write(verification.result, json, messages.sheet)
    say = messages.note if json == json_report.STDOUT else messages.result
    result = verification.result
    if verification.differences:
        say(f"run {folder.run_id}: result.json differs from what its journal gives, in")
        for path in verification.differences:
            say(f"- {path}")
        return DIFFERS
    used = ", ".join(f"suite ({s.name} {s.hash}) and reference ({_known(s.reference)})" for s in result.suites)
    say(
        f"run {folder.run_id}: verified. Manifest, {used} are unchanged; "
        f"{count(result.totals.requests, 'recorded request')} to {count(len(result.providers), 'provider')} give "
        "result.json again, byte for byte."
    )
    return 0


def _known(reference: ReferenceInfo) -> str:
    return f"{reference.name} {reference.hash}" if reference.hash else reference.kind
