"""Compose the `lab-answers` suite from the lab's tasks: `python probes/lab-answers/compose.py`.

How many tasks of each family and difficulty are drawn is chosen such that the lab's models are right on about two
thirds: what they always or never get tells little. A probe's level is how often `lab-tiny` (F16, greedy) was right on
such tasks: 1 from 95 %, 2 from 75 %, 3 from 50 %, 4 below. No two probes share their operands, so that folds do not
either. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qcheck.lab.training.tasks import COLOURS, NAMES, THINGS, WORDS, Task, generate

FOLDER = Path(__file__).parent
FOLDS = {"evaluation": 640, "selection": 320, "calibration": 1600}
# Tasks drawn and the probes' level, by family and the task's own level.
MIXTURE = {
    ("addition", 1): (80, 3),
    ("addition", 2): (70, 4),
    ("subtraction", 2): (60, 4),
    ("comparison", 2): (260, 1),
    ("comparison", 3): (400, 2),
    ("copying", 3): (150, 2),
    ("sorting", 2): (380, 2),
    ("sorting", 3): (440, 3),
    ("holder", 3): (70, 1),
    ("colour", 1): (250, 3),
    ("colour", 2): (180, 4),
    ("colour", 3): (100, 4),
    ("position", 3): (60, 1),
    ("parity", 3): (60, 1),
}
OPERANDS = frozenset(NAMES) | frozenset(THINGS) | frozenset(WORDS) | frozenset(COLOURS)


def operands(task: Task) -> tuple[str, ...]:
    """What a task is about: its numbers, names and things, in order, without the phrases around them."""
    words = re.findall(r"\w+", task.prompt)
    return (task.family, *(word for word in words if word.isdigit() or word in OPERANDS))


def distinct_tasks(rng: np.random.Generator) -> Iterator[tuple[Task, int]]:
    """Tasks of the mixture with their levels; no two have the same operands."""
    seen: set[tuple[str, ...]] = set()
    for (family, difficulty), (count, level) in MIXTURE.items():
        wanted = len(seen) + count
        while len(seen) < wanted:
            task = generate(rng, family, difficulty)
            if operands(task) not in seen:
                seen.add(operands(task))
                yield task, level


def expected(task: Task) -> dict[str, object]:
    """A task's answer as the suite writes it."""
    match task.family:
        case "addition" | "subtraction" | "comparison":
            return {"kind": "integer", "value": int(task.answer)}
        case "sorting":
            return {"kind": "list", "value": task.answer.split(", ")}
        case "copying":
            return {"kind": "text", "value": task.answer}
        case "parity":
            return {"kind": "word", "value": task.answer, "among": ["yes", "no"]}
        case _:
            return {"kind": "word", "value": task.answer}


def compose(seed: int) -> list[dict[str, object]]:
    """The suite's probes in the order of their ids."""
    rng = np.random.default_rng(seed)
    drawn = list(distinct_tasks(rng))
    folds = rng.permutation([fold for fold, count in FOLDS.items() for _ in range(count)])
    numbers: dict[str, int] = {}
    probes: list[dict[str, object]] = []
    for (task, level), fold in zip(drawn, folds.tolist(), strict=True):
        numbers[task.family] = numbers.get(task.family, 0) + 1
        name = f"{task.family}-{numbers[task.family]:04d}"
        probes.append(
            {
                "id": name,
                "cluster": name,
                "fold": fold,
                "messages": [{"role": "user", "content": task.prompt}],
                "tags": {"family": task.family, "difficulty": str(task.level)},
                "answer": expected(task),
                "level": level,
            }
        )
    return sorted(probes, key=lambda p: str(p["id"]))


def main() -> None:
    """Write `suite.json` and `probes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261124)
    seed = parser.parse_args().seed
    manifest = {
        "name": "lab-answers",
        "version": "1.0.0",
        "licence": "CC0-1.0",
        "description": "Small tasks of the kind that the lab's models were taught, with the only right answer.",
        "observes": ["answers", "prompt_tokens"],
        "max_tokens": 24,
        "top_logprobs": 0,
        "generator": f"python probes/lab-answers/compose.py --seed {seed}",
    }
    (FOLDER / "suite.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in compose(seed))
    (FOLDER / "probes.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
