"""Types that users of placements see under mypy --strict; mypy checks, nothing runs."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import assert_type

from cachemesh.core.placement import Moves, Placement, Shard, SlotsPlacement, moves


def of_any_strategy(placement: Placement) -> None:
    assert_type(Placement.from_dict({}), Placement)
    assert_type(placement.shard_for("k"), str)
    assert_type(placement.shard_for(b"k"), str)
    assert_type(placement.owners([b"k"]), list[str])
    assert_type(placement.names, tuple[str, ...])
    assert_type(placement.share("cache-0"), float)
    assert_type(placement.with_shards([Shard("cache-0")]), Placement)
    assert_type(placement.to_dict(), dict[str, object])
    assert_type(moves(placement, placement), Moves)


def of_slots(shards: Sequence[Shard]) -> None:
    assert_type(SlotsPlacement.even(shards), SlotsPlacement)
