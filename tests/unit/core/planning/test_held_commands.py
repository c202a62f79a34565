"""Commands that remove all keys wait while keys are about to move; others go on."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.commands.registry import CommandRegistry
from cachemesh.core.errors import UnsupportedCommandError
from cachemesh.core.migration.phase import Migration, PhaseName
from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.planning.pipeline import plan_batch
from cachemesh.core.planning.plan import plan, shards_in_transaction
from cachemesh.core.rerouting import KeyHeldError

ONE = SlotsPlacement.even([Shard("a")])
TWO = ONE.with_shards([Shard("a"), Shard("b")])
THREE = TWO.with_shards([Shard("a"), Shard("b"), Shard("c")])
CHANGES = [(ONE, TWO), (TWO, THREE), (THREE, TWO), (TWO, ONE)]

each_change = pytest.mark.parametrize(("before", "after"), CHANGES)
each_name = pytest.mark.parametrize("name", ["FLUSHDB", "FLUSHALL", "flushdb"])


def phase(before: Placement, after: Placement, name: PhaseName, **of: Any) -> Placement:
    return MigratingPlacement(before, Migration(name, after, moves=True, **of))


def asked(args: tuple[Any, ...], placement: Placement) -> tuple[str, ...]:
    """Return the shards that a command goes to."""
    return tuple(request.shard for request in plan(args, placement).sub_requests)


@each_change
@each_name
def test_they_wait_until_they_can_reach_all_keys(
    before: Placement, after: Placement, name: str
) -> None:
    prepared = [
        MigratingPlacement(before, Migration("prepare", after)),
        phase(before, after, "prepare"),
        phase(before, after, "prepare", back=True),
    ]
    for placement in prepared:
        with pytest.raises(KeyHeldError):
            plan((name,), placement)
        with pytest.raises(KeyHeldError):
            plan_batch([("PING",), (name,)], placement)
        with pytest.raises(KeyHeldError):
            shards_in_transaction((name,), placement)
        assert asked(("DBSIZE",), placement) == placement.names
    for placement in (before, phase(before, after, "move"), after):
        assert asked((name,), placement) == placement.names


def renamed(original: str) -> CommandRegistry:
    """Return what is known once a server has told of a command that its configuration renames."""
    registry = CommandRegistry()
    flags = [b"write"] if original == "flushall" else [b"noscript", b"pubsub"]
    row = [original.encode(), -1, flags, 0, 0, 0, [], [b"request_policy:all_shards"], [], []]
    registry.learn(("MY.NAME",), [row])
    return registry


@each_change
def test_one_that_the_servers_have_renamed_waits_as_well(
    before: Placement, after: Placement
) -> None:
    registry, placement = renamed("flushall"), phase(before, after, "prepare")
    with pytest.raises(KeyHeldError):
        plan(("MY.NAME",), placement, registry=registry)
    with pytest.raises(KeyHeldError):
        shards_in_transaction(("MY.NAME",), placement, registry)


def test_one_that_no_shared_connection_can_carry_is_refused_by_another_name_too() -> None:
    for placement in (ONE, TWO):
        with pytest.raises(UnsupportedCommandError, match=r"MY\.NAME is refused"):
            plan(("MY.NAME", "channel"), placement, registry=renamed("subscribe"))


@each_change
def test_all_shards_are_asked_in_the_order_in_which_others_move_keys_yet(
    before: Placement, after: Placement
) -> None:
    moving, returning = (phase(before, after, "move", back=back) for back in (False, True))
    turned = phase(before, after, "prepare", back=True)
    assert turned.names == moving.names != returning.names
    assert asked(("KEYS", "*"), turned) == moving.names
