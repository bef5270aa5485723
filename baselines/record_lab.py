"""Record a lab model's baseline anew: `python -m baselines.record_lab [lab-tiny] [--suite logprobs] [--deep 40000]`.

All honest deployments and variants of the lab's catalogue, eight requests at a time (so that batching shows its
noise), two repeats of every evaluation probe from the honest ones. Then the envelope is calibrated, with `--deep` on
so many further prompts of the stratum `words` besides, which those variants answer too whose directions are looked
for. Interrupted, it goes on where it stopped. The calibration answers stay in build/ on the machine that recorded them;
only their counts are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from probes.compose import further
from qcheck.baselines import Baseline, load_baseline, save_manifest
from qcheck.evidence.calibration import Block
from qcheck.evidence.observable import graded
from qcheck.jobs.compare import clients
from qcheck.jobs.record import Recording, recalibrate, record
from qcheck.jsonio import content_hash
from qcheck.lab.bank import Bank, identity
from qcheck.lab.catalog import MODELS, Deployment, deployments_of
from qcheck.lab.process import live_with_parent
from qcheck.lab.supervisor import Lab
from qcheck.records import Message
from qcheck.registry.loader import get_model
from qcheck.suites import Fold, Probe, Suite, load_suite

BUILD = Path("build/recording")
CONCURRENCY = 8
HONEST_REPEATS = 2  # so that prompt-token counts are seen to be constant
DEEP = dict.fromkeys(("lab-tiny", "lab-twin", "lab-moe"), 40_000)  # further prompts
# Answers cost 24 tokens each, so that graded suites are recorded from fewer.
GRADED = (
    "honest", "honest-f32", "honest-batch", "honest-torch-bf16", "honest-torch-fp16",
    "q4_k_m", "q3_k_m", "q2_k", "int4", "finetuned", "other-model",
)  # fmt: skip
# What benchmarks look for on the models that they report on, whose baselines are not shipped.
REPORTED = ("q8_0", "q6_k", "q4_k_m", "q4_0", "int8", "fp8", "int4", "nf4", "other-model")
SHIPPED = "lab-tiny"
# Those whose size lies near the envelope's: their directions are counted as deeply as sizes. Whatever deviates more is
# seen by its size.
DIRECTED = ("q8_0", "q6_k", "int8", "fp8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def record_one(model: str, folder: Path, suite: Suite, deployment: Deployment) -> None:
    """Record one deployment into the baseline at `folder`."""
    role = "variant" if deployment.kind == "variant" else "reference"
    repeats = HONEST_REPEATS if role == "reference" else 1
    what = Recording(folder, deployment.name, deployment.description, role, "self-hosted", repeats, CONCURRENCY)
    began = time.monotonic()

    async def ask(lab: Lab) -> None:
        endpoint = lab.endpoint(deployment.name, model)
        async with clients([endpoint], {}, CONCURRENCY) as askers:
            await record(what, get_model(model), suite, endpoint, askers[endpoint.name])

    with Lab() as lab:
        asyncio.run(ask(lab))
    _tell(f"{deployment.name}: {time.monotonic() - began:.0f} s")


def composed(rows: Iterable[Mapping[str, Any]], fold: Fold) -> tuple[Probe, ...]:
    """The probes that `probes.compose` tells of, in one fold."""
    return tuple(
        Probe(row["id"], row["cluster"], fold, tuple(Message(**m) for m in row["messages"]), stratum=row["stratum"])
        for row in rows
    )


def deep_probes(count: int) -> tuple[Probe, ...]:
    """Further calibration prompts of the suite's stratum `words`."""
    probes = composed(further(count), "calibration")
    if len(probes) < count:
        raise SystemExit(f"there are only {len(probes)} further words")
    return probes


def deep_bank(model: str, suite: Suite, count: int | None = None) -> Bank:
    """Where the answers to further prompts are kept. count: how many there are, what is usual for the model if None."""
    probes = () if graded(suite) else deep_probes(DEEP.get(model, 0) if count is None else count)
    return Bank(BUILD / "deep", model, suite, probes)


def deep_blocks(baseline: Baseline, bank: Bank, numbers: Iterable[int] | None = None) -> Iterator[Block]:
    """What the honest deployments and the directed variants answered to the bank's probes, file by file.

    numbers: of the files; all unless given.
    """
    by_id = {p.id: p for p in bank.probes}
    indices = (*baseline.references, *baseline.variants)
    names = {
        i: n for i, n in zip(indices, baseline.names(indices), strict=True) if i in baseline.references or n in DIRECTED
    }
    for number in bank.numbers if numbers is None else numbers:
        kept = {index: bank.chunk(name, number) or {} for index, name in names.items()}
        answers = {index: {probe: repeats[0] for probe, repeats in chunk.items()} for index, chunk in kept.items()}
        yield Block([by_id[i] for i in answers[baseline.references[0]]], answers)


def run_all(tasks: Sequence[Callable[[], None]], jobs: int) -> None:
    """Run tasks in processes that end with this one; the first failure or Ctrl-C ends them."""
    pool = ProcessPoolExecutor(jobs, initializer=live_with_parent)
    try:
        for running in as_completed([pool.submit(task) for task in tasks]):
            running.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.kill()  # its engines end with it
        raise
    pool.shutdown()


def put_in_place(recorded: Path, out: Path) -> None:
    """Copy what ships of a recording to `out`, in the place of an older one."""
    draft, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(recorded, draft, ignore=shutil.ignore_patterns("calibration", ".*"))
    if out.exists():
        out.rename(old)
    draft.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def wanted(model: str, suite: Suite) -> list[Deployment]:
    """The deployments that the model's baseline of the suite has."""

    def belongs(d: Deployment) -> bool:
        if graded(suite):
            return d.name in GRADED
        return d.kind == "reference" or (d.kind == "variant" and (model == SHIPPED or d.name in REPORTED))

    return [d for d in deployments_of(model).values() if belongs(d)]


def recording(model: str, suite: Suite) -> Path:
    """Where the model's answers to the suite are recorded, calibration answers and all; it may not be there yet."""
    name = f"{model}-answers" if graded(suite) else model
    key = content_hash([suite.hash, [identity(model, d.name) for d in wanted(model, suite)]])
    return BUILD / f"{name}-{key.removeprefix('sha256:')[:16]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Record everything into a folder below build/, then put it in the place of the old baseline."""
    parser = argparse.ArgumentParser(prog="python -m baselines.record_lab", description=__doc__)
    parser.add_argument("model", nargs="?", default=SHIPPED, choices=MODELS)
    parser.add_argument("--suite", default="logprobs")
    parser.add_argument("--deep", type=int, metavar="N", help="further prompts to calibrate on")
    parser.add_argument("--out", type=Path, help="where the baseline goes (default: in baselines/)")
    parser.add_argument("--jobs", type=int, default=2, help="engines that run at a time")
    args = parser.parse_args(arguments)
    suite = load_suite(args.suite)
    out = args.out or Path("baselines", f"{args.model}-answers" if graded(suite) else args.model)
    if out.exists() and not (out / "manifest.json").is_file():
        raise SystemExit(f"{out} is no baseline; name a folder that is one, or does not exist")
    deployments, fresh = wanted(args.model, suite), recording(args.model, suite)
    deeply = [d.name for d in deployments if d.kind == "reference" or d.name in DIRECTED]
    deep = deep_bank(args.model, suite, args.deep)
    done: set[str] = set()
    if (fresh / "manifest.json").exists():
        done = {d.name for d in load_baseline(fresh, calibrated=False).manifest.deployments}
    # Deep files in turn, so that what is there when one interrupts is there of every deployment.
    run_all(
        [partial(record_one, args.model, fresh, suite, d) for d in deployments if d.name not in done]
        + [partial(deep.fill, d, _tell, [number]) for number in deep.numbers for d in deeply],
        args.jobs,
    )
    manifest = load_baseline(fresh, calibrated=False).manifest
    by_name = {d.name: d for d in manifest.deployments}
    save_manifest(fresh, manifest.model_copy(update={"deployments": [by_name[d.name] for d in deployments]}))
    directed = None if graded(suite) else DIRECTED
    recalibrate(fresh, suite, _tell, deep_blocks(load_baseline(fresh, calibrated=False), deep), directed)
    put_in_place(fresh, out)


if __name__ == "__main__":
    main()
