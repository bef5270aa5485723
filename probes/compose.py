"""Compose the `logprobs` suite from its hand-written parts: `python probes/compose.py [--per-part N]`.

A probe is one part inside one frame. A part is a question, a passage or a piece of code in `logprobs/parts/*.jsonl`;
a frame is how a user would put it. Parts and frames are dealt out so that calibration and evaluation share neither,
but for the empty frame that passes the part on as it is. Every part is a cluster of its own. The same seed and the
same parts give the same bytes; with `--per-part` each part appears in several frames, so the suite grows without
new parts (clusters stay what they are).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "logprobs"
# Shares of the parts: asked in comparisons, choosing thresholds, bounding tail probabilities.
SHARES = {"evaluation": 0.30, "selection": 0.12, "calibration": 0.58}
VERSION = "1.0.0"


def compose(seed: int, per_part: int) -> list[dict[str, object]]:
    """The suite's probes in the order of their ids."""
    rng = np.random.default_rng(seed)
    frames = json.loads((FOLDER / "frames.json").read_text(encoding="utf-8"))
    probes: list[dict[str, object]] = []
    for path in sorted((FOLDER / "parts").glob("*.jsonl")):
        parts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        edges = np.cumsum([round(len(parts) * s) for s in SHARES.values()])
        for rank, index in enumerate(rng.permutation(len(parts))):
            part, fold = parts[index], list(SHARES)[min(int(np.searchsorted(edges, rank, side="right")), 2)]
            choices = frames["evaluation" if fold == "evaluation" else "calibration"][part["kind"]]
            for turn, frame in enumerate(rng.choice(choices, size=per_part).tolist()):
                probes.append(
                    {
                        "id": f"{path.stem}-{index + 1:04d}" + (f"-{turn + 1}" if turn else ""),
                        "cluster": f"{path.stem}-{index + 1:04d}",
                        "fold": fold,
                        "messages": [{"role": "user", "content": frame.replace("{}", part["text"])}],
                        "tags": {k: part[k] for k in ("kind", "language", "register", "topic")},
                    }
                )
    unique = {str(p["messages"]): p for p in probes}  # the same frame may be drawn twice for a part
    return sorted(unique.values(), key=lambda p: str(p["id"]))


def main() -> None:
    """Write `suite.json` and `probes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--per-part", type=int, default=1, help="frames per part (1: every probe its own cluster)")
    args = parser.parse_args()
    probes = compose(args.seed, args.per_part)
    manifest = {
        "name": "logprobs",
        "version": VERSION,
        "licence": "CC0-1.0",
        "description": "Natural, varied prompts whose next tokens are open: registers, topics, languages, code.",
        "observes": ["logprobs", "prompt_tokens"],
        "max_tokens": 4,
        "top_logprobs": 20,
        "generator": f"python probes/compose.py --seed {args.seed} --per-part {args.per_part}",
    }
    (FOLDER / "suite.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in probes)
    (FOLDER / "probes.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
