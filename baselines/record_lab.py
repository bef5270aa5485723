"""Record the lab's baseline anew: `python baselines/record_lab.py [--out baselines/lab-tiny]`.

All honest deployments and variants of the lab's catalogue, one engine after the other, eight requests at a time (so
that batching shows its noise), two repeats of every evaluation probe; then the envelope is calibrated. About ten
minutes on two idle cores; interrupted, it goes on where it stopped. The calibration answers stay on the machine that
recorded them; only their counts are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

from qcheck.baselines import load_baseline
from qcheck.jobs.compare import clients
from qcheck.jobs.record import Recording, recalibrate, record
from qcheck.lab.catalog import MODEL_ID, PROVIDERS
from qcheck.lab.supervisor import Lab
from qcheck.registry.loader import get_model
from qcheck.suites import Suite, load_suite

REPEATS, CONCURRENCY = 2, 8


async def record_one(lab: Lab, name: str, role: Literal["reference", "variant"], folder: Path, suite: Suite) -> None:
    """Record one lab deployment into the baseline at `folder`."""
    endpoint = lab.endpoint(name)
    what = Recording(folder, name, PROVIDERS[name].description, role, "self-hosted", REPEATS, CONCURRENCY)
    async with clients([endpoint], {}, CONCURRENCY) as askers:
        await record(what, get_model(MODEL_ID), suite, endpoint, askers[endpoint.name])


def main() -> None:
    """Record everything into a new folder, then put it in the place of the old one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("baselines") / MODEL_ID)
    parser.add_argument("--keep-calibration", type=Path, help="move the calibration answers here")
    args = parser.parse_args()
    fresh = args.out.parent / ".recording" / args.out.name
    suite = load_suite("logprobs")
    done = {d.name for d in load_baseline(fresh).manifest.deployments} if (fresh / "manifest.json").exists() else set()
    for name, provider in PROVIDERS.items():
        if provider.kind in ("reference", "variant") and name not in done:
            began = time.monotonic()
            with Lab() as lab:
                asyncio.run(
                    record_one(lab, name, "variant" if provider.kind == "variant" else "reference", fresh, suite)
                )
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    recalibrate(fresh, suite, lambda line: print(line, file=sys.stderr, flush=True))
    if args.keep_calibration:
        shutil.move(fresh / "calibration", args.keep_calibration)
    else:
        shutil.rmtree(fresh / "calibration")
    shutil.rmtree(args.out, ignore_errors=True)
    fresh.rename(args.out)
    fresh.parent.rmdir()


if __name__ == "__main__":
    main()
