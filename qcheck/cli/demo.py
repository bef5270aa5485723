"""`qcheck demo`: the main job on this machine, against engines whose truth is known."""

from __future__ import annotations

import typer

from qcheck.cli.options import Json, Seed, examples, messages_of

__all__ = ["EPILOG", "demo"]

EPILOG = examples("qcheck demo", "qcheck demo --seed 7 --json demo.json")
PROVIDERS = (
    "lab/honest",
    "lab/honest-b",
    "lab/q4_k_m",
    "lab/q2_k",
    "lab/finetuned",
    "lab/honest?system=Be+brief.",
    "lab/q4_k_m?route=0.1",
)
MODEL = "lab-tiny"
INTRODUCTION = (
    "qcheck starts real engines on this machine that serve one small model faithfully, quantised, swapped, and mixed,",
    "asks all of them the same probes, and compares the answers with the recorded baseline lab-tiny. Nothing is paid.",
)
NEXT = (
    "try next: `qcheck lab up` serves these providers at URLs; `qcheck providers list` shows whom else you can check;",
    "`qcheck compare MODEL --providers A,B --dry-run` says what that would cost and could detect.",
)


def demo(context: typer.Context, json: Json = None, seed: Seed = None) -> int:
    """See qcheck work in about a minute, without keys and without the network.

    Ends with exit code 0 when the demonstration ran, whatever the verdicts.
    """
    from qcheck.cli.compare import random_seed
    from qcheck.cli.comparison import begin, conduct, prepare, show  # --help must not load numpy
    from qcheck.cli.environment import open_environment
    from qcheck.jobs.compare import Settings
    from qcheck.report.json import check_target
    from qcheck.run.folder import RunFolder, default_base
    from qcheck.suites import shipped_folder

    messages = messages_of(context)
    check_target(json)
    RunFolder.check_base(default_base())
    for line in INTRODUCTION:
        messages.note(line)
    shipped = str(shipped_folder("baselines") / MODEL)
    settings = Settings(random_seed() if seed is None else seed)
    with open_environment(messages, None, settings.seed) as environment:
        prepared = prepare(MODEL, PROVIDERS, shipped, None, ["logprobs"], settings, environment, messages)
        folder, ready = begin(default_base(), prepared, environment, messages)
        result = conduct(folder, ready, messages)
    show(result, folder, messages, json)
    for line in NEXT:
        messages.note(line)
    return 0
