"""Which figures that were asked for are met, read from tables of results."""

from __future__ import annotations

from benchmarks.asked import figures, overview

TABLES = """
`python -m benchmarks detection` (2026-12-01)

**lab-tiny** (what methods were tuned on)

| given | deviation | streams | 100 % of requests | 10 % | 5 % |
|---|---|---|---|---|---|
| top 20, recorded | 4-bit | 1000 | 3 / 4 [3, 3] (asked 3 / 4) | 21 / 39 [18, 20] (asked 20 / 50) | 36 / 83 |
| top 20, recorded | 8-bit | 1000 | 7 / – [7, –] (asked 8 / 20) | – / – | – / – |

On 1300 prompts, of which **many** are sure:

| given | deviation | streams | 1 % |
|---|---|---|---|
| top 5 | fp8 | 1000 | 300 / 1001 (asked 450 / 1000) |

**lab-twin**

| given | deviation | all | half |
|---|---|---|---|
| top 5 | fp8 | 2 / 2 (asked 3 / 4) | 9 / 9 |
"""


def test_a_figure_is_met_if_neither_its_median_nor_its_quantile_is_larger_than_asked() -> None:
    found = list(figures("detection", TABLES))
    assert [(f.model, f.prompts, f.row, f.share, f.is_met) for f in found] == [
        ("lab-tiny", "", "top 20, recorded, 4-bit", "100 %", True),
        ("lab-tiny", "", "top 20, recorded, 4-bit", "10 %", False),
        ("lab-tiny", "", "top 20, recorded, 8-bit", "100 %", False),
        ("lab-tiny", "On 1300 prompts", "top 5, fp8", "1 %", False),
        ("lab-twin", "", "top 5, fp8", "all", True),
    ]


def test_the_overview_names_what_is_not_met() -> None:
    _, _, first, second, third = overview({"detection": TABLES, "timings": "no table"}).splitlines()
    assert first == (
        "| detection | lab-tiny |  | 1 of 3 | top 20, recorded, 4-bit: 10 % 21 / 39 (20 / 50)<br>"
        "top 20, recorded, 8-bit: 100 % 7 / – (8 / 20) |"
    )
    assert second == "| detection | lab-tiny | On 1300 prompts | 0 of 1 | top 5, fp8: 1 % 300 / 1001 (450 / 1000) |"
    assert third == "| detection | lab-twin |  | 1 of 1 |  |"
