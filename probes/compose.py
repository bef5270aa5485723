"""Compose the `logprobs` suite from its parts: `python probes/compose.py [--per-part N]`.

A probe is one part inside one frame. The suite has two strata:

* `written`: a part is a hand-written question, passage or piece of code in `logprobs/parts/*.jsonl`, a frame is how a
  user would put it. Parts and frames are dealt out so that calibration and evaluation share neither, but for the
  empty frame that passes the part on as it is. With `--per-part` each part appears in several frames, so the suite
  grows without new parts (clusters stay what they are).
* `words`: a part is one of 48,000 words of `logprobs/words.txt`, drawn without replacement, a frame one of 48, drawn
  anew for every word. The frames are fixed for all folds, so that evaluation probes are draws from exactly the
  population that was calibrated, and words beyond those of the suite serve to calibrate deeply (`further`).

Every part is a cluster of its own. The same seed and the same parts give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "logprobs"
# Shares of the parts: asked in comparisons, choosing thresholds, bounding tail probabilities.
SHARES = {"evaluation": 0.30, "selection": 0.12, "calibration": 0.58}
WORDS = {"evaluation": 800, "selection": 600, "calibration": 1600}
VERSION = "2.0.0"
SEED = 20261123


def words(seed: int) -> Iterator[dict[str, object]]:
    """Probes of all words in random order, without a fold."""
    rng = np.random.default_rng([seed, 1])
    frames, parts = _frames_and_words()
    for index in rng.permutation(len(parts)):
        yield _word(index, frames[int(rng.integers(len(frames)))].replace("{}", parts[index]))


def further(count: int, seed: int = SEED) -> list[dict[str, object]]:
    """Calibration probes of the stratum `words` beyond those of the suite."""
    start = sum(WORDS.values())
    return [{**probe, "fold": "calibration"} for probe in islice(words(seed), start, start + count)]


def framed(count: int, turns: int, seed: int = SEED) -> list[dict[str, object]]:
    """The words of `further`, each in so many different frames: a pool to mine. Prompts of one word are one cluster."""
    rng = np.random.default_rng([seed, 2])
    frames, parts = _frames_and_words()
    start, order = sum(WORDS.values()), np.random.default_rng([seed, 1]).permutation(len(parts))
    return [
        {**_word(index, frames[frame].replace("{}", parts[index])), "id": f"word-{index + 1:05d}-{turn}"}
        for index in order[start : start + count]
        for turn, frame in enumerate(rng.permutation(len(frames))[:turns].tolist(), 1)
    ]


def _frames_and_words() -> tuple[list[str], list[str]]:
    frames = json.loads((FOLDER / "frames.json").read_text(encoding="utf-8"))["any fold"]["word"]
    return frames, (FOLDER / "words.txt").read_text(encoding="utf-8").splitlines()


def _word(index: int, text: str) -> dict[str, object]:
    name = f"word-{index + 1:05d}"
    return {
        "id": name,
        "cluster": name,
        "stratum": "words",
        "messages": [{"role": "user", "content": text}],
        "tags": {"kind": "word"},
    }


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
                        "stratum": "written",
                        "messages": [{"role": "user", "content": frame.replace("{}", part["text"])}],
                        "tags": {k: part[k] for k in ("kind", "language", "register", "topic")},
                    }
                )
    folds = [fold for fold, count in WORDS.items() for _ in range(count)]
    probes += [{**probe, "fold": fold} for probe, fold in zip(words(seed), folds, strict=False)]
    unique = {str(p["messages"]): p for p in probes}  # the same frame may be drawn twice for a part
    return sorted(unique.values(), key=lambda p: str(p["id"]))


def main() -> None:
    """Write `suite.json` and `probes.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--per-part", type=int, default=1, help="frames per part (1: every probe its own cluster)")
    args = parser.parse_args()
    probes = compose(args.seed, args.per_part)
    manifest = {
        "name": "logprobs",
        "version": VERSION,
        "licence": "CC0-1.0; the words are from WordNet 3.0 (see NOTICE)",
        "description": "Natural, varied prompts whose next tokens are open: registers, topics, languages, code, "
        "single words.",
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
