"""The slot map: every slot is drawn once, for its owner, in rows that can be read."""

from __future__ import annotations

from collections import Counter

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from dashboard.slot_map import (
    MOST_SEGMENTS,
    MappedShard,
    SlotMap,
    common_prefix,
    owners_of,
    slot_map,
)
from dashboard.view import ranges_of


def shards_of(placement: SlotsPlacement, **states: str) -> list[MappedShard]:
    ranges = ranges_of({"placement": placement.to_dict()})
    return [
        MappedShard(
            name,
            number % 8,
            states.get(name.replace("-", "_"), "up"),
            placement.share(name),
            ranges[name],
        )
        for number, name in enumerate(placement.names)
    ]


def even(count: int) -> SlotsPlacement:
    return SlotsPlacement.even([Shard(f"cache-{number}") for number in range(count)])


def drawn(laid: SlotMap) -> Counter[str]:
    """Return how many slots each shard has in the drawing, which has no gap and no overlap."""
    slots: Counter[str] = Counter()
    for row in range(laid.rows):
        end = 0.0
        for each in (each for each in laid.segments if each.row == row):
            assert each.start == pytest.approx(end)
            end = each.start + each.width
            slots[each.shard] += round(each.width / 100 * laid.per_row)
        assert end <= 100.0001
    return slots


@pytest.mark.parametrize(
    ("count", "rows"), [(1, 1), (3, 1), (25, 1), (26, 2), (40, 2), (200, 8), (1000, 8)]
)
def test_every_slot_is_drawn_once(count: int, rows: int) -> None:
    placement = even(count)
    laid = slot_map(shards_of(placement))
    assert laid.rows == rows
    assert drawn(laid) == placement.slot_counts()
    assert all(each.start + each.width <= 100.0001 for each in laid.segments)


def test_at_200_shards_each_has_its_name_less_what_all_begin_with() -> None:
    laid = slot_map(shards_of(even(200)))
    assert laid.prefix == "cache-"
    labels = {each.shard: each.label for each in laid.segments if each.label}
    assert labels["cache-117"] == "117"
    assert len(labels) == 200
    assert dict(laid.owners)["cache-0"] == "cache-0, slots 0 to 81, 0.5%, up"


def test_a_name_without_room_is_not_written() -> None:
    names = [f"{number}{'long' * 15}" for number in range(20)]
    laid = slot_map(shards_of(SlotsPlacement.even([Shard(name) for name in names])))
    assert laid.prefix == ""
    assert {each.label for each in laid.segments} == {""}
    assert laid.segments[0].text.startswith(names[0])


def test_names_that_have_room_are_written_in_full_and_longer_ones_without_their_prefix() -> None:
    assert slot_map(shards_of(even(12))).segments[0].label == "cache-0"
    names = [f"{'long' * 15}-{number}" for number in range(12)]
    laid = slot_map(shards_of(SlotsPlacement.even([Shard(name) for name in names])))
    assert [each.label for each in laid.segments] == [str(number) for number in range(12)]


def test_shards_that_are_down_are_named() -> None:
    laid = slot_map(shards_of(even(40), cache_7="down", cache_9="degraded"))
    assert laid.down == ("cache-7",)
    assert {each.state for each in laid.segments if each.shard == "cache-7"} == {"down"}


def test_what_moves_is_marked_before_and_after() -> None:
    before = even(3)
    after = before.with_shards([*before.shards, Shard("cache-3")])
    former, coming = (
        owners_of(ranges_of({"placement": each.to_dict()})) for each in (before, after)
    )
    moved = sum(former[slot] != coming[slot] for slot in former)
    for laid in (slot_map(shards_of(before), coming), slot_map(shards_of(after), former)):
        drawn(laid)
        marked = sum(each.width for each in laid.segments if each.moves) / 100 * laid.per_row
        assert round(marked) == moved > 0
    assert {each.shard for each in laid.segments if each.moves} == {"cache-3"}
    assert not any(each.moves for each in slot_map(shards_of(before)).segments)


def test_a_map_in_shreds_is_drawn_by_majorities() -> None:
    names = [f"cache-{number}" for number in range(7)]
    owners = [slot % 7 if slot % 100 < 10 else slot // 2400 for slot in range(16384)]
    placement = SlotsPlacement([Shard(name) for name in names], owners, {})
    laid = slot_map(shards_of(placement))
    assert len(laid.segments) <= MOST_SEGMENTS
    assert sum(drawn(laid).values()) == 16384
    assert "more ranges" in dict(laid.owners)["cache-0"]


def test_without_slots_the_shares_are_drawn() -> None:
    shards = [MappedShard("a", 0, "up", 0.25), MappedShard("b", 1, "down", 0.75)]
    laid = slot_map(shards)
    assert not laid.in_slots
    assert drawn(laid) == {"a": 4096, "b": 12288}
    assert laid.owners == (("a", "a, 25.0%, up"), ("b", "b, 75.0%, down"))
    assert slot_map([]).segments == ()


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["cache-0", "cache-1"], "cache-"),
        (["cache-1", "cache-10"], "cache-"),
        (["eu.cache-0", "eu.web-0"], "eu."),
        (["abc", "abd"], ""),
        (["cache-", "cache-1"], ""),
        (["cache-0"], ""),
        ([], ""),
    ],
)
def test_common_prefix(names: list[str], prefix: str) -> None:
    assert common_prefix(names) == prefix
