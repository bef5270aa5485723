"""`python -m benchmarks trackllm [--data DIR]`: measure, and write the numbers into docs/studies/trackllm.md.

The document's words are written by hand; what stands between `<!-- begin X -->` and `<!-- end X -->` is made here.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.trackllm.changes import find_changes
from benchmarks.trackllm.dates import clean_cuts
from benchmarks.trackllm.distances import total_variation
from benchmarks.trackllm.figures import Timeline, cuts_figure, timeline_figure
from benchmarks.trackllm.noise import MODE_TV
from benchmarks.trackllm.recordings import load_published, load_recordings
from benchmarks.trackllm.tables import ALPHA, changes_part, dates_part, noise_part, pairs_part, rare_part
from qcheck.errors import ConfigurationError, QcheckError
from qcheck.jsonio import atomic_write

__all__ = ["main", "measure", "write"]

DATA = Path("../shared/data/trackllm")
DOCUMENT = Path(__file__).parents[2] / "docs" / "studies" / "trackllm.md"
LLAMA = "llama-3.3-70b-instruct"


def measure(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The document's parts by name, and the figures by file name. Raises ConfigurationError for damaged data."""
    recordings, events = load_recordings(folder), load_published(folder)
    llama = [r for r in recordings if r.model == LLAMA]
    if len(llama) < 2:
        raise ConfigurationError(f"{folder} holds fewer than two providers of {LLAMA}: use the whole folder.")
    changes = [find_changes(r, ALPHA, np.random.default_rng(0)) for r in recordings]
    published = [events.get(r.name, ()) for r in recordings]
    parts = {
        "noise": noise_part(recordings),
        "dates": dates_part(llama),
        "pairs": pairs_part(llama),
        "rare": rare_part(recordings),
        "changes": changes_part(recordings, changes, published),
    }
    shares = {r.name: [clean / pairs for clean, pairs in (clean_cuts(r, hour) for hour in range(24))] for r in llama}
    panels = []
    for r, found, known in zip(recordings, changes, published, strict=True):
        main = r.lists[[int(np.argmax(r.counts))]]
        far = total_variation(r.lists, main)[:, 0]
        if far.max() > MODE_TV:
            large = [r.times[c.at] for c in found if c.tv > MODE_TV]
            panels.append(Timeline(r.name, r.times, far[r.index], large, known))
    return parts, {"trackllm-cuts.svg": cuts_figure(shares), "trackllm-timelines.svg": timeline_figure(panels)}


def write(document: Path, parts: Mapping[str, str], figures: Mapping[str, str]) -> None:
    """Put the parts where the document has room for them, and the figures beside it.

    Raises ConfigurationError for a document that is not there or has not exactly these parts, StorageError.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read {document}: restore it from the repository.") from error
    places = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", flags=re.S)
    if sorted(match[2] for match in places.finditer(text)) != sorted(parts):
        raise ConfigurationError(f"{document} has not room for exactly {', '.join(parts)}: restore its marks.")
    atomic_write(document, places.sub(lambda match: f"{match[1]}\n{parts[match[2]]}\n\n{match[3]}", text))
    for name, figure in figures.items():
        atomic_write(document.parent / name, figure)


def main(arguments: Sequence[str]) -> int:
    """Measure and write; returns the exit code, 2 where the data are not there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trackllm", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help=f"TrackLLM's folder; {DATA} unless given")
    folder = parser.parse_args(arguments).data
    try:
        write(DOCUMENT, *measure(folder))
    except QcheckError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
