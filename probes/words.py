"""Draw the words of the `logprobs` suite from WordNet 3.0: `python probes/words.py [--count 48000]`.

Needs Debian's `wordnet-base`. Lower-case entries of one to four words; those whose definition names a slur, sex or
violence are left out. The same seed and the same WordNet give the same file.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent / "logprobs" / "words.txt"
UNWANTED = re.compile(
    r"slur|offensive|obscene|vulgar|disparag|derogat|sexual|genital|copulat|penis|vagina|prostitut|excrement|feces|nazi"
    r"|rape|erotic|ethnic|negro|black person|suicide|torture|kill",
    re.IGNORECASE,
)
ENTRY = re.compile(r"[a-z]+(?:[ '-][a-z]+){0,3}")
LENGTH = range(3, 33)


def entries(folder: Path) -> list[str]:
    """All fitting entries, sorted."""
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            fields = head.split()
            words = {
                re.sub(r"\((?:p|a|ip)\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            }
            if UNWANTED.search(gloss):
                unwanted |= {w.lower() for w in words}
            else:
                wanted |= {w for w in words if len(w) in LENGTH and ENTRY.fullmatch(w)}
    return sorted(wanted - unwanted)


def main() -> None:
    """Write the words, one a line, sorted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--count", type=int, default=48_000)
    parser.add_argument("--seed", type=int, default=20261124)
    args = parser.parse_args()
    drawn = np.random.default_rng(args.seed).choice(entries(args.wordnet), size=args.count, replace=False)
    TARGET.write_text("\n".join(sorted(drawn.tolist())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
