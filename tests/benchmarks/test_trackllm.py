"""The study of TrackLLM's recordings, on small recordings made here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from benchmarks.trackllm import changes, study
from benchmarks.trackllm.changes import find_changes
from benchmarks.trackllm.dates import clean_cuts, midnight, moves_together, step_window
from benchmarks.trackllm.distances import kl_nats, rms_nats, total_variation
from benchmarks.trackllm.figures import Timeline, timeline_figure
from benchmarks.trackllm.noise import modes, neighbours, on_lattice, rare_mode
from benchmarks.trackllm.pairs import compare, log_e_of, sign_flip_p, within
from benchmarks.trackllm.recordings import Recording, load_published, load_recordings, quoted
from qcheck.errors import ConfigurationError
from qcheck.stats.fraction import fraction_upper

START = np.datetime64("2026-08-01T00:30:00")
HOUR = np.timedelta64(1, "h")
FAR = np.log(np.array([[0.5, 0.3, 0.1], [0.5, 0.29, 0.1], [0.2, 0.7, 0.05], [0.1, 0.1, 0.7]]))  # lists 0, 1 of a mode


def recorded(index: Any, lists: NDArray[np.float64] = FAR, start: np.datetime64 = START, **more: Any) -> Recording:
    """An answer an hour, without gaps."""
    times = start + np.arange(len(index)) * HOUR
    tokens = tuple(f"t{i}" for i in range(lists.shape[1]))
    rest: dict[str, Any] = {"model": "m", "provider": "p", "failed": 0, "dropped": 0, **more}
    return Recording(times=times, index=np.asarray(index), tokens=tokens, lists=lists, **rest)


def write_month(
    folder: Path, endpoint: str, lists: list[list[tuple[str, float]]], queries: list[Any], month: str = "2026-08"
) -> Path:
    place = folder / "lt" / endpoint / "x_0" / month
    place.mkdir(parents=True)
    tokens = list(dict.fromkeys(token for listed in lists for token, _ in listed))
    vectors = [{"tokens": [tokens.index(t) for t, _ in listed], "logprobs": [v for _, v in listed]} for listed in lists]
    (place / "logprobs.json").write_text(json.dumps({"seen_tokens": tokens, "seen_logprobs": vectors}))
    (place / "queries.json").write_text(json.dumps(queries))
    (folder / "events.json").write_text("{}")
    return place


LISTS = [
    [("a", -0.5), ("b", -1.5), ("c", -2.5)],
    [("b", -1.5), ("a", -0.5), ("c", -2.5)],  # the same, another token sampled
    [("z", -9.0), ("a", -0.5), ("b", -1.5)],  # the same, a token sampled that is not among the best
    [("z", -9.0), ("a", -0.5), ("b", -1.5), ("c", -2.5)],  # the same, and added to the list
    [("a", -0.25), ("b", -2.0), ("c", -2.5)],
]


class TestRecordings:
    def test_the_sampled_token_makes_no_difference(self, tmp_path: Path) -> None:
        queries = [[f"01 {hour:02d}:00:00", which] for hour, which in enumerate([0, 1, 2, "e0", 3, 4])]
        place = write_month(tmp_path, "org2fname-23b23host2ffp8", LISTS, queries)
        (place / "queries.full.json").write_text(json.dumps([*queries, ["02 00:00:00", 9]]))
        (read,) = load_recordings(tmp_path)
        assert (read.model, read.provider, read.failed, read.dropped) == ("name-23b", "host/fp8", 1, 1)
        assert read.index.tolist() == [0, 0, 0, 0, 1]
        assert read.tokens == ("a", "b")
        np.testing.assert_array_equal(read.lists, [[-0.5, -1.5], [-0.25, -2.0]])
        assert str(read.times[-1]) == "2026-08-01T05:00:00"

    def test_equal_lists_of_two_months_are_one(self, tmp_path: Path) -> None:
        write_month(tmp_path, "m23p", LISTS[:1], [["31 00:00:00", 0]])
        write_month(tmp_path, "m23p", LISTS[3:], [["01 00:00:00", 1], ["01 01:00:00", 0]], "2026-09")
        (read,) = load_recordings(tmp_path)
        assert read.index.tolist() == [0, 1, 0]
        assert read.dates.astype(str).tolist() == ["2026-08-31", "2026-09-01", "2026-09-01"]

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("queries.json", '[["01 00:00:00", 5]]'),  # no such list
            ("queries.json", '[["01 00:00:00", "x0"]]'),
            ("queries.json", '[["01 00:00:00", true]]'),
            ("queries.json", '[["01 00:00:00", 0], ["01 00:00:00", 0]]'),
            ("queries.json", '[["32 00:00:00", 0]]'),
            ("queries.json", '[["01 00:00:00"]]'),
            ("queries.json", '[["01 00:00:00", "e0"]]'),  # no answer at all
            ("queries.json", "["),
            ("logprobs.json", '{"seen_tokens":["a"],"seen_logprobs":[{"tokens":[0,1],"logprobs":[-1,-2]}]}'),
            ("logprobs.json", '{"seen_tokens":["a","a"],"seen_logprobs":[{"tokens":[0,1],"logprobs":[-1,-2]}]}'),
            ("logprobs.json", '{"seen_tokens":["a","b"],"seen_logprobs":[{"tokens":[0,1],"logprobs":[-1,NaN]}]}'),
            ("logprobs.json", '{"seen_tokens":["a","b"],"seen_logprobs":[{"tokens":[0,1],"logprobs":[-1,0.5]}]}'),
            ("logprobs.json", '{"seen_tokens":["a","b"],"seen_logprobs":[{"tokens":[0,1],"logprobs":[-1]}]}'),
            (
                "logprobs.json",
                '{"seen_tokens":["a","b","c"],"seen_logprobs":[{"tokens":[0,1,2],"logprobs":[-1,-3,-2]}]}',
            ),
            ("logprobs.json", " " * (4 * 2**20 + 1)),
        ],
    )
    def test_damaged_files_are_refused(self, tmp_path: Path, file: str, content: str) -> None:
        place = write_month(tmp_path, "m23p", LISTS, [["01 00:00:00", 0]])
        assert load_recordings(tmp_path)
        (place / file).write_text(content)
        with pytest.raises(ConfigurationError):
            load_recordings(tmp_path)

    def test_published_changes_are_named_like_recordings(self, tmp_path: Path) -> None:
        (tmp_path / "events.json").write_text('{"o2fm23p2ffp8": [{"date": "2026-08-16T22:41:59Z", "sigma": 1.0}]}')
        assert load_published(tmp_path) == {"m p/fp8": (np.datetime64("2026-08-16T22:41:59"),)}

    @given(st.text())
    def test_no_token_can_act_in_markdown(self, token: str) -> None:
        shown = quoted(token)
        inside = shown.removesuffix("…")[1:-1]
        assert shown.isprintable()
        assert not set(inside) & set("|`<>&\n")


class TestDistances:
    def test_total_variation_is_half_the_absolute_difference(self) -> None:
        np.testing.assert_allclose(total_variation(FAR[:1], FAR), [[0, 0.005, 0.375, 0.6]], atol=1e-12)

    def test_what_is_unlisted_counts_as_said(self) -> None:
        x, y = np.log([[0.6, 0.3, np.nan]]), np.log([[0.6, np.nan, 0.2]])
        assert total_variation(x, y)[0, 0] == pytest.approx(0.25)
        # Each list's floor is the nearest that the other's extra token can be: log 0.3 − log 0.2, and nothing.
        assert rms_nats(x, y)[0, 0] == pytest.approx(np.log(1.5) / np.sqrt(3))
        assert kl_nats(x, y)[0, 0] == pytest.approx(0, abs=1e-12)  # 0.6 and the rest in both


class TestNoise:
    @given(st.integers(0, 2**32 - 1))
    def test_a_lattice_is_seen_through_normalisation_and_float32(self, seed: int) -> None:
        logits = np.random.default_rng(seed).integers(0, 200, (4, 15)) / 16
        logits[:, :2] = [13, 13 + 1 / 16]  # at least one odd step below the first
        lists = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32).astype(float)
        assert on_lattice(lists, 1 / 16) == 1
        assert on_lattice(lists, 1 / 8) < 1

    def test_no_lattice_is_seen_in_what_has_none(self) -> None:
        lists = np.log(np.random.default_rng(1).dirichlet(np.ones(20), 50))
        assert on_lattice(lists, 1 / 16) < 0.01

    def test_neighbours_of_different_dates_are_not_compared(self) -> None:
        near = neighbours(recorded([0] * 24 + [2] * 23 + [3]))
        assert near.equal == pytest.approx(45 / 46)  # 47 pairs, without the one over midnight
        assert (near.kl > 0).sum() == 1

    def test_a_rare_mode_is_found_and_bounded_with_what_is_unknown(self) -> None:
        recording = recorded([0, 1] * 100 + [2] + [0] * 50 + [2, 3], dropped=3, failed=2)
        assert modes(recording).tolist() == [0, 0, 1, 2]
        rare = rare_mode(recording, 0.02)
        assert np.flatnonzero(rare.off).tolist() == [200, 251, 252]
        assert rare.worst_low < rare.low < 3 / 253 < rare.high < rare.worst_high
        assert rare.worst_high == fraction_upper(8, 258, 0.01)


class TestDates:
    def test_a_step_at_midnight_is_found_whatever_happens_within_a_day(self) -> None:
        rng = np.random.default_rng(2)
        lists = np.log(rng.dirichlet(np.ones(4), 24))
        # Days of 24 answers, two lists each in random order; the recording starts at 00:30.
        recording = recorded(np.concatenate([2 * day + rng.integers(0, 2, 24) for day in range(12)]), lists)
        result = midnight(recording)
        assert (result.clean, result.nights) == (11, 11)
        assert result.p < 1e-6
        assert clean_cuts(recording, 0) == (11, 11)
        assert clean_cuts(recording, 9)[0] == 0
        latest, earliest = step_window(recording)
        assert latest == np.timedelta64(23 * 60 + 30, "m")
        assert earliest == np.timedelta64(30, "m")

    def test_its_level_holds_where_steps_come_at_any_hour(self) -> None:
        """400 recordings of 6 nights with one step in each; 0.1 + 3 standard errors is 0.145."""
        rng = np.random.default_rng(3)
        small = 0
        for _ in range(400):
            steps = 24 * np.arange(7) + 12 + rng.integers(0, 24, 7)
            index = np.searchsorted(steps, np.arange(24 * 7), side="right")
            small += midnight(recorded(index, np.zeros((8, 1)))).p <= 0.1
        assert small / 400 <= 0.145

    def test_moving_together_is_told_from_moving_alone(self) -> None:
        rng = np.random.default_rng(4)
        shared, own = rng.normal(size=(12, 5)), rng.normal(size=(2, 12, 5))
        assert moves_together(shared + own[0] / 3, shared + own[1] / 3, rng, 199)[1] == 1 / 200
        ps = [moves_together(rng.normal(size=(8, 3)), rng.normal(size=(8, 3)), rng, 99)[1] for _ in range(300)]
        assert np.mean(np.array(ps) <= 0.1) <= 0.152  # 3 standard errors


class TestPairs:
    def test_sign_flips_are_exact_and_keep_their_level(self) -> None:
        assert sign_flip_p(np.full((6, 2), 0.3)) == 1 / 32
        assert sign_flip_p(np.array([[1.0], [-1.0]])) == 1
        rng = np.random.default_rng(5)
        ps = [sign_flip_p(rng.normal(size=(7, 4))) for _ in range(400)]
        assert np.mean(np.array(ps) <= 0.0625) <= 0.0625 + 3 * np.sqrt(0.0625 * 0.9375 / 400)

    def test_one_probe_proves_nothing_and_many_do(self) -> None:
        assert np.exp(log_e_of([True])) < 3
        assert log_e_of([True] * 12) > np.log(600) > log_e_of([True] * 3 + [False] * 9)

    def test_only_answers_of_one_date_meet(self) -> None:
        x, y = recorded([0] * 24 + [2] * 24), recorded([1] * 24 + [2] * 24 + [3] * 24)
        pair = compare(x, y)
        assert pair.dates == 2
        assert pair.kl.tolist() == pytest.approx([float(kl_nats(FAR[:1], FAR[1:2])[0, 0]), 0])
        assert pair.beyond == pair.apart == 0
        alone = within(recorded([0] * 12 + [2] * 12), np.array(["2026-08-01"], "datetime64[D]"))
        assert alone.beyond == pytest.approx(2 * 12 * 12 / (24 * 23))
        assert alone.apart == 0


class TestChanges:
    def test_the_best_cut_is_that_of_the_definition(self) -> None:
        rng = np.random.default_rng(6)
        far, lists = total_variation(FAR, FAR), rng.integers(0, 4, 40)

        def energy(cut: int) -> float:
            left, right = lists[:cut], lists[cut:]
            pairs = [far[np.ix_(a, a)].sum() / (len(a) * (len(a) - 1)) for a in (left, right)]
            return float(cut * len(right) / 40 * (2 * far[np.ix_(left, right)].mean() - sum(pairs)))

        cuts = range(changes.SHORTEST, 40 - changes.SHORTEST + 1)
        best = max(cuts, key=energy)
        cut, statistic = changes._best_cut(lists, far)
        assert cut == best
        assert statistic == pytest.approx(energy(best))

    def test_a_level_that_shifts_and_noise_that_comes_are_found_where_they_are(self) -> None:
        rng = np.random.default_rng(7)
        lists = np.log(rng.dirichlet(np.ones(4), 40))
        index = [0] * 40 + [1] * 40 + rng.integers(2, 40, 40).tolist() + [1] * 40
        found = find_changes(recorded(index, lists), 0.01, rng)
        assert [change.at for change in found] == [40, 80, 120]
        assert found[0].tv == pytest.approx(total_variation(lists[:1], lists[1:2])[0, 0])

    def test_steady_noise_has_no_changes(self) -> None:
        """40 recordings at level 0.05: at most as many false ones as a binomial shows with probability 0.999."""
        rng = np.random.default_rng(8)
        wrong = sum(bool(find_changes(recorded(rng.integers(0, 4, 40)), 0.05, rng)) for _ in range(40))
        assert wrong <= stats.binom.ppf(0.999, 40, 0.05)


class TestStudy:
    def folder(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(9)
        days, other = range(1, 8), [("<b>|", -0.1), ("a", -3.0), ("b", -4.0)]
        lists = [[("a", -0.5 - day / 16), ("b", -1.5), ("c", -2.5)] for day in range(9)]
        dated = [[f"{d:02d} {h:02d}:10:00", d] for d in days for h in range(0, 24, 3)]
        steady = [[time, int(rng.integers(0, 2))] for time, _ in dated]
        write_month(tmp_path, "meta2fllama-3.3-70b-instruct23one2ffp8", lists, dated)
        write_month(tmp_path, "meta2fllama-3.3-70b-instruct23two2fbf16", lists, steady)
        rare = [[time, int(i == 30)] for i, (time, _) in enumerate(dated)]
        write_month(tmp_path, "org2fother23three", [lists[0], other], rare)
        return tmp_path

    def test_the_document_holds_what_is_measured(self, tmp_path: Path) -> None:
        document = tmp_path / "document.md"
        document.write_text(study.DOCUMENT.read_text(encoding="utf-8"), encoding="utf-8")
        parts, figures = study.measure(self.folder(tmp_path))
        study.write(document, parts, figures)
        once = document.read_text(encoding="utf-8")
        assert "| llama-3.3-70b-instruct one/fp8 | 6 of 6 |" in once
        assert "| llama-3.3-70b-instruct two/bf16 | 0 of 6 | 1 | – |" in once
        assert "| other three | 1 of 56 |" in once
        assert r"`\"\u{3c}b\u{3e}\u{7c}\"`".replace(r"\"", '"') in once
        assert "<b>" not in once
        study.write(document, parts, figures)
        assert document.read_text(encoding="utf-8") == once
        for name in figures:
            assert f"]({name})" in once
            assert (tmp_path / name).read_text(encoding="utf-8").startswith("<svg")

    def test_a_document_without_room_is_left_alone(self, tmp_path: Path) -> None:
        document = tmp_path / "document.md"
        document.write_text("<!-- begin noise -->\n<!-- end noise -->\n")
        with pytest.raises(ConfigurationError, match="room"):
            study.write(document, {"noise": "x", "dates": "y"}, {})
        assert "x" not in document.read_text()

    def test_missing_data_end_with_2_and_say_what_to_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = study.DOCUMENT.read_bytes()
        assert study.main(["--data", str(tmp_path)]) == 2
        assert "--data" in capsys.readouterr().err
        assert study.DOCUMENT.read_bytes() == before

    def test_names_cannot_act_in_figures(self) -> None:
        panel = Timeline("<script>", np.array([START, START + HOUR]), np.array([0.0, 1.0]), [START], [])
        assert "<script>" not in timeline_figure([panel])
