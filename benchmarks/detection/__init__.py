"""How soon a deviation shows in what a provider gives: `python -m benchmarks detection`.

Streams of real answers of the lab's engines, folded as `qcheck compare` folds them, thousands of them, looked at after
every request, beside what an oracle and the published methods make of the same answers. Methods were tuned on lab-tiny;
lab-twin, the same architecture from another seed, and the mixture of experts lab-moe are for reporting what was not
tuned on. A model is measured where its recording, calibration answers and all, is on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from baselines import record_lab
from benchmarks.detection.chosen import CERTAIN, FOLLOWED, Choice, chosen
from benchmarks.detection.false_alarms import FalseAlarms
from benchmarks.detection.figure import figure
from benchmarks.detection.longer import longer
from benchmarks.detection.material import ALPHA, gather, prompted, strangers
from benchmarks.detection.power import measure
from benchmarks.detection.published import published
from benchmarks.detection.rows import FRACTIONS, HIDDEN, ON_GRIDS, PROMPTED, ROWS, TOP_5, TOP_20, Row, plainest
from benchmarks.detection.table import (
    consistent_table,
    counted_table,
    false_alarm_table,
    mixture_table,
    oracle_table,
    power_table,
    published_table,
    stranger_table,
)
from qcheck.baselines import Baseline, load_baseline
from qcheck.jsonio import atomic_write
from qcheck.lab.bank import DEFAULT_FOLDER, Bank
from qcheck.suites import Probe, Suite, load_suite

MODELS = {
    "lab-tiny": "what methods were tuned on",
    "lab-twin": "what they were not tuned on, but that positions are looked at by themselves was tried on its answers",
    "lab-moe": "a mixture of experts, on whose answers it was found that jumps and single positions mislead",
}
CHOICES = {"lab-twin": CERTAIN, "lab-moe": FOLLOWED}  # of prompts that a model is measured on besides
FIGURES, BUILD = Path("benchmarks/figures"), Path("build/baselines")
PUBLISHED_FRACTIONS = (1.0, 0.1)
FEWER = 4000  # of chosen calibration prompts that false alarms are counted on: all of them are more than memory holds
SELDOM = 0.05  # from which share on more words are asked, where a figure is asked for

UNUSED = (
    "The formats of the last two rows stand in no other row: whatever was chosen by looking at rows, on lab-tiny, was "
    "chosen by other formats."
)
ORACLE = (
    "The oracle (`benchmarks/detection/oracle.py`): median / 90 % quantile of its requests in the same streams; then "
    "the expected growth of the logarithm of the evidence per request, nats: qcheck's / the oracle's = their ratio "
    "(qcheck's at what the third hit of an event is bet at: two to four decide mostly; where tens do, it grows less). "
    "In parentheses what the same bets would gain that knew how often the honest deployment beside the deviating one "
    "shows each event. Where a ratio is below a half, the way from qcheck's growth to that is the price of null bounds "
    "that hold for all honest deployments at once, noise factor and confidence included; the way from that to the "
    "oracle's is what is lost by looking at a few tail events of three scores and not at their whole distribution."
)
PUBLISHED = (
    "Published methods on the same answers (`benchmarks/detection/published.py`): requests and output tokens to 90 % "
    "power at 1 % false alarms, which are measured; qcheck's 1 % is guaranteed, however often one looks. Their streams "
    "ask all probes in random order, qcheck's those first that are calibrated most deeply."
)
STRANGERS = (
    "Alarms of honest deployments that the baseline does not know, in streams of up to 1500 requests, all null bounds "
    "in use: 10 of 1000 are allowed."
)
ALARMS = (
    "False alarms of honest deployments that the envelope does not know, streams of 1000 requests looked at after each "
    "(`benchmarks/detection/false_alarms.py`). No more than 20 of 2000 are allowed, 12 leave room for chance; nothing "
    "is claimed of a deployment where none as noisy remains."
)


def report() -> str:
    """Tables of power and of false alarms for each model that is recorded, and a figure in a file of its own."""
    suite = load_suite("logprobs")
    tokens = (
        "Requests are answered with four tokens at most, all of whose positions count. qcheck's figures hold those by "
        "which a run asks prompts of deviating answers again, one where most answers deviate and two elsewhere, and "
        "take it that the answers stand, as those of other weights do, but for 8 bits in a part of the requests (part "
        "`evasion`, which asks again)."
    )
    models = (f"**{model}** ({what})\n\n{tables(model, suite)}" for model, what in MODELS.items())
    return "\n\n".join([tokens, *models])


def tables(model: str, suite: Suite) -> str:
    """All tables of one model."""
    recorded, shipped = record_lab.recording(model, suite), Path("baselines", model)
    folder = recorded if (recorded / "calibration.json").exists() else shipped
    how = f"`python -m baselines.record_lab {model} --out build/baselines/{model}`"
    if not (folder / "manifest.json").exists():
        return f"Not recorded here: {how}."
    baseline = load_baseline(folder)
    parts = [_measured(baseline, suite)]
    if found := longer(baseline, suite, BUILD):
        parts.append(_longer(*found, suite))
    if model in CHOICES:
        parts.append(_chosen(model, CHOICES[model], suite))
    alarms = _false_alarms(baseline, suite) if folder == recorded else f"False alarms need calibration answers: {how}."
    return "\n\n".join([*parts, alarms])


def _measured(baseline: Baseline, suite: Suite) -> str:
    """All that needs no calibration answers."""
    material = gather(baseline, bank(baseline, suite, suite.fold("evaluation")))
    cells = measure(material)
    found = published(material, plainest(material.answers), PUBLISHED_FRACTIONS)
    drawn = FIGURES / f"detection-{baseline.manifest.model}.svg"
    atomic_write(drawn, figure(cells, found).encode())
    return "\n\n".join(
        [
            power_table(cells),
            UNUSED,
            ORACLE,
            oracle_table(cells),
            PUBLISHED,
            published_table(cells, found),
            f"![Requests by share of deviating requests](figures/{drawn.name})",
            consistent_table(material),
            mixture_table(material),
        ]
    )


def _longer(baseline: Baseline, words: Sequence[Probe], suite: Suite) -> str:
    rows = [row for row in (*TOP_20, *TOP_5) if len(row.asked) > FRACTIONS.index(SELDOM)]
    material = gather(baseline, bank(baseline, suite, words, rows), rows)
    cells = measure(material, rows, len(words))
    what = (
        f"With an evaluation fold of {len(words)} words, such as a private suite may have, and null bounds counted on "
        f"{material.resolution} others (`benchmarks/detection/longer.py`):"
    )
    return "\n\n".join([what, power_table(cells), oracle_table(cells)])


def _chosen(model: str, choice: Choice, suite: Suite) -> str:
    baseline, dealt = chosen(choice, model, suite, DEFAULT_FOLDER, BUILD, _tell)
    rows, prompts = [*TOP_20, *TOP_5, *ON_GRIDS], dealt.fold("evaluation")
    filled = bank(baseline, suite, prompts, rows, choice.strangers)
    material = gather(baseline, filled, rows, choice.strangers)
    cells = measure(material, rows, len(prompts))
    what = (
        f"On {len(prompts)} prompts {choice.what}, null bounds counted on {material.resolution} others "
        f"(`benchmarks/detection/chosen.py`). References: {', '.join(baseline.names(baseline.references))}. Variants: "
        f"{', '.join(baseline.names(baseline.variants))}; other formats are seen by size alone."
    )
    tried = [*material.honest, *choice.strangers]
    parts = [what, power_table(cells), oracle_table(cells), counted_table(baseline)]
    parts += [mixture_table(material), STRANGERS, stranger_table(material, tried)]
    if choice.left_out:
        few = replace(dealt, probes=(*prompts, *dealt.fold("selection"), *dealt.fold("calibration")[:FEWER]))
        parts.append(f"On these prompts, of which {FEWER} calibrate. {_false_alarms(baseline, few)}")
    return "\n\n".join(parts)


def _false_alarms(baseline: Baseline, suite: Suite) -> str:
    found, honest = FalseAlarms(baseline, suite, ALPHA), baseline.names(baseline.references)
    return f"{ALARMS}\n\n{false_alarm_table(found, honest)}"


def bank(
    baseline: Baseline,
    suite: Suite,
    probes: Sequence[Probe],
    rows: Sequence[Row] = ROWS,
    further: Collection[str] = (),
) -> Bank:
    """Answers to `probes` of those deployments that the baseline does not know, filled first where they are missing."""
    filled = Bank(DEFAULT_FOLDER, baseline.manifest.model, suite, tuple(probes))
    for name in strangers(baseline, rows, further):
        filled.fill(name, _tell)
    for served in HIDDEN.values() if PROMPTED in rows else ():
        prompted(filled).fill(served, _tell)
    return filled


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
