"""Compose the `tools` suite: `python probes/tools/compose.py`.

Every probe is a draw from one population: a situation at random, and what it is about at random. Folds are random parts
of what was drawn, so that probes that calibrate and probes that are asked differ by chance alone, although they share
situations and functions. No two share what is to be called. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from functions import FUNCTIONS
from situations import SITUATIONS, Item

FOLDER = Path(__file__).parent
FOLDS = {"evaluation": 300, "selection": 60, "calibration": 440}


def distinct(rng: random.Random, count: int) -> list[tuple[str, Item]]:
    """Items with the names of their situations; no two say, or call, the same."""
    items: dict[str, tuple[str, Item]] = {}
    while len(items) < count:
        name = rng.choice(list(SITUATIONS))
        item = SITUATIONS[name][1](rng)
        about = json.dumps(sorted(map(json.dumps, item.calls or item.messages)))
        items.setdefault(about, (name, item))
    return list(items.values())


def compose(seed: int) -> list[dict[str, Any]]:
    """The suite's probes, fold by fold."""
    rng = random.Random(seed)  # noqa: S311  (a draw, no secret)
    items = iter(distinct(rng, sum(FOLDS.values())))
    return [_probe(f"{fold}-{number}", fold, *next(items)) for fold, count in FOLDS.items() for number in range(count)]


def _probe(number: str, fold: str, name: str, item: Item) -> dict[str, Any]:
    calls = [{"name": called, "arguments": arguments} for called, arguments in item.calls]
    probe_id = f"tools-{number}"
    return {
        "id": probe_id,
        "cluster": probe_id,
        "fold": fold,
        "messages": item.messages,
        "tags": {"situation": name},
        "answer": {"kind": "tool_calls", "value": calls},
        "level": SITUATIONS[name][0],
        "tools": item.tools,
    }


def main() -> None:
    """Write `suite.json` and `probes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261128)
    seed = parser.parse_args().seed
    manifest = {
        "name": "tools",
        "version": "1.0.0",
        "licence": "CC0-1.0",
        "description": "Requests for which it is clear which functions are to be called, with which arguments.",
        "observes": ["tool_calls", "prompt_tokens"],
        "max_tokens": 512,
        "top_logprobs": 0,
        "generator": f"python probes/tools/compose.py --seed {seed}",
        "tools": FUNCTIONS,
    }
    (FOLDER / "suite.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in compose(seed))
    (FOLDER / "probes.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
