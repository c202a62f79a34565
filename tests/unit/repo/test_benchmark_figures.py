"""How benchmarks turn measurements into figures and verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.figures import Spread, times_as_fast
from benchmarks.goals import GOALS, plan, verdicts
from benchmarks.measure import Cost, MeasureSettings, measure
from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS


def result(workload: str, **rounds: list[float]) -> dict[str, Any]:
    entrants = {name.replace("_", "-"): {"rounds_us": times} for name, times in rounds.items()}
    return {"workload": workload, "entrants": entrants}


def test_spread_has_median_and_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 1.0, 5.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 7.0, 7.0)


def test_a_slow_round_cancels_out_of_a_ratio() -> None:
    spread = times_as_fast([1.0, 10.0, 1.0], [2.0, 20.0, 2.0])
    assert (spread.least, spread.median, spread.most) == (2.0, 2.0, 2.0)


def test_verdicts_say_pass_fail_and_not_measured() -> None:
    found = verdicts([result("get", cachemesh=[2.0], redis_py=[3.0], floor=[1.0])])
    by_rival = {v.goal.versus: v for v in found if v.goal.workload == "get"}
    assert by_rival["redis-py"].passed
    assert not by_rival["floor"].passed
    assert by_rival["valkey-glide-sync-cluster"].found is None
    assert not by_rival["valkey-glide-sync-cluster"].passed


def test_ahead_means_more_than_level() -> None:
    level = result("get", cachemesh=[2.0], valkey_glide_sync_cluster=[2.0])
    ahead = next(v for v in verdicts([level]) if v.goal.beyond and v.found)
    assert not ahead.passed


def test_goals_are_about_workloads_and_peers_there_are() -> None:
    for goal in GOALS:
        taking_part = WORKLOADS[goal.workload].entrants
        assert goal.entrant in taking_part
        assert goal.versus is None or goal.versus in taking_part
        assert goal.entrant in plan()[goal.workload]
    for workload in WORKLOADS.values():
        assert workload.name.startswith(("route", "apply")) or set(workload.entrants) <= set(PEERS)


def test_rounds_are_interleaved_in_an_order_that_a_seed_fixes() -> None:
    def order(seed: int) -> list[str]:
        turns: list[str] = []

        def contestant(name: str, calls: int) -> Cost:
            turns.append(name)
            return Cost(calls * 1e-3, calls * 1e-4)

        names = ("a", "b", "c")
        contestants = {name: lambda calls, name=name: contestant(name, calls) for name in names}
        taken = measure(contestants, MeasureSettings(4, 0.1, seed), 1, 5, lambda _: None)
        for mine in taken.values():
            assert mine.calls == 5
            assert mine.wall == pytest.approx([1000.0] * 4)
            assert mine.cpu == pytest.approx([100.0] * 4)
        return turns[3:]  # after the warm-up

    turns = order(1)
    assert all(sorted(turns[at : at + 3]) == ["a", "b", "c"] for at in range(0, 12, 3))
    assert turns == order(1)
    assert turns != order(2)


def test_a_turn_lasts_as_long_as_asked_in_multiples_of_the_step() -> None:
    taken = measure(
        {"a": lambda calls: Cost(calls * 1e-4, 0.0)},
        MeasureSettings(1, 0.1, 1),
        32,
        None,
        lambda _: None,
    )
    assert taken["a"].calls % 32 == 0
    assert 0.1 <= taken["a"].calls * 1e-4 < 0.13
