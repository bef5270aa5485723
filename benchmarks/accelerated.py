"""Deployments on a GPU beside baselines that were recorded without one.

Their answers to the evaluation probes were recorded by `python -m benchmarks.accelerated [MODEL …]`, which needs a GPU
and goes on where it stopped. They are kept in benchmarks/recordings, so that `python -m benchmarks accelerated` judges
lab-tiny's on any machine, by the shipped baseline, and another model's where its baseline is recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from baselines.record_lab import recording, run_all
from benchmarks.detection.agreement import consistent_stops
from benchmarks.detection.alarms import stops
from benchmarks.detection.material import Answered, Material, material_of
from benchmarks.detection.observed import Observed
from benchmarks.detection.power import measure
from benchmarks.detection.rows import TOP_5, TOP_20, Row
from benchmarks.detection.table import TOLERANCE, markdown, mixture_table, power_table, quantiles
from qcheck.baselines import Answer, Baseline, load_baseline
from qcheck.evidence.views import VIEWS
from qcheck.jsonio import atomic_write, content_hash, pretty
from qcheck.lab.bank import DEFAULT_FOLDER, Bank, identity
from qcheck.lab.catalog import deployments_of
from qcheck.packing import pack, unpack
from qcheck.suites import Suite, load_suite, shipped_folder
from qcheck.tailcounts import DIRECTION, FULL, SIZE, STEADY, Score

FOLDER = Path(__file__).parent / "recordings"
MODELS = ("lab-tiny", "lab-moe")
STREAMS, REQUESTS = 2000, 1000
NATIVE = {"fp8-native": "fp8"}  # its weights are rounded as the recorded variant's are
ROWS = (  # those of `detection` with the same formats on a GPU, and what a GPU alone can do
    *(replace(row, candidates={f"{v}-cuda": v for v in row.candidates.values()}) for row in (*TOP_20, *TOP_5)),
    Row("top 20, recorded", FULL, "fp8 weights and activations", NATIVE, recorded=True),
    Row("top 20, not recorded", FULL, "fp8 weights and activations", NATIVE, recorded=False),
)
KINDS: dict[Score, str] = {SIZE: "size", STEADY: "steadiness", DIRECTION: "direction"}


def report() -> str:
    """Tables of each model that has a baseline here."""
    suite = load_suite("logprobs")
    return "\n\n".join(f"**{model}**\n\n" + "\n\n".join(_tables(model, suite)) for model in MODELS)


def _tables(model: str, suite: Suite) -> Iterator[str]:
    baseline, answers = _baseline(model, suite), recorded(model, suite)
    if baseline is None:
        yield f"Not recorded here: `python -m baselines.record_lab {model} --out build/baselines/{model}`."
        return
    honest = [name for name in answers if deployments_of(model)[name].kind == "gpu-honest"]
    material = material_of(baseline, suite.fold("evaluation"), honest, answers)
    machines = sorted({entry["machine"] for entry in _entries(model).values()})
    yield (
        f"Recorded by `python -m benchmarks.accelerated` on {' and '.join(machines)}. {len(material.probes)} prompts, "
        f"null bounds counted on {material.resolution} others. How many answers pass the lowest threshold of each "
        "score, which some honest ones do, beside how many the null bounds allow; how many of "
        f"{STREAMS} streams of {REQUESTS} requests, looked at after each, raise an alarm, by what is given (the "
        "streams of a deployment are its one recording in other orders); requests until *consistent*."
    )
    yield _honest_table(material)
    if len(honest) > 1:
        yield mixture_table(material)
    if any(row.of(answers) for row in ROWS):
        yield power_table(measure(material, ROWS))


def _baseline(model: str, suite: Suite) -> Baseline | None:
    """The shipped baseline of the model, else the one that was recorded on this machine."""
    for folder in (shipped_folder("baselines") / model, recording(model, suite)):
        if (folder / "calibration.json").exists():
            return load_baseline(folder)
    return None


def _honest_table(material: Material) -> str:
    """How much honest deployments show, their alarms in every view, and how soon they are called consistent."""
    seen = [material.observed(view.name, material.honest) for view in VIEWS]
    rows = []
    for number, name in enumerate(material.honest):
        rng = np.random.default_rng(number)
        alarms = [str(_alarms(material, observed, name, rng)) for observed in seen]
        agreed = "–"
        if material.envelope.resolution is not None:
            what = material.envelope, name, TOLERANCE, rng, STREAMS, REQUESTS
            agreed = quantiles(consistent_stops(seen[0], *what))
        size = f"{seen[0].sizes[name].mean():.2f}"
        rows.append([name, size, *(_passing(material, seen[0], name, kind) for kind in KINDS), *alarms, agreed])
    columns = " | ".join((*KINDS.values(), *(view.name for view in VIEWS)))
    return markdown(f"| honest on a GPU | mean size | {columns} | consistent |", rows)


def _alarms(material: Material, observed: Observed, name: str, rng: np.random.Generator) -> int:
    what = observed, material.envelope, [name], name, 1.0, observed.variants, rng, STREAMS, REQUESTS
    found = stops(*what)
    return int((found.requests <= found.limit).sum())


def _passing(material: Material, observed: Observed, name: str, kind: Score) -> str:
    """How many answers pass the lowest threshold of a score, beside how many the null bounds allow on average."""
    index = [level.score for level in material.envelope.levels[FULL]].index(kind)
    hits, bounds = observed.hits(name, material.envelope, observed.variants), observed.bounds(material.envelope)
    return f"{hits[:, index].sum()} of {bounds[:, index].sum():.0f}"


def recorded(model: str, suite: Suite) -> Answered:
    """What the model's deployments on a GPU have answered.

    Raises ValueError where they were asked other prompts, or are not what they were when they were asked.
    """
    answers: dict[str, Mapping[str, Sequence[Answer]]] = {}
    for name, entry in _entries(model).items():
        if entry["identity"] != _identity(model, name, suite):
            raise ValueError(f"{name} of {model} is not what was recorded: `python -m benchmarks.accelerated {model}`")
        answers[name] = unpack(_file(model, name).read_bytes())
    return answers


def record(models: Iterable[str], jobs: int) -> None:
    """Ask the deployments of `models` on this machine's GPU what is not kept yet, `jobs` at a time."""
    suite, machine = load_suite("logprobs"), _machine()
    for model in models:
        known = _entries(model)
        wanted = {name: _identity(model, name, suite) for name, d in deployments_of(model).items() if d.needs_gpu}
        missing = [name for name, mine in wanted.items() if name not in known or known[name]["identity"] != mine]
        run_all([partial(_ask, model, suite, name) for name in missing], jobs)
        known |= {name: {"identity": wanted[name], "machine": machine} for name in missing}
        atomic_write(_list(model), pretty({name: known[name] for name in wanted}))


def _ask(model: str, suite: Suite, name: str) -> None:
    bank = Bank(DEFAULT_FOLDER, model, suite, suite.fold("evaluation"))
    bank.fill(name, lambda line: print(f"{model}, {line}", file=sys.stderr, flush=True))
    atomic_write(_file(model, name), pack(bank.answers(name)))


def _file(model: str, name: str) -> Path:
    return FOLDER / model / f"{name}.answers"


def _list(model: str) -> Path:
    return FOLDER / f"{model}.json"


def _entries(model: str) -> dict[str, dict[str, str]]:
    """By deployment, what it was and on which machine, when it was recorded."""
    file = _list(model)
    return json.loads(file.read_bytes()) if file.exists() else {}


def _identity(model: str, name: str, suite: Suite) -> str:
    return content_hash([identity(model, name, versioned=False), suite.hash])


def _machine() -> str:
    import torch  # noqa: PLC0415 - takes seconds, and is not needed where answers are judged

    if not torch.cuda.is_available():
        raise SystemExit(f"PyTorch {torch.__version__} finds no NVIDIA GPU here")
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
