"""The stratum `words` of the suite `logprobs`, and pools made of the same words."""

from __future__ import annotations

from collections import Counter

from probes.compose import framed, further


def test_a_pool_has_every_word_in_several_frames_and_one_cluster_a_word() -> None:
    pool, words = framed(50, 3), further(50)
    assert [p["cluster"] for p in pool[::3]] == [p["cluster"] for p in words]
    assert Counter(p["cluster"] for p in pool) == dict.fromkeys((p["cluster"] for p in words), 3)
    assert len({str(p["messages"]) for p in pool}) == len({p["id"] for p in pool}) == 150
    assert framed(50, 3) == pool
