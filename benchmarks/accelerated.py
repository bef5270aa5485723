"""Deployments on a GPU beside baselines that were recorded without one.

Their answers to the evaluation probes were recorded by `python -m benchmarks.accelerated [MODEL …]`, which needs a GPU
and goes on where it stopped. They are kept in benchmarks/recordings, so that `python -m benchmarks accelerated` judges
them on any machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from baselines.record_lab import run_all
from benchmarks.detection import here
from benchmarks.detection.agreement import consistent_stops
from benchmarks.detection.alarms import stops
from benchmarks.detection.material import Material, material_of
from benchmarks.detection.power import measure
from benchmarks.detection.rows import TOP_5, TOP_20, Row
from benchmarks.detection.table import TOLERANCE, markdown, mixture_table, power_table, quantiles
from qcheck.baselines import Answer
from qcheck.evidence.views import VIEWS
from qcheck.jsonio import atomic_write
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.lab.catalog import deployments_of
from qcheck.packing import pack, unpack
from qcheck.suites import Suite, load_suite
from qcheck.tailcounts import DIRECTION, SIZE, STEADY

FOLDER, MACHINE, SUFFIX = Path("benchmarks/recordings"), "machine.txt", ".answers"
MODELS = ("lab-tiny", "lab-twin", "lab-moe")
STREAMS, REQUESTS = 2000, 1000
NATIVE = Row("top 20, not recorded", "full", "fp8 weights and activations", {"fp8-native": "none"}, False)


def report() -> str:
    """Tables for each model whose baseline and whose answers are here."""
    suite = load_suite("logprobs")
    what = f"Recorded by `python -m benchmarks.accelerated`: {(FOLDER / MACHINE).read_text(encoding='utf-8')}."
    return "\n\n".join([what, *(part for model in MODELS for part in _tables(model, suite))])


def recorded(model: str) -> dict[str, dict[str, tuple[Answer, ...]]]:
    """The model's kept answers by deployment, by probe id, by repeat."""
    files = {name: _file(model, name) for name in _accelerated(model)}
    return {name: dict(unpack(file.read_bytes())) for name, file in files.items() if file.exists()}


def _tables(model: str, suite: Suite) -> Iterator[str]:
    baseline, answers = here(model, suite), recorded(model)
    if baseline is None or not answers:
        return
    honest = [name for name in answers if _is_honest(name)]
    material = material_of(baseline, suite.fold("evaluation"), honest, answers)
    yield (
        f"**{model}**, {len(material.probes)} prompts, null bounds counted on {material.resolution} others. Most of an "
        f"answer's size, steadiness and direction in units of the noise; alarms of {STREAMS} streams of {REQUESTS} "
        f"requests, looked at after each, by what is given; requests until *consistent* (median / 90 %)."
    )
    yield _honest_table(material)
    yield mixture_table(material)
    if rows := [row for row in map(_on_gpu, (*TOP_20, *TOP_5)) if row.of(answers)]:
        yield power_table(measure(material, [*rows, NATIVE]))


def _honest_table(material: Material) -> str:
    """The scores of honest deployments, their alarms in every view, and how soon they are called consistent."""
    seen = [material.observed(view.name, material.honest) for view in VIEWS]
    rows = []
    for number, name in enumerate(material.honest):
        rng, scores = np.random.default_rng(number), seen[0].scores(name, seen[0].variants)
        alarms = []
        for observed in seen:
            what = observed, material.envelope, [name], name, 1.0, observed.variants, rng, STREAMS, REQUESTS
            found = stops(*what)
            alarms.append(str(int((found.requests <= found.limit).sum())))
        agreed = consistent_stops(seen[0], material.envelope, name, TOLERANCE, rng, STREAMS, REQUESTS)
        most = [f"{scores[kind].max():.2f}" for kind in (SIZE, STEADY, DIRECTION)]
        rows.append([name, f"{scores[SIZE].mean():.2f}", *most, *alarms, quantiles(agreed)])
    views = " | ".join(view.name for view in VIEWS)
    return markdown(f"| honest on a GPU | mean size | size | steadiness | direction | {views} | consistent |", rows)


def _on_gpu(row: Row) -> Row:
    """The row with the same formats on a GPU as candidates."""
    return replace(row, candidates={f"{variant}-cuda": variant for variant in row.candidates.values()})


def record(models: Iterable[str], jobs: int) -> None:
    """Ask the deployments of `models` on this machine's GPU what is not kept yet, `jobs` at a time."""
    suite = load_suite("logprobs")
    atomic_write(FOLDER / MACHINE, _machine())
    run_all([partial(_ask, model, suite, n) for model in models for n in _accelerated(model)], jobs)


def _ask(model: str, suite: Suite, name: str) -> None:
    file = _file(model, name)
    if not file.exists():
        bank = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation"))
        bank.fill(name, lambda line: print(f"{model}, {line}", file=sys.stderr, flush=True))
        atomic_write(file, pack(bank.answers(name)))


def _file(model: str, name: str) -> Path:
    return FOLDER / model / f"{name}{SUFFIX}"


def _accelerated(model: str) -> list[str]:
    return [name for name, d in deployments_of(model).items() if d.kind == "accelerated"]


def _is_honest(name: str) -> bool:
    return name.startswith("honest")


def _machine() -> str:
    import torch  # noqa: PLC0415 - takes seconds, and is not needed where answers are judged

    if not torch.cuda.is_available():
        raise SystemExit("no GPU with CUDA is here, or PyTorch was installed without it")
    return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Python {platform.python_version()}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerated", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all unless given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="engines that run at a time")
    args = parser.parse_args(arguments)
    if unknown := set(args.models) - set(MODELS):
        parser.error(f"unknown model {', '.join(sorted(unknown))}; known: {', '.join(MODELS)}")
    record(args.models or MODELS, args.jobs)


if __name__ == "__main__":
    main()
