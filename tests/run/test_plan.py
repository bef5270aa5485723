from __future__ import annotations

from qcheck.run.plan import make_plan


def test_every_provider_gets_every_probe_in_the_same_order() -> None:
    probes = [f"p{i}" for i in range(5)]
    plan = make_plan(["a", "b"], [probes], seed=7, repeats=2)
    assert sorted(i.probe_id for i in plan if i.provider == "a") == sorted(probes * 2)
    in_order = {p: [(i.seq, i.probe_id) for i in plan if i.provider == p] for p in "ab"}
    assert in_order["a"] == in_order["b"]
    assert [seq for seq, _ in in_order["a"]] == list(range(10))
    assert (
        plan == make_plan(["a", "b"], [probes], seed=7, repeats=2) != make_plan(["a", "b"], [probes], seed=8, repeats=2)
    )


def test_groups_are_asked_one_after_another_each_in_random_order() -> None:
    deep, other = [f"d{i}" for i in range(30)], [f"o{i}" for i in range(30)]
    asked = [item.probe_id for item in make_plan(["a"], [deep, other], seed=3)]
    assert sorted(asked[:30]) == sorted(deep) != asked[:30]
    assert sorted(asked[30:]) == sorted(other) != asked[30:]
