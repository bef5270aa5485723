"""`qcheck resume`: go on with a run that was interrupted."""

from __future__ import annotations

import typer

from qcheck.cli.options import AllowHttp, EnvFile, Json, Run, examples, messages_of

__all__ = ["EPILOG", "resume"]

EPILOG = examples(
    "qcheck resume 20261123T184500-3f9a2c", "qcheck resume ./runs/20261123T184500-3f9a2c --json result.json"
)


def resume(
    context: typer.Context, run: Run, json: Json = None, env_file: EnvFile = None, allow_http: AllowHttp = False
) -> int:
    """Go on with an interrupted run where its journal ends; nothing that was answered is asked again."""
    from qcheck.cli.comparison import conduct, reopen, seed_of, show  # --help must not load numpy
    from qcheck.cli.environment import open_environment
    from qcheck.report.json import check_target
    from qcheck.run.folder import RunFolder, default_base
    from qcheck.run.journal import read_journal

    messages = messages_of(context)
    check_target(json)
    folder = RunFolder.open(run, default_base())
    if folder.journal.exists():
        read_journal(folder.journal)  # a damaged one is told of before anything is started
    with open_environment(messages, env_file, seed_of(folder), allow_http=allow_http) as environment:
        result = conduct(folder, reopen(folder, environment, messages), messages)
    show(result, folder, messages, json)
    return result.exit_code
