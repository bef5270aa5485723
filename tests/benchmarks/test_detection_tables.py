"""The detection benchmark's comparison with the published methods, its figure and its tables, on a few real answers."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.detection import table
from benchmarks.detection.draws import Stops
from benchmarks.detection.figure import figure
from benchmarks.detection.material import ALPHA, Material
from benchmarks.detection.oracle import Growth
from benchmarks.detection.power import Cell, measure
from benchmarks.detection.published import Needed, published
from benchmarks.detection.rows import ROWS, Row, plainest
from benchmarks.detection.table import (
    consistent_table,
    counted_table,
    mixture_table,
    oracle_table,
    power_table,
    published_table,
)
from qcheck.baselines import load_baseline, read_answers
from qcheck.evidence.envelope import freeze
from qcheck.evidence.scoring import Yardstick
from qcheck.evidence.views import VIEWS
from qcheck.suites import load_suite, shipped_folder

HONEST, PROBES, RESOLUTION = ("honest-torch-bf16", "honest-f32"), 60, 41_600


@pytest.fixture(scope="module")
def material() -> Material:
    """Two reference deployments stand for such as the baseline does not know."""
    baseline = load_baseline(shipped_folder("baselines") / "lab-tiny")
    assert baseline.table is not None
    assert baseline.table.noise_unit is not None
    kept = [d for d in baseline.manifest.deployments if d.role == "reference" or d.name in ("q2_k", "other-model")]
    answers = {d.name: read_answers(baseline.folder, d.answers) for d in kept}
    probes = load_suite("logprobs").fold("evaluation")[:PROBES]
    return Material(
        baseline, freeze(baseline.table, ALPHA), Yardstick.of(baseline), RESOLUTION, probes, HONEST, answers
    )


def row(candidate: str) -> Row:
    return Row("everything", "full", candidate, {candidate: candidate}, False)


def test_the_published_methods_see_a_crude_change_and_no_honest_one(material: Material) -> None:
    found = published(material, [row("q2_k"), row("honest-f32")], (1.0,))
    by_change = {
        change: {n.method: n.requests for n in found if n.row.deviation == change} for change in ("q2_k", "honest-f32")
    }
    assert by_change["q2_k"]["log-probability tracking"] == 2
    assert by_change["q2_k"]["border inputs"] is not None
    assert by_change["q2_k"]["Token-DiFR margin"] is not None
    assert set(by_change["honest-f32"].values()) == {None}
    assert len(by_change["q2_k"]) == 6
    assert {n.method: n.tokens for n in found}["Token-DiFR margin"] == 4


def test_rows_whose_candidates_a_model_lacks_are_left_out(material: Material) -> None:
    assert [r.deviation for r in plainest(material.answers)] == ["other model"]
    cells = measure(material)
    assert {tuple(cell.row.of(material.answers)) for cell in cells} == {("other-model",), ("q2_k",)}
    at_all = next(cell for cell in cells if cell.fraction == 1.0)
    assert at_all.ours.quantile(0.5) == at_all.oracle.quantile(0.5) + 1 == 3  # the one that is asked again
    assert 0.3 < at_all.growth.ours / at_all.growth.oracle < 1
    table, beside = power_table(cells), oracle_table(cells)
    assert "| top 20, not recorded | other model | 1000 | 3 / 3 [3, 3] (asked 3 / 4) |" in table
    assert "| top 20, not recorded | other model | 2 / 2; " in beside


def test_honest_deployments_are_consistent_and_their_mixtures_raise_no_alarm(material: Material) -> None:
    for line in consistent_table(material).splitlines()[2:]:
        assert line.split(" | ")[-2:] == ["– / –", "92 |"]  # more requests than there are probes here
    for line in mixture_table(material).splitlines()[2:]:
        assert line.split(" | ")[2] == "0"


def test_of_strangers_who_deviates_raises_alarms(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "STREAMS", 20)
    monkeypatch.setattr(table, "VIEWS", [view for view in VIEWS if view.name in ("full", "top5")])
    assert table.stranger_table(material, ("honest-f32", "q2_k")).splitlines() == [
        "| honest, not known | full | top5 | of streams |",
        "|---|---|---|---|",
        "| honest-f32 | 0 | 0 | 20 |",
        "| q2_k | 20 | 20 | 20 |",
    ]


def test_it_is_told_who_bounds_what_all_may_show(material: Material) -> None:
    table = counted_table(material.baseline)
    assert "| direction | 2.25 | words | 10 of 41600 | honest-torch-bf16 5, honest-torch-bf16-batch 5 |" in table
    assert "| direction | 2.25 | written | 0 of 1440 | – |" in table


def cells_of(row: Row, requests: int) -> list[Cell]:
    found = Stops(np.full(10, requests), 1500)
    return [Cell(row, fraction, found, found, Growth(1.0, 1.5, 2.0)) for fraction in (1.0, 0.1)]


def test_the_table_of_published_methods_says_what_is_not_reached() -> None:
    r = ROWS[0]
    found = [Needed(r, 1.0, "some method", 3, 20), Needed(r, 0.1, "some method", 3, None)]
    lines = published_table(cells_of(r, 7), found).splitlines()
    assert lines[0] == "| deviation | method | 100 %: requests | tokens | 10 %: requests | tokens |"
    assert lines[2] == "| 4-bit | qcheck | 7 | 28 | 7 | 28 |"
    assert lines[3] == "| 4-bit | some method | 20 | 60 | not reached | – |"


def test_the_figure_has_a_panel_for_each_deviation_and_no_point_for_what_is_not_reached() -> None:
    r = row("less < more")
    found = [Needed(r, 1.0, "some method", 3, 20), Needed(r, 0.1, "some method", 3, None)]
    drawn = ElementTree.fromstring(figure(cells_of(r, 7), found))
    name = "{http://www.w3.org/2000/svg}"
    (panel,) = drawn.findall(f"{name}g")
    # qcheck 2, oracle 2, the second deviating answer at four fractions, the method once
    assert len(panel.findall(f"{name}circle")) == 2 + 2 + 4 + 1
    assert "less < more" in [t.text for t in panel.findall(f"{name}text")]
