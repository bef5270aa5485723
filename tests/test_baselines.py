from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from qcheck.baselines import (
    Answer,
    BaselineManifest,
    DeploymentEntry,
    SuiteEntry,
    answer_of,
    find_baseline,
    list_baselines,
    list_floor,
    load_baseline,
    read_answers,
    save_manifest,
    write_answers,
)
from qcheck.errors import BaselineError, UnknownNameError
from qcheck.jsonio import content_hash
from qcheck.packing import pack
from qcheck.records import Position, Response
from qcheck.suites import shipped_folder
from qcheck.tailcounts import FORMAT, NARROWEST


def answer(prompt_tokens: int | None, *positions: tuple[str, dict[str, float]]) -> Answer:
    return Answer(prompt_tokens, tuple(Position(token, top[token], tuple(top.items())) for token, top in positions))


A = {"=a": -0.5, "=b": -1.5, "#3": -math.inf}
B = {"=c": -0.25, "=d": -2.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two deployments; the second takes another token first, and disagrees with itself on prompt tokens of q."""
    target = tmp_path / "mine"
    again = answer(9, ("=a", {**A, "=a": -0.7}), ("=d", B), ("=a", A))
    first = {"p": [answer(9, ("=a", A), ("=c", B)), again], "q": [answer(5, ("=a", A))]}
    second = {"p": [answer(9, ("=b", A), ("=d", B))], "q": [answer(5, ("=a", A)), answer(6, ("=a", A))]}
    entries = [
        DeploymentEntry(
            name=name, role="reference", description="", provenance="self-hosted", recorded="2026-11-23T00:00:00+00:00",
            endpoint="x", reported_model=None, fingerprint=None, repeats=2, temperature=0.0,
            answers=write_answers(target, "deployments", name, answers), calibration=None,
        )
        for name, answers in (("one", first), ("two", second))
    ]  # fmt: skip
    suite = SuiteEntry(name="s", version="1.0.0", hash="sha256:" + "0" * 64)
    save_manifest(target, BaselineManifest(format=2, model="m", suite=suite, deployments=entries))
    return target


def test_positions_are_kept_as_the_paths_of_first_answers(folder: Path) -> None:
    """Calibration knows no others; the second answer of the first deployment goes on along another path."""
    reference = load_baseline(folder).probe("p")
    assert reference is not None
    assert set(reference.nodes) == {(), ("=a",), ("=b",)}
    root = reference.nodes[()]
    assert root.values[0, root.tokens["=a"]] == pytest.approx(-0.5)
    assert root.floors[0] == pytest.approx(-1.5)
    assert "#3" not in root.tokens  # a probability of zero is "not listed"
    assert math.isnan(reference.nodes[("=a",)].floors[1])  # the second deployment never went there


def test_prompt_tokens_count_only_where_all_agree(folder: Path) -> None:
    baseline = load_baseline(folder)
    p, q = baseline.probe("p"), baseline.probe("q")
    assert p is not None
    assert q is not None
    assert p.prompt_tokens([0, 1]) == 9
    assert q.prompt_tokens([0]) == 5
    assert q.prompt_tokens([0, 1]) is None
    assert baseline.probe("unknown") is None


def test_a_sampled_token_beside_the_best_sets_no_floor() -> None:
    """Some providers list the k best tokens and the one that was taken, however unlikely it is."""
    best = (("=a", -0.5), ("=b", -1.5), ("=c", -9.0))
    assert list_floor(Position("=c", -9.0, best)) == -1.5
    assert list_floor(Position("=a", -0.5, best)) == -9.0
    assert list_floor(Position("=a", -0.5, best[:1])) == -0.5
    assert math.isnan(list_floor(Position("=a", None, ())))


def test_nodes_tell_what_each_deployment_lists(folder: Path) -> None:
    reference = load_baseline(folder).probe("p")
    assert reference is not None
    after_b = reference.nodes[("=b",)]
    assert dict(after_b.tokens) == {"=c": 0, "=d": 1}
    assert after_b.values.tolist()[1] == [-0.25, -2.0]
    assert all(math.isnan(value) for value in after_b.values[0])
    assert after_b.floors[1] == -0.25  # =d was taken


def test_text_is_kept_where_it_is_asked_for() -> None:
    position = Position("=a", -0.123456789, (("=a", -0.123456789),))
    response = Response("a", (position,), 3, 1, None, "stop", "m", None)
    assert answer_of(response) == Answer(3, (Position("=a", -0.12346, (("=a", -0.12346),)),))
    assert answer_of(response, with_text=True).text == "a"


def test_calibration_answers_are_the_first_ones_and_may_be_left_out(folder: Path) -> None:
    answers = {"c": [answer(4, ("=a", A)), answer(5, ("=a", A))]}
    manifest = load_baseline(folder).manifest
    one, two = manifest.deployments
    one = one.model_copy(update={"calibration": write_answers(folder, "calibration", "one", answers)})
    save_manifest(folder, manifest.model_copy(update={"deployments": [one, two]}))
    assert load_baseline(folder).calibration_answers(0) == {"c": answer(4, ("=a", A))}
    assert load_baseline(folder).calibration_answers(1) is None
    (folder / "calibration" / "one.answers").unlink()
    assert load_baseline(folder).calibration_answers(0) is None


def test_any_changed_byte_is_noticed(folder: Path) -> None:
    path = folder / "deployments" / "two.answers"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BaselineError, match="hash"):
        load_baseline(folder).probe("p")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"no answers", "two.answers is damaged"), (pack({"p": [answer(9)]}), "has 1 probes, its manifest says 2")],
)
def test_a_damaged_file_is_one_clear_sentence_although_its_hash_is_right(folder: Path, data: bytes, said: str) -> None:
    (folder / "deployments" / "two.answers").write_bytes(data)
    file = load_baseline(folder).manifest.deployments[1].answers.model_copy(update={"hash": content_hash(data)})
    with pytest.raises(BaselineError, match=said) as caught:
        read_answers(folder, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": NaN}', "\x00"])
def test_damaged_manifests_are_one_clear_sentence(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BaselineError) as caught:
        load_baseline(folder)
    assert "\n" not in str(caught.value)


def calibrate(folder: Path, table: dict[str, object]) -> None:
    raw = json.dumps(table).encode()
    (folder / "calibration.json").write_bytes(raw)
    manifest = load_baseline(folder, calibrated=False).manifest
    save_manifest(folder, manifest.model_copy(update={"calibration_hash": content_hash(raw)}))


@pytest.mark.parametrize(("noise", "counts"), [(NARROWEST, True), (0.99 * NARROWEST, False)])
def test_a_table_of_references_that_hardly_differ_counts_for_nothing(folder: Path, noise: float, counts: bool) -> None:
    shipped = load_baseline(shipped_folder("baselines") / "lab-tiny").table
    assert shipped is not None
    calibrate(folder, shipped.model_copy(update={"noise_unit": noise}).model_dump())
    assert (load_baseline(folder).table is not None) == counts


def test_a_damaged_table_is_one_clear_sentence_although_its_hash_is_right(folder: Path) -> None:
    empty = {
        "noise_factor": 1.5,
        "noise_unit": None,
        "most": None,
        "noise_rms": None,
        "envelope_kl": None,
        "variant_kl": {},
    }
    for version, said in (
        ({}, "another version of qcheck"),
        ({"format": FORMAT}, r"CalibrationTable\.events: .* at least 1 item"),
    ):
        calibrate(folder, {**version, **empty, "events": []})
        assert load_baseline(folder, calibrated=False).table is None
        with pytest.raises(BaselineError, match=said) as caught:
            load_baseline(folder)
        assert "\n" not in str(caught.value)


def test_paths_that_leave_the_folder_are_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["deployments"][0]["answers"]["path"] = "../../etc/passwd.answers"
    path.write_text(json.dumps(manifest))
    with pytest.raises(BaselineError):
        load_baseline(folder)


def test_the_nearest_root_wins_and_unknown_names_get_suggestions(folder: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    assert list_baselines([tmp_path, far]) == {"mine": folder}
    assert find_baseline("mine", [tmp_path]).folder == folder
    assert find_baseline(str(folder), []).name == "mine"
    with pytest.raises(UnknownNameError, match="did you mean mine"):
        find_baseline("mind", [tmp_path])
