"""Calls of which some keys are stuck on their way to another shard: no network."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.commands.registry import TABLE_REGISTRY
from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.planning.pipeline import plan_batch
from cachemesh.core.planning.split import CommandPlan
from cachemesh.core.planning.stuck_keys import plan_apart, plans_apart

ONE = SlotsPlacement.even([Shard("a")])
TWO = ONE.with_shards([Shard("a"), Shard("b")])
HOLDING = MigratingPlacement(ONE, Migration("prepare", TWO, moves=True))
MOVING = MigratingPlacement(ONE, Migration("move", TWO, moves=True))
KEYS = [b"key-%d" % number for number in range(40)]
GOES = [key for key in KEYS if TWO.shard_for(key) == "b"]
STAYS = [key for key in KEYS if TWO.shard_for(key) == "a"]
PLACEMENTS = pytest.mark.parametrize("placement", [HOLDING, MOVING])


def apart(placement: MigratingPlacement, *args: Any) -> CommandPlan | None:
    return plan_apart(args, placement, TABLE_REGISTRY)


def sent(planned: CommandPlan | None) -> dict[str, tuple[Any, ...]]:
    assert planned is not None
    return {request.shard: tuple(request.args) for request in planned.sub_requests}


@PLACEMENTS
def test_stuck_keys_are_planned_apart_where_a_call_can_be_split(
    placement: MigratingPlacement,
) -> None:
    goes, stays = GOES[0], STAYS[0]
    planned = apart(placement, "MGET", goes, stays)
    assert sent(planned) == {"?a": ("MGET", goes), "a": ("MGET", stays)}
    assert planned is not None
    assert planned.merge([[None], ["value"]]) == [None, "value"]
    assert sent(apart(placement, "MSETEX", 2, goes, 1, stays, 2, "EX", 9)) == {
        "?a": ("MSETEX", 1, goes, 1, "EX", 9),
        "a": ("MSETEX", 1, stays, 2, "EX", 9),
    }
    for whole in (
        ("MGET", goes),
        ("GET", goes),
        ("SUNION", stays, goes),
        ("MSETEX", 2, goes, 1, stays, 2, "NX"),
    ):
        assert sent(apart(placement, *whole)) == {"?a": whole}


@PLACEMENTS
def test_a_call_without_stuck_keys_is_not_planned(placement: MigratingPlacement) -> None:
    for call in (("MGET", *STAYS), ("GET", STAYS[0]), ("MGET",), ("PING",), ("NOSUCH", GOES[0])):
        assert apart(placement, *call) is None


def test_what_has_got_there_is_not_stuck() -> None:
    there, on_its_way = GOES[:2]
    migration = Migration("move", TWO, moves=True)
    placement = MigratingPlacement(ONE, migration, settled={there})
    assert sent(apart(placement, "DEL", there, on_its_way)) == {
        "b": ("DEL", there),
        "?a": ("DEL", on_its_way),
    }


@PLACEMENTS
def test_in_a_pipeline_the_other_commands_go_where_they_would(
    placement: MigratingPlacement,
) -> None:
    goes, stays = GOES[0], STAYS[0]
    calls = [("GET", goes), ("GET", stays), ("SET", goes, 1), ("MGET", goes, stays)]
    plans = plans_apart(calls, placement, TABLE_REGISTRY)
    for some in (calls, calls[:3]):
        batch = plan_batch(some, placement, plans=plans)
        assert set(batch.parts) == {"?a", "a"}
        assert batch.parts["a"][0] == ("GET", stays)
        assert batch.parts["?a"][:2] == [("GET", goes), ("SET", goes, 1)]
