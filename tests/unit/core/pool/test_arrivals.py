"""Which shards are asked for keys that others may have moved there, by the next document."""

from __future__ import annotations

from typing import Any

from cachemesh.core.migration.phase import Migration, PhaseName
from cachemesh.core.placement import Placement
from cachemesh.core.pool.arrivals import arrived
from cachemesh.core.pool.document import PoolDocument


def dealt(**slots: list[list[int]]) -> Placement:
    shards = [{"name": name, "weight": 1, "slots": ranges} for name, ranges in slots.items()]
    fields = {"strategy": "slots", "hash": "crc16", "hash_tag": "{}"}
    return Placement.from_dict({**fields, "shards": shards})


BEFORE = dealt(a=[[0, 5000]], b=[[5001, 9999]], stays=[[10_000, 16_383]])
AFTER = dealt(
    a=[[0, 4000]], b=[[5001, 9000]], c=[[4001, 5000], [9001, 9999]], stays=[[10_000, 16_383]]
)
ALL = {"a", "b", "c"}


def document(placement: Placement, migration: Migration | None = None) -> PoolDocument:
    told = None if migration is None else migration.to_dict()
    return PoolDocument("cache", 1, placement, told)


def phase(name: PhaseName, **changes: Any) -> PoolDocument:
    return document(BEFORE, Migration(name, AFTER, moves=True, **changes))


def test_others_may_have_moved_keys_once_a_source_is_done_or_a_stage_is_over() -> None:
    moving, one_done = phase("move"), phase("move", done=frozenset({"a"}))
    both_done = phase("move", done=frozenset({"a", "b"}))
    assert arrived(moving, one_done) == arrived(one_done, both_done) == ALL
    for known in (moving, one_done, both_done, document(BEFORE)):
        assert arrived(known, document(AFTER)) == ALL, "it may have missed any document"
    in_two = phase("move", stages=2)
    assert arrived(in_two, phase("prepare", stages=2, stage=1)) == ALL
    assert arrived(in_two, phase("move", stages=2, stage=1)) == ALL
    back = phase("move", back=True)
    assert arrived(moving, back) == arrived(back, document(BEFORE)) == ALL


def test_nothing_arrives_where_no_key_has_moved() -> None:
    assert arrived(None, phase("move")) == frozenset()
    for one in (document(BEFORE), phase("move"), phase("move", done=frozenset({"a"}))):
        assert arrived(one, one) == frozenset()
    assert arrived(document(BEFORE), phase("prepare")) == frozenset()
    assert arrived(phase("prepare"), document(BEFORE)) == frozenset()
    slower = phase("move", replicas={"a": 1})
    assert arrived(phase("move"), slower) == frozenset()
