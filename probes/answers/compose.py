"""Compose the `answers` suite: `python probes/answers/compose.py`.

Most questions come from the templates in `families/`, whose answers are computed in two ways; the others are written by
hand in `written.jsonl`. A template is a cluster of its own, as is each written question; clusters are dealt out to the
folds level by level. The same seed and the same files give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from families import FAMILIES, ask, draw, end_line

from qcheck.jsonio import to_plain

FOLDER = Path(__file__).parent
# Calibration has the most: what bounds tail probabilities is its clusters, of which it needs a hundred.
SHARES = {"evaluation": 0.36, "selection": 0.06, "calibration": 0.58}


def generated(seed: int, per_family: int) -> list[dict[str, object]]:
    """Probes without folds, of all templates."""
    return [
        {
            "id": f"{name}-{number}",
            "cluster": name,
            "messages": [{"role": "user", "content": item.prompt}],
            "tags": {"language": item.language, "topic": template.subject},
            "answer": to_plain(item.answer),
            "level": template.level,
        }
        for name, template in FAMILIES.items()
        for number, item in enumerate(draw(template, seed, per_family), 1)
    ]


def written() -> list[dict[str, object]]:
    """Probes without folds, of all questions written by hand."""
    rows = [json.loads(line) for line in (FOLDER / "written.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {
            "id": row["id"],
            "cluster": row["id"],
            "messages": [{"role": "user", "content": ask(row["question"], _end(row))}],
            "tags": {"language": row["language"], "topic": row["topic"]},
            "answer": row["answer"],
            "level": row["level"],
        }
        for row in rows
    ]


def _end(row: dict[str, str | dict[str, str]]) -> str:
    answer, hint = row["answer"], row.get("hint")
    assert isinstance(answer, dict)
    return end_line(answer["kind"], str(row["language"]), str(hint) if hint else None)


def deal(probes: list[dict[str, object]], seed: int) -> dict[object, str]:
    """The fold of each cluster: of every level each fold gets its share of the probes, as far as clusters allow."""
    rng = np.random.default_rng(seed)
    folds: dict[object, str] = {}
    for level in sorted({int(str(p["level"])) for p in probes}):
        members = [p["cluster"] for p in probes if p["level"] == level]
        clusters = sorted(set(members), key=str)
        filled = dict.fromkeys(SHARES, 0)
        for index in rng.permutation(len(clusters)):
            fold = min(SHARES, key=lambda f: (filled[f] + 1) / SHARES[f])
            folds[clusters[index]] = fold
            filled[fold] += members.count(clusters[index])
    return folds


def compose(seed: int, per_family: int) -> list[dict[str, object]]:
    """The suite's probes in the order of their ids."""
    probes = generated(seed, per_family) + written()
    folds = deal(probes, seed)
    ordered = sorted(probes, key=lambda p: str(p["id"]))
    return [{"id": p["id"], "cluster": p["cluster"], "fold": folds[p["cluster"]]} | p for p in ordered]


def main() -> None:
    """Write `suite.json` and `probes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--per-family", type=int, default=3, help="questions drawn from each template")
    args = parser.parse_args()
    manifest = {
        "name": "answers",
        "version": "1.1.0",
        "licence": "CC0-1.0",
        "description": "Questions with one right answer that can be checked without judging, in five levels.",
        "observes": ["answers", "prompt_tokens"],
        "max_tokens": 256,
        "top_logprobs": 0,
        "generator": f"python probes/answers/compose.py --seed {args.seed} --per-family {args.per_family}",
    }
    (FOLDER / "suite.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in compose(args.seed, args.per_family))
    (FOLDER / "probes.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
