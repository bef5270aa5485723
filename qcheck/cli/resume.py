"""`qcheck resume`: go on with a run that was interrupted, or that its limits cut short."""

from __future__ import annotations

from typing import Annotated

import typer

from qcheck.cli.options import (
    AllowHttp,
    Budget,
    Deadline,
    EnvFile,
    Json,
    Run,
    duration_s,
    examples,
    messages_of,
    positive_usd,
)

__all__ = ["EPILOG", "resume"]

EPILOG = examples(
    "qcheck resume 20261123T184500-3f9a2c",
    "qcheck resume 20261123T184500-3f9a2c --max-requests 300",
    "qcheck resume ./runs/20261123T184500-3f9a2c --json result.json",
)


def resume(
    context: typer.Context,
    run: Run,
    budget: Budget = None,
    max_requests: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The most requests to each provider, those before included.",
            show_default="as when the run was begun",
        ),
    ] = None,
    deadline: Deadline = None,
    json: Json = None,
    env_file: EnvFile = None,
    allow_http: AllowHttp = False,
) -> int:
    """Go on with a run where its journal ends; nothing that was answered is asked again.

    What was spent before counts in its limits. A run that these cut short goes on with higher ones: the evidence may be
    looked at after every request, so that it is as good as if nobody had stopped. A deadline begins anew.
    """
    from qcheck.cli.comparison import conduct, reopen, seed_of, show  # --help must not load numpy
    from qcheck.cli.environment import open_environment
    from qcheck.report.json import check_target
    from qcheck.run.budget import Limits
    from qcheck.run.folder import RunFolder, default_base
    from qcheck.run.journal import Journal, read_journal

    messages = messages_of(context)
    limits = Limits(max_requests, positive_usd(budget), duration_s(deadline, "--deadline"))
    check_target(json)
    folder = RunFolder.open(run, default_base())
    if folder.journal.exists():
        with Journal.open(folder.journal):  # one that is damaged, or in use, is told of before anything is started
            read_journal(folder.journal)
    with open_environment(messages, env_file, seed_of(folder), allow_http=allow_http) as environment:
        result = conduct(folder, reopen(folder, environment, messages), messages, limits)
    show(result, folder, messages, json)
    return result.exit_code
