"""Error rates and requests to a verdict, over seeds that nothing was tuned on."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from benchmarks.arena import open_arena


@dataclass(frozen=True, slots=True)
class Arm:
    """One line of the table: lab providers taken in turn, and how many seeds."""

    label: str
    providers: tuple[str, ...]
    seeds: int
    asked: str


ARMS = (
    Arm(
        "honest, not in the baseline",
        ("honest-b", "honest-c", "honest-torch-b"),
        102,
        "≤ 2 deviate, ≥ 95 consistent, median ≤ 400",
    ),
    Arm("Q4_K_M", ("q4_k_m",), 40, "always deviates, median ≤ 6"),
    Arm("10 % routed to Q4_K_M", ("q4_k_m?route=0.1",), 40, "median ≤ 80"),
    Arm("fp8, f32 and bf16 arithmetic", ("fp8", "fp8-bf16"), 40, "–"),
    Arm("Q6_K", ("q6_k",), 40, "–"),
    Arm("Q8_0", ("q8_0",), 40, "–"),
    Arm("Q2_K", ("q2_k",), 40, "–"),
    Arm("fine-tuned copy", ("finetuned",), 40, "–"),
    Arm("hidden system prompt", ("honest?system=Be+brief.",), 40, "–"),
    Arm("5 % routed to Q4_K_M", ("q4_k_m?route=0.05",), 40, "–"),
    Arm("10 % routed to the fine-tuned copy", ("finetuned?route=0.1",), 40, "–"),
)
FIRST_SEED = 1000


def measure() -> pd.DataFrame:
    """One row per run: arm, provider, seed, verdict, answers until it, likely cause."""
    rows = []
    with open_arena() as arena:
        for arm in ARMS:
            for i in range(arm.seeds):
                name = arm.providers[i % len(arm.providers)]
                result = arena.run([name], FIRST_SEED + i).providers[0]
                named = result.nearest[0].variant if result.nearest else ""
                rows.append((arm.label, name, FIRST_SEED + i, result.verdict, result.deviating.of, named))
            print(f"{arm.label}: done", flush=True)
    return pd.DataFrame(rows, columns=["arm", "provider", "seed", "verdict", "answers", "named"])


def report() -> str:
    """The table in Markdown."""
    runs = measure()
    lines = [
        "| provider | seeds | deviates | consistent | inconclusive | answers: median | 90 % | largest | asked |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in ARMS:
        mine = runs[runs.arm == arm.label]
        verdicts = mine.verdict.value_counts()
        counts = " | ".join(str(verdicts.get(v, 0)) for v in ("deviates", "consistent", "inconclusive"))
        spread = " | ".join(f"{mine.answers.quantile(q):.0f}" for q in (0.5, 0.9, 1.0))
        lines.append(f"| {arm.label} | {len(mine)} | {counts} | {spread} | {arm.asked} |")
    deviating = runs[(runs.verdict == "deviates") & runs.provider.isin(["q4_k_m", "q6_k", "q8_0", "q2_k", "finetuned"])]
    right = (deviating.named == deviating.provider).groupby(deviating.provider).mean()
    named = ", ".join(f"{provider} {share:.0%}" for provider, share in right.items())
    return "\n".join(
        [*lines, "", f"Named rightly as the most probable recorded variant when the run stopped: {named}."]
    )
